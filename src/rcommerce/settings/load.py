"""Reads the settings: defaults, then one TOML file, then the environment.

Each mistake is one message that names the place, the key and the nearest valid one.
"""

import contextlib
import difflib
import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from rcommerce.errors import SettingsError
from rcommerce.settings.schema import (
    INHERITED,
    SECRETS,
    UNBUILT,
    DatabaseSettings,
    Media,
    Node,
    Section,
    Settings,
    Shard,
)

T = TypeVar("T", bound=Section)
PREFIX = "RCOMMERCE_"
DEFAULT_FILE = Path("rcommerce.toml")
MASK = "••••••"
MAIN = "main"  # the name of [database] among the shards
_NODE = re.compile(r"(rediss?://)?([^@/]*@)?(\[[0-9a-fA-F:]+\]|[\w.-]+)(:\d{1,5})?(/\d*)?")
SHARD_NAME = re.compile(r"[a-z0-9-]{1,40}")
SIZE_NAME = re.compile(r"[a-z0-9_-]{1,40}")


class Loaded:
    """The effective settings, and the origin of each key."""

    def __init__(self, settings: Settings, origins: Mapping[str, str], file: Path | None) -> None:
        self.settings = settings
        self.origins = origins
        self.file = file

    def origin(self, key: str) -> str:
        """Its origin: the file, the environment variable, or `default`."""
        if key in self.origins:
            return self.origins[key]
        inner = (value for name, value in self.origins.items() if name.startswith(key + "."))
        return next(inner, "default")

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """Every key with its value, in the order of the schema."""
        yield from leaves(self.settings)

    def masked(self) -> Iterator[tuple[str, Any, str]]:
        """Every key, its value with secrets masked, and its origin."""
        for key, value in self.leaves():
            shown = MASK if key in SECRETS and value is not None else value
            if key == "database.shards":
                shown = [f"{shard.name} ({', '.join(shard.addresses)})" for shard in value]
            yield key, shown, self.origin(key)

    def require_built(self) -> None:
        """Raises SettingsError for the first key whose feature is not built yet."""
        defaults = dict(leaves(Settings()))
        for key, value in self.leaves():
            if value == defaults[key] or not _within(key, UNBUILT):
                continue
            raise SettingsError(
                f"{self.origin(key)}: {key} = {_shown(key, value)} is understood but not built in"
                f" this release; remove it, or leave it at {_shown(key, defaults[key])}"
            )


