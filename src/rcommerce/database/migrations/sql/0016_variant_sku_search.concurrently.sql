create index concurrently if not exists variant_sku_search
    on variant (tenant_id, lower(sku) text_pattern_ops) where sku is not null;
