"""Splits the settings file into a public part and the names of its secrets."""

import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from rcommerce.errors import SettingsError
from rcommerce.settings.schema import SECRETS

# Required by fleets, though the settings have a default for them or generate them.
ALWAYS = ("database.password", "security.jwt.secret")
REDIS_URL = "cache.redis_url"  # a secret if it contains a password


def public(path: Path) -> tuple[str, list[str]]:
    """A settings file without its secrets, as TOML, and the keys of the secrets, which instances
    read from files (RCOMMERCE_…_FILE). Raises SettingsError for a shard with a password of its
    own."""
    tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    password = tree.get("database", {}).get("password")
    for shard in tree.get("database", {}).get("shards", []):
        if shard.pop("password", password) != password:
            raise SettingsError(
                f"{path}: database.shards: {shard.get('name')} has a password of its"
                " own, for which there is no place apart from the settings: give all shards the"
                " one of [database]"
            )
    keys = list(ALWAYS)
    for key in sorted(SECRETS):
        *tables, name = key.split(".")
        table = tree
        for part in tables:
            table = table.get(part, {})
        if name not in table or (key == REDIS_URL and "@" not in str(table[name])):
            continue
        del table[name]
        if key not in keys:
            keys.append(key)
    return tomli_w.dumps(_without_empty(tree)), sorted(keys)


def _without_empty(tree: dict[str, Any]) -> dict[str, Any]:
    found = {
        key: _without_empty(value) if isinstance(value, dict) else value
        for key, value in tree.items()
    }
    return {key: value for key, value in found.items() if value != {}}
