"""Redis or Valkey: every server of the settings, or every node of the cluster."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

from rcommerce.cache import redis_client
from rcommerce.cache.addresses import Address, addresses
from rcommerce.cache.redis_client import Commands
from rcommerce.doctor.findings import ASKED, Finding, Sample, distance
from rcommerce.settings.schema import Cache

OLDEST = (6, 2)  # GETEX; Valkey reports Redis 7.2
SLOTS = 16_384
TIMEOUT_S = 5.0
AWAY = "the shop works without; logins by cookie ask to try again"


async def examine(settings: Cache) -> list[Finding]:
    """Whether they answer, are new enough, have all slots, and keep sessions."""
    if settings.redis_cluster:
        return await _cluster(settings)
    return await _servers(settings, [str(each) for each in addresses(settings.redis_url or "")])


async def _servers(settings: Cache, names: Sequence[str]) -> list[Finding]:
    return await asyncio.gather(*(_server(settings, name) for name in names))


async def _cluster(settings: Cache) -> list[Finding]:
    """The cluster as reported by the first node that answers; then each node by itself."""
    about, causes = "Redis Cluster", []
    for address in addresses(settings.redis_url or ""):
        try:
            async with _asked(settings, address) as commands:
                info = await commands.execute_command("CLUSTER INFO")
                nodes = await commands.execute_command("CLUSTER NODES")
                break
        except redis_client.FAILURES as error:
            causes.append(f"{address}: {redis_client.cause(error, TIMEOUT_S)}")
    else:
        return [Finding("red", about, f"does not answer: {'; '.join(causes)}", AWAY)]
    living = {each["master_id"] for each in nodes.values() if "fail" not in each["flags"]}
    found = [_slots(about, info)]
    known = {  # nodes with certificates are addressed by name
        f"{node['hostname']}:{key.rpartition(':')[2]}" if node["hostname"] else key: node
        for key, node in nodes.items()
        if "noaddr" not in node["flags"]
    }
    for name, node in known.items():
        if node["slots"] and node["node_id"] not in living:
            lonely = "has no replica: when it is away, so are its slots"
            found.append(Finding("yellow", f"Redis {name}", lonely, "redis-cli --cluster add-node"))
    return found + await _servers(settings, list(known))


def _slots(about: str, info: dict[str, str]) -> Finding:
    served, size = int(info["cluster_slots_ok"]), int(info["cluster_size"])
    message = f"{served:,} of {SLOTS:,} slots are served, by {size} primaries"
    if served == SLOTS and info["cluster_state"] == "ok":
        return Finding("green", about, message)
    state = f"its state is “{info['cluster_state']}”"
    return Finding("red", about, f"{message}; {state}", f"redis-cli --cluster fix; {AWAY}")


async def _server(settings: Cache, name: str) -> Finding:
    """`name` is its address; how to talk to it is as with the first of the settings."""
    about = f"Redis {name}"
    first, _, _ = (settings.redis_url or "").partition(",")
    address = addresses(f"{first},{name}")[-1] if ":" in name else addresses(first)[0]
    try:
        async with _asked(settings, address) as commands:
            return await _answering(about, commands)
    except redis_client.FAILURES as error:
        message = f"does not answer: {redis_client.cause(error, TIMEOUT_S)}"
        return Finding("red", about, message, AWAY)


@contextlib.asynccontextmanager
async def _asked(settings: Cache, address: Address) -> AsyncIterator[Commands]:
    commands = redis_client.single(settings, address)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield commands
    finally:
        await commands.aclose()


async def _answering(about: str, commands: Commands) -> Finding:
    async def its_time() -> float:
        seconds, microseconds = await commands.time()
        return float(seconds) + float(microseconds) / 1e6

    info = await commands.info()
    far = distance([Sample(time.time(), await its_time(), time.time()) for _ in ASKED])
    version = str(info["redis_version"])
    shown = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    policy, used_mb = str(info.get("maxmemory_policy", "")), info["used_memory"] / 1e6
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return Finding("red", about, f"is {shown}", "6.2 or newer is needed", **far)
    if policy.startswith("allkeys"):
        return Finding("yellow", about, f"drops sessions, too, when it is full (maxmemory-policy"
                       f" {policy})", "set maxmemory-policy to volatile-lfu, and maxmemory so that"
                       " it is not reached", **far)  # fmt: skip
    message = f"{shown}, {info['role']}, {used_mb:.0f} MB in use, {policy}"
    return Finding("green", about, message, **far)
