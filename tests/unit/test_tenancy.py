"""The check itself: it finds what it should, and nothing else."""

import pytest

from tenancy import Checker

TABLES = {"product", "variant", "cart", "cart_item"}


@pytest.mark.parametrize(
    "statement",
    [
        "select * from product where tenant_id = $1 and id = $2",
        "select * from product where (tenant_id, id) = ($1, $2)",
        "select * from product p"
        " join variant v on (v.tenant_id, v.product_id) = (p.tenant_id, p.id)"
        " where p.tenant_id = $1",
        "select (select count(*) from variant v where v.tenant_id = p.tenant_id) from product p"
        " where p.tenant_id = $1",
        "insert into cart (tenant_id, id) values ($1, $2)",
        "with c as (select tenant_id, id from cart where tenant_id = $1)"
        " delete from cart_item i using c where (i.tenant_id, i.cart_id) = (c.tenant_id, c.id)",
        "select 1 from tenant_placement t cross join lateral"
        " (select id from cart where tenant_id = t.tenant_id) x",
        "copy product (tenant_id, id) from stdin",
        "select x.n from cart c cross join lateral"
        " (select count(*) as n from cart_item i where i.tenant_id = c.tenant_id) x"
        " where c.tenant_id = $1",
    ],
)
def test_a_statement_that_names_its_tenant_passes(statement: str) -> None:
    assert Checker(TABLES).faults(statement) == []


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("select * from product where id = $1", "product"),
        ("select * from product where tenant_id = $1 or id = $2", "product"),
        (
            "select * from product p join variant v on v.product_id = p.id where p.tenant_id = $1",
            "variant",
        ),
        ("update cart c set email = $1 from cart_item i where i.tenant_id = $2", "cart"),
        ("delete from cart where expires_at < now()", "cart"),
        ("insert into cart (id) values ($1)", "cart"),
        ("select (select count(*) from variant) from product where tenant_id = $1", "variant"),
        ("with c as (select id from cart) select * from c", "cart"),
        ("select 1 where exists (select from product where slug = $1)", "product"),
        ("copy product (id) from stdin", "product"),
        ("select * from cart where tenant_id = $1 union all select * from cart", "cart"),
    ],
)
def test_a_statement_without_its_tenant_is_found(statement: str, table: str) -> None:
    assert Checker(TABLES).faults(statement) == [table]
