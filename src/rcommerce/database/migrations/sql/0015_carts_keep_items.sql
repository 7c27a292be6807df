-- A cart keeps what its buyer was shown, whatever becomes of the catalogue.
-- squawk-ignore-file ban-drop-constraint, require-concurrent-index-deletion

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- A deleted variant took its line out of every cart without a word: an item stays, with the words that it was put in
-- by, until the buyer takes it out. Null in rows of the release before.
alter table cart_item drop constraint cart_item_tenant_id_variant_id_fkey;
drop index cart_item_variant;
alter table cart_item
    add column title text,
    add column variant_title text,
    add column sku text;

-- What a checkout has last shown the buyer, null before it has begun:
-- {"lines": {item: [quantity, price]}, "totals": {way to ship, or "": total}}
alter table cart add column shown jsonb;
