create index concurrently if not exists variant_barcode_search
    on variant (tenant_id, lower(barcode) text_pattern_ops) where barcode is not null;
