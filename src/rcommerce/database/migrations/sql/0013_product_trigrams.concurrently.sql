drop index concurrently if exists product_trigrams