def load(file: Path | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """The effective settings.

    `file` as given, else `RCOMMERCE_CONFIG`, else `./rcommerce.toml` where it exists.
    Raises SettingsError.
    """
    env = os.environ if environ is None else environ
    path = _file(file, env)
    origins: dict[str, str] = {}
    tree: dict[str, Any] = {}
    if path is not None:
        tree = _parse(path)
        _check(tree, Settings, "", str(path), origins)
    _overlay(tree, env, origins)
    if any(key.startswith("database.") for key in origins):
        tree.setdefault("database", {}).setdefault("db_type", "Postgres")
    _inherit(tree)
    settings = msgspec.convert(tree, Settings, strict=True, dec_hook=_path)
    loaded = Loaded(settings, origins, path)
    _contradictions(loaded)
    return loaded


def read_section(path: Path, kind: type[T]) -> T:
    """Another file that is checked like the settings. Raises SettingsError."""
    if not path.is_file():
        raise SettingsError(f"{path}: there is no such file")
    tree = _parse(path)
    _check(tree, kind, "", str(path), {}, kind)
    return msgspec.convert(tree, kind, strict=True, dec_hook=_path)


def _inherit(tree: dict[str, Any]) -> None:
    """Fills in what a shard inherits from `[database]`."""
    database = tree.get("database", {})
    for shard in database.get("shards", []):
        for name in INHERITED:
            if name in database:
                shard.setdefault(name, database[name])


def _file(file: Path | None, env: Mapping[str, str]) -> Path | None:
    if file is None and env.get("RCOMMERCE_CONFIG"):
        file = Path(env["RCOMMERCE_CONFIG"])
    if file is not None:
        if not file.is_file():
            raise SettingsError(f"{file}: there is no such settings file")
        return file
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error


def _check(
    tree: dict[str, Any],
    section: type[Section],
    prefix: str,
    place: str,
    origins: dict[str, str],
    whole: type[Section] = Settings,
) -> None:
    """Checks one table of the file in place, and records the origin of its keys. `whole` has all
    known names."""
    hints = get_type_hints(section, include_extras=True)
    for name, value in list(tree.items()):
        key = prefix + name
        if name not in hints:
            raise SettingsError(f"{place}: there is no setting {key}{_nearest(key, whole)}")
        kind = hints[name]
        if _is_section(kind):
            if not isinstance(value, dict):
                raise SettingsError(f"{place}: {key} is a table: write [{key}]")
            _check(value, kind, f"{key}.", place, origins, whole)
        elif (inner := _list_of_sections(kind)) and isinstance(value, list):
            for number, item in enumerate(value):
                if not isinstance(item, dict):
                    raise SettingsError(f"{place}: {key} is a list of tables: write [[{key}]]")
                _check(item, inner, f"{key}.", f"{place}: entry {number + 1}", {}, whole)
                _value(item, inner, key, place)
            origins[key] = place
        else:
            tree[name] = _value(value, kind, key, place)
            origins[key] = place


def _overlay(tree: dict[str, Any], env: Mapping[str, str], origins: dict[str, str]) -> None:
    """Overrides the file's values by the environment."""
    kinds = dict(_kinds(Settings, ""))
    for variable in sorted(env):
        if not variable.startswith(PREFIX) or variable == "RCOMMERCE_CONFIG":
            continue
        key = variable.removeprefix(PREFIX).lower().replace("__", ".")
        text = env[variable]
        if key not in kinds and key.endswith("_file") and key.removesuffix("_file") in SECRETS:
            key = key.removesuffix("_file")
            text = _secret_file(Path(text), variable)
        if key not in kinds:
            raise SettingsError(f"environment {variable}: there is no setting {key}{_nearest(key)}")
        *tables, name = key.split(".")
        table = tree
        for part in tables:
            table = table.setdefault(part, {})
        place = f"environment {variable}"
        table[name] = _value(_from_text(text, kinds[key], key, place), kinds[key], key, place)
        origins[key] = place


def _secret_file(path: Path, variable: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"environment {variable}: {path} cannot be read: {error}") from error


def _from_text(text: str, kind: Any, key: str, place: str) -> Any:
    """An environment variable's text as the value that TOML would have."""
    plain = _plain(kind)
    if _list_of_sections(kind):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise SettingsError(f"{place}: {key} must be a JSON list of tables") from error
    if get_origin(plain) is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if plain is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return words.get(text.lower(), text)
    if plain is float:
        with contextlib.suppress(ValueError):
            return float(text)
        return text
    if plain is int:
        return int(text) if text.strip().lstrip("-").isdecimal() else text
    return text


def _value(value: Any, kind: Any, key: str, place: str) -> Any:
    """`value` converted to the type of `key`; enumerated words in any case."""
    plain = _plain(kind)
    if get_origin(plain) is Literal:
        words = {str(word).lower(): word for word in get_args(plain)}
        if isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
        right = ", ".join(f'"{word}"' for word in get_args(plain))
        raise SettingsError(f"{place}: {key} must be one of {right}, not {_shown(key, value)}")
    try:
        msgspec.convert(value, kind, strict=True, dec_hook=_path)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`", "")
        raise SettingsError(f"{place}: {key} is {_shown(key, value)}: {reason}") from error
    return value


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"Expected {kind.__name__}, got {type(value).__name__}")


def _contradictions(loaded: Loaded) -> None:
    """Contradictions between settings: raises the first."""
    s = loaded.settings
    for check in (
        _server_faults,
        _cache_faults,
        _cdn_faults,
        _database_faults,
        lambda settings: _media_faults(settings.media),
        _shop_faults,
    ):
        for key, message in check(s):
            raise SettingsError(f"{loaded.origin(key)}: {key}: {message}")


Faults = Iterator[tuple[str, str]]


def _server_faults(s: Settings) -> Faults:
    threads, workers = s.server.worker_threads, s.server.workers
    if threads and workers and threads != workers:
        yield (
            "server.workers",
            f"{workers} contradicts worker_threads = {threads}: they mean the same",
        )
    for key, texts in (
        ("server.trusted_proxies", s.server.trusted_proxies),
        ("rate_limiting.allowlist", s.rate_limiting.allowlist),
        ("rate_limiting.blocklist", s.rate_limiting.blocklist),
        ("webhooks.allowed_networks", s.webhooks.allowed_networks),
    ):
        for text in texts:
            if not _is_network(text):
                yield key, f"“{text}” must be an address or a network, such as 10.0.0.0/8"
    cors = s.server.cors
    if cors.allow_credentials and "*" in cors.allowed_origins:
        yield "server.cors.allow_credentials", 'true needs allowed_origins to be listed, not "*"'
    secret = s.security.jwt.secret
    if secret is not None and len(secret.encode()) < 32:
        yield "security.jwt.secret", "must be at least 32 bytes; try: openssl rand -hex 32"


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _cache_faults(s: Settings) -> Faults:
    cache = s.cache
    if cache.cache_type == "Redis" and not cache.redis_url:
        yield "cache.cache_type", '"Redis" needs cache.redis_url, such as "redis://localhost:6379"'
    if cache.cache_type == "Memory" and cache.redis_url:
        yield "cache.redis_url", 'needs cache_type = "Redis"; it is "Memory"'
    if cache.cache_type == "Memory" and cache.redis_cluster:
        yield "cache.redis_cluster", 'needs cache_type = "Redis"; it is "Memory"'
    if cache.redis_ca_file is not None and not (cache.redis_url or "").startswith("rediss://"):
        yield "cache.redis_ca_file", 'needs redis_url to begin with "rediss://"'
    if cache.redis_url is None:
        return
    scheme, separator, nodes = cache.redis_url.partition("://")
    if not separator or scheme not in {"redis", "rediss", "unix"}:
        yield "cache.redis_url", 'must begin with "redis://", "rediss://" or "unix://"'
    for node in nodes.split(","):
        if not node.strip():
            yield "cache.redis_url", "has an empty node between two commas"
        elif scheme != "unix" and not _NODE.fullmatch(node.strip()):
            yield "cache.redis_url", 'must be like "redis://user:password@host:6379/0"'
        elif "://" in node and node.strip().partition("://")[0] != scheme:
            yield "cache.redis_url", f'must begin with "{scheme}://" everywhere'
    if cache.redis_cluster and (scheme == "unix" or re.search(r"/[1-9]", nodes)):
        yield "cache.redis_cluster", "has host and port, and no number of a database"


def _cdn_faults(s: Settings) -> Faults:
    needed = {
        "None": (),
        "Cloudflare": ("api_token", "cloudflare_zone_id"),
        "Fastly": ("api_token", "fastly_service_id"),
        "Varnish": ("varnish_urls",),
    }
    for name in needed[s.cdn.provider]:
        if not getattr(s.cdn, name):
            yield "cdn.provider", f'"{s.cdn.provider}" needs cdn.{name}'
    if s.cdn.provider != "None" and not s.cache.enabled:
        yield "cdn.provider", "needs cache.enabled = true: tags are those of the cache"


def _database_faults(s: Settings) -> Faults:
    default = DatabaseSettings()
    if s.database.db_type == "Embedded":
        for name in ("host", "port", "username", "database"):
            if getattr(s.database, name) != getattr(default, name):
                yield f"database.{name}", 'contradicts database.db_type = "Embedded"'
    if s.database.db_type == "Embedded":
        for name in ("hosts", "read_replicas", "direct_hosts", "shards"):
            if getattr(s.database, name):
                yield f"database.{name}", 'needs db_type = "Postgres"; it is "Embedded"'
        if s.database.pooler != "None":
            yield "database.pooler", 'needs db_type = "Postgres"; it is "Embedded"'
    yield from _node_faults(s.database, "database", is_host_set=s.database.host != default.host)
    names = [shard.name for shard in s.database.shards]
    for shard in s.database.shards:
        key = "database.shards"
        if shard.name == MAIN or not SHARD_NAME.fullmatch(shard.name):
            yield (
                key,
                f"“{shard.name}” must have 1 to 40 of a-z, 0-9 and -, and not be “{MAIN}”, which"
                " is [database] itself",
            )
        if names.count(shard.name) > 1:
            yield key, f"the name “{shard.name}” may stand once"
        yield from _node_faults(shard, key, is_host_set=shard.host != default.host)


def _node_faults(node: Node, prefix: str, *, is_host_set: bool) -> Faults:
    """Contradictions of one server and its replicas."""
    name = f"{node.name}: " if isinstance(node, Shard) else ""
    for key in ("hosts", "read_replicas", "direct_hosts"):
        for address in getattr(node, key):
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                yield f"{prefix}.{key}", f'{name}“{address}” must be "host:port"'
    if node.hosts and (is_host_set or node.port != 5432):
        yield f"{prefix}.hosts", f"{name}takes the place of host and port; remove those"
    servers = 1 + len(node.read_replicas)
    if node.pool_size < servers:
        yield (
            f"{prefix}.pool_size",
            f"{name}{node.pool_size} connections are too few for {servers} servers: each worker"
            " needs one to each",
        )


def require_complete(media: Media) -> None:
    """Raises SettingsError if the store of a section lacks a key."""
    for key, message in _media_faults(media):
        raise SettingsError(f"{key}: {message}")


def _media_faults(media: Media) -> Faults:
    needed = {
        "Local": (),
        "S3": ("s3_bucket",),
        "Gcs": ("gcs_bucket",),
        "Azure": ("azure_account", "azure_container"),
    }
    for name in needed[media.storage_type]:
        if not getattr(media, name):
            yield "media.storage_type", f'"{media.storage_type}" needs media.{name}'
    if bool(media.s3_access_key) != bool(media.s3_secret_key):
        yield "media.s3_access_key", "goes with media.s3_secret_key; set both, or neither"
    if media.local_base_url is not None and media.public_url is not None:
        yield "media.local_base_url", "means the same as media.public_url; set one of them"
    names = [size.name for size in media.image_processing.sizes]
    for name in names:
        if not SIZE_NAME.fullmatch(name):
            yield (
                "media.image_processing.sizes",
                f"the name “{name}” must have 1 to 40 of a-z, 0-9, _ and -",
            )
        if names.count(name) > 1:
            yield "media.image_processing.sizes", f"the name “{name}” may stand once"


def _shop_faults(s: Settings) -> Faults:
    codes = [rate.service_code for rate in s.shipping.flat_rates]
    if len(codes) != len(set(codes)):
        yield "shipping.flat_rates", "each service_code may stand once"
    if any(not 0 <= rate.rate < 10**9 for rate in s.shipping.flat_rates):
        yield "shipping.flat_rates", "a rate must be at least 0"


def leaves(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below a section with its value, in the schema's order."""
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _kinds(section: type[Section], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(section, include_extras=True).items():
        if name.startswith("__"):
            continue
        if _is_section(kind):
            yield from _kinds(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, kind


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _list_of_sections(kind: Any) -> type[Section] | None:
    if get_origin(kind) is list and _is_section(get_args(kind)[0]):
        return typing.cast(type[Section], get_args(kind)[0])
    return None


def _plain(kind: Any) -> Any:
    """The type without its constraints and without `| None`."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return _plain(next(arm for arm in get_args(kind) if arm is not NoneType))
    return kind


def _within(key: str, places: tuple[str, ...]) -> bool:
    return any(key == place or key.startswith(place + ".") for place in places)


def _nearest(key: str, whole: type[Section] = Settings) -> str:
    known = [name for name, _ in _kinds(whole, "")]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not near:
        last = {name.rpartition(".")[2]: name for name in known}
        words = difflib.get_close_matches(key.rpartition(".")[2], last, n=1, cutoff=0.75)
        near = [last[word] for word in words]
    return f"; the nearest is {near[0]}" if near else ""


def _shown(key: str, value: Any) -> str:
    if key in SECRETS and value is not None:
        return MASK
    return f'"{value}"' if isinstance(value, str | Path) else repr(value)
