-- Whether an e-mail address has ordered before: a new customer's has not.
create index concurrently if not exists sales_order_email on sales_order (tenant_id, customer_email);
