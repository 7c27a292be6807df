-- Looks through the rows that were there before, while others read and write.

set local lock_timeout = '5s';
set local statement_timeout = '10min';

alter table product_image validate constraint product_image_media_fkey;
alter table variant validate constraint variant_image_fkey;
