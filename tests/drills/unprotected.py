"""What protects against each drill, and how it is taken away: so that each is seen to fail.

The product has no switch for it. An edit is made in a copy of the package, which the instances and
the worker of the drills' fleet are started with; other protections are of nginx, of PostgreSQL,
or of how the operator goes about it.
"""

import compileall
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import rcommerce

PACKAGE = Path(rcommerce.__file__).parent


@dataclass(frozen=True)
class Edit:
    """A line of the package, and what it becomes."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Removal:
    """`promise` is how the check begins that is to fail, or one of those; `constants` are of
    rcommerce.drills."""

    promise: str | tuple[str, ...]
    edits: tuple[Edit, ...] = ()
    nginx: tuple[tuple[str, str], ...] = ()
    constants: dict[str, object] = field(default_factory=dict)
    primary: dict[str, str] = field(default_factory=dict)  # settings of PostgreSQL


# Neither does nginx ask another instance, nor does it know which are well, nor learn it.
NO_SECOND_TRY = (
    (" max_fails=3 ", " max_fails=0 "),
    ("proxy_next_upstream error timeout;", "proxy_next_upstream off;"),
    ("http://$rcommerce_group;", "http://rcommerce;"),
)
WITHOUT_REDIS = Edit(
    "cache/shared.py",
    "        except RedisAway:\n            self.away += 1\n            return await make()",
    "        except RedisAway:\n            raise",
)
# Replicas are read from while there is a primary, and no longer.
WITHOUT_PRIMARY = (
    Edit(
        "database/rotation.py",
        "            replica.is_up\n",
        "            replica.is_up\n            and self._primary.is_up\n",
    ),
    Edit(
        "database/shard.py",
        "return max(left, key=lambda each: each.position, default=None)",
        "return None",
    ),
)
REMOVALS = {
    "oversell": Removal(
        "100 units are sold",
        (
            Edit(
                "commerce/inventory/queries.py",
                "having coalesce(sum(share.taken), 0) < line.quantity",
                "having false",
            ),
        ),
    ),
    "rolling-restart": Removal("no read fails", nginx=NO_SECOND_TRY),
    "kill-instance": Removal("no read fails", nginx=NO_SECOND_TRY),
    "redis-down": Removal("no read fails", (WITHOUT_REDIS,)),
    "redis-hang": Removal("no read fails", (WITHOUT_REDIS,)),
    "redis-failover": Removal("no read fails", (WITHOUT_REDIS,)),
    "replica-down": Removal(
        "no read fails",
        (
            Edit(
                "database/shard.py",
                "        if not is_lost(error) and not is_elsewhere_fine:\n",
                "        if True:\n",
            ),
        ),
    ),
    "replica-lag": Removal(
        "each writer reads what he has written",
        (Edit("database/shard.py", "and replica.position >= position", ""),),
    ),
    "sale-starts": Removal(
        "everybody does",
        (
            Edit("http/response_cache.py", "or response.ends_at <= moment", ""),
            Edit("http/response_fill.py", "and entry.until > clock.now()", ""),
        ),
    ),
    "primary-down": Removal("no read of the catalogue fails", WITHOUT_PRIMARY),
    "primary-failover": Removal(
        "no acknowledged order is lost", constants={"failover.SYNCHRONOUS": ""}
    ),
    "shard-down": Removal(
        "its own shops are told 503",
        (
            Edit(
                "database/server.py",
                "        if not self.is_up:\n            raise self.unavailable()\n",
                "",
            ),
        ),
    ),
    "tenant-move": Removal(
        # What differs is found, unless it is written after the last look.
        ("it moves", "no acknowledged order is lost"),
        (
            Edit(
                "database/writing.py",
                "select enter_tenant('{assignment.tenant_id}', {assignment.epoch:d})",
                "select '{assignment.tenant_id}', {assignment.epoch:d}",
            ),
        ),
    ),
    "pgbouncer-restart": Removal("no read of the catalogue fails", WITHOUT_PRIMARY),
    "s3-down": Removal(
        "they are told 503",
        (
            Edit(
                "storage/objects.py",
                "self.breaker.failed(_reason(error))\n            raise self._unavailable()",
                "self.breaker.failed(_reason(error))\n            raise RuntimeError",
            ),
        ),
    ),
    "gateway-timeout": Removal(
        "the gateway has charged for nothing else",
        (
            Edit(
                "commerce/payments/service.py",
                "        payment_id=payment.id,\n        order_number",
                "        payment_id=ids.new_id(),\n        order_number",
            ),
        ),
    ),
    "webhook-crash": Removal(
        "all are delivered in the end",
        (Edit("commerce/webhooks/service.py", "    raise Undelivered(error)", "    return"),),
    ),
    "worker-kill": Removal(
        "each of",
        (
            Edit(
                "jobs/worker.py",
                "where status = 'doing' and worker_id is null",
                "where status = 'doing' and worker_id is null and false",
            ),
        ),
    ),
    "clock-skew": Removal(
        "whoever logs in at one instance",
        (Edit("clock.py", "    found = theirs + took_s / 2 - time.time()\n", "    return\n"),),
    ),
    # With commits that are not waited for, orders are lost as well: mostly, not always.
    "disk-full": Removal(
        ("no read of the catalogue fails", "writes are refused"),  # those that the disk never saw
        WITHOUT_PRIMARY,
        primary={"synchronous_commit": "off", "wal_writer_delay": "10s"},
    ),
    "overload": Removal(
        ("within", "beside the buyers", "they are told 503"),  # too late, or nothing
        (
            Edit(
                "resilience/shedding.py",
                "if self.waiting or self.in_flight >= self._room():",
                "if False:",
            ),
        ),
    ),
    "slowloris": Removal(
        "no read fails", nginx=(("worker_connections 18000;", "worker_connections 1024;"),)
    ),
    "config-drift": Removal(
        "it is named",
        (
            Edit(
                "settings/digests.py",
                "return hmac.new(secret.encode(), value, sha256).hexdigest()[:SIZE]",
                'return "0" * SIZE',
            ),
        ),
    ),
}


def copy(folder: Path) -> Path:
    """A copy of the package in which all edits are made: they harm nothing while all is well. What
    it is found by."""
    made = folder / "rcommerce"
    shutil.copytree(PACKAGE, made, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in dict.fromkeys(edit for each in REMOVALS.values() for edit in each.edits):
        path = made / edit.file
        text = path.read_text()
        assert text.count(edit.old) == 1, f"{edit.file} has no more: {edit.old}"
        path.write_text(text.replace(edit.old, edit.new))
    compileall.compile_dir(made, quiet=1)  # once, rather than in each process
    return folder
