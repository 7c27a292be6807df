"""A fleet's two files, for tests."""

from pathlib import Path

from rcommerce.deploy.fleet import Fleet, load_fleet

SETTINGS = """
[server]
drain_delay_secs = 20

[database]
hosts = ["10.0.2.5:6432"]
pooler = "pgbouncer"
direct_hosts = ["10.0.2.10:5432", "10.0.2.11:5432"]
read_replicas = ["10.0.2.11:5432"]
password = "a password that nobody may read"

[cache]
cache_type = "Redis"
redis_url = "redis://:redis-password@10.0.4.11:6379,10.0.4.12:6379"
redis_cluster = true

[media]
storage_type = "S3"
s3_bucket = "uploads"
s3_access_key = "an access key"
s3_secret_key = "its secret"

[security.jwt]
secret = "the secret of all tokens, in 32 bytes or more"
"""
SECRETS = (
    "a password that nobody may read",
    "redis-password",
    "an access key",
    "its secret",
    "the secret of all tokens",
)
FLEET = """
domain = "shop.example.com"

[instances]
addresses = ["10.0.1.10", "10.0.1.11", "10.0.1.12"]
weights = [5, 5, 5]

[kubernetes]
staging_settings = "rcommerce.toml"
"""


def fleet_in(folder: Path, fleet: str = FLEET, settings: str = SETTINGS) -> Fleet:
    """The fleet of files written there. Raises SettingsError."""
    (folder / "rcommerce.toml").write_text(settings)
    (folder / "fleet.toml").write_text(fleet)
    return load_fleet(folder / "fleet.toml")
