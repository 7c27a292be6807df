"""Settings of servers in the lab, as environment variables."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rcommerce.lab.pgbouncer import PgBouncer
from rcommerce.lab.postgres import DATABASE, PASSWORD, USER, Postgres
from rcommerce.lab.valkey import Cluster, Valkey

SECRET = "of the lab, the same on each of its instances"  # noqa: S105


def database(
    primary: Postgres | PgBouncer,
    replicas: Sequence[Postgres | PgBouncer] = (),
    *,
    direct: Postgres | None = None,
    hosts: Sequence[Postgres] = (),
    shards: Sequence[Mapping[str, Any]] = (),
) -> dict[str, str]:
    """`[database]` with these servers. `hosts` are all that may become the primary; `direct` are
    the servers behind a pooler."""
    addresses = [each.address for each in hosts] or [primary.address]
    found = {
        "RCOMMERCE_DATABASE__DB_TYPE": "Postgres",
        "RCOMMERCE_DATABASE__HOSTS": ",".join(addresses),
        "RCOMMERCE_DATABASE__DATABASE": DATABASE,
        "RCOMMERCE_DATABASE__USERNAME": USER,
        "RCOMMERCE_DATABASE__PASSWORD": PASSWORD,
        "RCOMMERCE_DATABASE__READ_REPLICAS": ",".join(each.address for each in replicas),
        "RCOMMERCE_SECURITY__JWT__SECRET": SECRET,
        "RCOMMERCE_PAYMENT__TEST_MODE": "true",
    }
    if isinstance(primary, PgBouncer):
        found["RCOMMERCE_DATABASE__POOLER"] = "pgbouncer"
    if direct is not None:
        found["RCOMMERCE_DATABASE__DIRECT_HOSTS"] = direct.address
    if shards:
        found["RCOMMERCE_DATABASE__SHARDS"] = json.dumps(list(shards))
    return found


def shard(name: str, primary: Postgres, replicas: Sequence[Postgres] = ()) -> dict[str, Any]:
    """An entry of `[[database.shards]]`."""
    return {
        "name": name,
        "hosts": [primary.address],
        "read_replicas": [each.address for each in replicas],
    }


def redis(servers: Valkey | Cluster) -> dict[str, str]:
    """`[cache]` with these servers."""
    return {
        "RCOMMERCE_CACHE__ENABLED": "true",
        "RCOMMERCE_CACHE__CACHE_TYPE": "Redis",
        "RCOMMERCE_CACHE__REDIS_URL": servers.url,
        "RCOMMERCE_CACHE__REDIS_CLUSTER": str(isinstance(servers, Cluster)),
    }
