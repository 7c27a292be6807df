"""Settings: the seed's fragments, precedence, and one clear message for each mistake."""

import os
import re
from pathlib import Path

import pytest

from commands import execute
from rcommerce.deploy.fleet import load_fleet
from rcommerce.doctor.safety import risks
from rcommerce.errors import SettingsError
from rcommerce.settings import load

SEED = """
[cache]
cache_type = "Redis"
redis_url = "redis://redis-node-1:6379,redis-node-2:6379,redis-node-3:6379"
redis_cluster = true

# Cache TTLs
product_cache_ttl = 300      # 5 minutes
customer_cache_ttl = 600     # 10 minutes
session_cache_ttl = 86400    # 24 hours

[media]
storage_type = "S3"
s3_bucket = "rcommerce-uploads"
s3_region = "us-east-1"

[database]
# Write to primary
host = "postgres-primary.internal"
port = 5432

# Read from replicas (application-level)
read_replicas = [
    "postgres-replica-1.internal:5432",
    "postgres-replica-2.internal:5432"
]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "rcommerce.toml"
    file.write_text(text)
    return file


def test_the_seed_parses_word_for_word(tmp_path: Path) -> None:
    s = load(written(tmp_path, SEED), {}).settings
    assert s.cache.cache_type == "Redis"
    assert s.cache.redis_cluster
    assert s.cache.redis_url == "redis://redis-node-1:6379,redis-node-2:6379,redis-node-3:6379"
    assert (s.cache.product_cache_ttl, s.cache.session_cache_ttl) == (300, 86400)
    assert (s.media.storage_type, s.media.s3_region) == ("S3", "us-east-1")
    assert s.database.db_type == "Postgres"
    assert len(s.database.read_replicas) == 2


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[payment.stripe]\nenabled = true", "stripe.enabled"),
        ("[tax]\nenable_oss = true", "tax.enable_oss"),
    ],
)
def test_a_part_that_is_not_built_yet_is_refused(tmp_path: Path, text: str, key: str) -> None:
    loaded = load(written(tmp_path, text), {})
    with pytest.raises(SettingsError, match=f"{key}.*not built"):
        loaded.require_built()


def test_every_unsafe_setting_is_named_and_safe_ones_are_not(tmp_path: Path) -> None:
    unsafe = """
        [server]
        trusted_proxies = ["0.0.0.0/0"]
        [server.cors]
        allowed_origins = ["https://shop.example"]
        allow_credentials = true
        [server.limits]
        adaptive_concurrency = false
        [database]
        db_type = "Postgres"
        host = "10.0.0.5"
        ssl_mode = "Prefer"
        [cache]
        cache_type = "Redis"
        redis_url = "redis://10.0.0.6:6379"
        [webhooks]
        allow_http = true
        allowed_networks = ["10.0.0.0/8"]
        [security]
        secure_cookies = false
        [security.jwt]
        secret = "abababababababababababababababababab"
        [payment]
        test_mode = true
        [logging]
        level = "debug"
        [tls]
        enabled = true
        """
    found = {each.about for each in risks(load(written(tmp_path, unsafe), {}).settings)}
    assert found == {
        "server.trusted_proxies", "server.limits.adaptive_concurrency", "tls.hsts.enabled",
        "security.secure_cookies", "database.password", "database.ssl_mode", "cache.redis_url",
        "webhooks.allow_http", "webhooks.allowed_networks", "security.jwt.secret",
        "rate_limiting.enabled", "payment.test_mode", "notifications.email.smtp_host",
        "logging.level",
    }  # fmt: skip
    safe = """
        [server]
        trusted_proxies = ["10.0.0.0/24"]
        [database]
        db_type = "Postgres"
        host = "10.0.0.5"
        ssl_mode = "VerifyFull"
        password = "of its own"
        [cache]
        cache_type = "Redis"
        redis_url = "rediss://:secret@10.0.0.6:6379,10.0.0.7:6379"
        [webhooks]
        allowed_networks = ["10.0.3.7/32"]
        [security.jwt]
        secret = "5b1f0c6e2a9d48377c1e0f9ab86d4e213f70"
        [rate_limiting]
        enabled = true
        [notifications.email]
        smtp_host = "mail.example"
        password_reset_url = "https://shop.example/reset?token={token}"
        """
    assert list(risks(load(written(tmp_path, safe), {}).settings)) == []


def test_defaults_need_no_file() -> None:
    loaded = load(None, {})
    loaded.require_built()
    assert loaded.settings.server.port == 8080
    assert loaded.settings.database.db_type == "Embedded"


def test_the_environment_wins_over_the_file_and_is_named_as_the_origin(tmp_path: Path) -> None:
    file = written(tmp_path, "[server]\nport = 9000")
    assert load(file, {}).settings.server.port == 9000
    loaded = load(file, {"RCOMMERCE_SERVER__PORT": "9001", "RCOMMERCE_DATABASE__HOST": "db"})
    assert loaded.settings.server.port == 9001
    assert loaded.settings.database.db_type == "Postgres"
    assert loaded.origin("server.port") == "environment RCOMMERCE_SERVER__PORT"
    assert loaded.origin("server.host") == "default"


def test_enumerated_words_are_understood_in_any_case() -> None:
    loaded = load(None, {"RCOMMERCE_LOGGING__LEVEL": "WARNING"})
    assert loaded.settings.logging.level == "warning"


def test_a_secret_comes_from_a_file_and_is_shown_masked(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    loaded = load(None, {"RCOMMERCE_DATABASE__PASSWORD_FILE": str(secret)})
    assert loaded.settings.database.password == "hunter2"
    shown = {key: value for key, value, _ in loaded.masked()}
    assert "hunter2" not in str(shown)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", ["rcommerce.toml", "server.prot", "server.port"]),
        ("[sever]\nport = 1", ["there is no setting sever"]),
        ('[server]\nport = "80"', ["server.port", "int"]),
        ("[server]\nport = 70000", ["server.port", "65535"]),
        ("server = 3", ["server is a table", "[server]"]),
        ('[cache]\ncache_type = "Memcached"', ["cache.cache_type", '"Redis"']),
        ('[cache]\ncache_type = "Redis"', ["redis_url"]),
        ("[cache]\nredis_cluster = true", ["cache.redis_cluster", "Memory"]),
        ('[cache]\ncache_type="Redis"\nredis_url="redis://a:1,,b:2"', ["empty node"]),
        ("[server]\nworkers = 2\nworker_threads = 3", ["contradicts"]),
        ("[server.cors]\nallow_credentials = true", ["allowed_origins"]),
        ('[media]\nstorage_type = "S3"', ["s3_bucket"]),
        ('[security.jwt]\nsecret = "short"', ["32 bytes"]),
        ('[database]\nread_replicas = ["nowhere"]', ["host:port"]),
        ('[database]\ndb_type = "Embedded"\nhost = "x"', ["contradicts"]),
        ("[[shipping.flat_rates]]\nservice_cod = 1", ["shipping.flat_rates.service_cod"]),
        ("port = = 1", ["not valid TOML"]),
    ],
)
def test_a_mistake_is_one_message_that_names_what_would_be_right(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, text), {})
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_variable_of_ours_is_a_mistake_too() -> None:
    with pytest.raises(SettingsError, match=r"RCOMMERCE_SERVER__PROT.*nearest is server\.port"):
        load(None, {"RCOMMERCE_SERVER__PROT": "1"})


@pytest.mark.parametrize("kind", ["laptop", "server", "fleet"])
def test_the_file_that_init_writes_is_taken_also_with_its_examples(
    tmp_path: Path, kind: str
) -> None:
    options = [] if kind == "laptop" else [f"--{kind}"]
    made = execute(["config", "init", *options], tmp_path, os.environ)
    assert made.returncode == 0, made.stderr
    file = tmp_path / "rcommerce.toml"
    written = file.read_text()
    load(file, {}).require_built()
    assert file.stat().st_mode & 0o777 == 0o600
    # Without the marks of a comment: defaults and examples are keys that there are.
    file.write_text(re.sub(r"^# (?=\w+ = )", "", written, flags=re.MULTILINE))
    assert file.read_text() != written
    load(file, {}).require_built()
    # What exists is not replaced by mistake.
    again = execute(["config", "init", *options], tmp_path, os.environ)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert execute(["config", "init", *options, "--force"], tmp_path, os.environ).returncode == 0
    if kind == "fleet":
        load_fleet(tmp_path / "fleet.toml")
