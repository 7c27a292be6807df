create index concurrently if not exists variant_image
    on variant (tenant_id, image_id) where image_id is not null;
