-- The channel of requests that name none: an API key's, or its shop's.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table tenant add column channel text;
alter table api_key add column channel text;
