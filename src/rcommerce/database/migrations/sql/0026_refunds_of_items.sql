-- Refunds of items and of shipping, also to gift cards and credit.
-- squawk-ignore-file ban-drop-constraint

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table order_item add column refunded_quantity int not null default 0;
alter table order_item add constraint order_item_refunded_check
    check (refunded_quantity between 0 and quantity) not valid;

-- What refunds have given back, or are about to; null: nothing.
alter table sales_order add column credit_refunded numeric, add column shipping_refunded numeric;
-- A check would be planned anew for each order that is placed (0014_cheaper_orders).
create function check_refunded() returns trigger
    language plpgsql
    as $$
    begin
        if new.credit_refunded not between 0 and coalesce(new.credit_total, 0)
           or new.shipping_refunded not between 0 and new.shipping_total then
            raise check_violation using
                message = 'more would be refunded than was paid',
                table = 'sales_order', constraint = 'sales_order_refunded_check';
        end if;
        return new;
    end
    $$;
create trigger check_refunded before update of credit_refunded, shipping_refunded on sales_order
    for each row execute function check_refunded();

-- Beside the payment's amount: of gift cards and credit; and what all of it is for.
alter table refund add column credit_amount numeric, add column shipping_amount numeric,
    add column items jsonb;
-- A refund to gift cards alone has no amount.
alter table refund drop constraint refund_check;
alter table refund add constraint refund_amounts_check
    check (is_amount(amount, currency) and is_amount(credit_amount, currency)
           and is_amount(shipping_amount, currency)
           and amount + coalesce(credit_amount, 0) > 0) not valid;
