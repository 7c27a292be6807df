create index concurrently if not exists product_image_media
    on product_image (tenant_id, media_id) where media_id is not null;
