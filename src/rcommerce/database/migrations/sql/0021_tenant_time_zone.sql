-- The time zone of a shop: of the hours and days of its promotions.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table tenant add column time_zone text not null default 'UTC';
