-- The channel of requests that name none.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table tenant add column channel text;
