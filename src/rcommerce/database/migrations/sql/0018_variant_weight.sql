-- A variant may weigh something else than its product, and has a tariff code of its own.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- The weight is in the product's weight_unit; null: the product's. hs_code: Harmonized System, as customs ask for it.
alter table variant
    add column weight numeric,
    add column hs_code text;
alter table variant
    add constraint variant_weight_check check (weight >= 0 and weight < 1e9) not valid,
    add constraint variant_hs_code_check check (length(hs_code) between 1 and 32) not valid;
