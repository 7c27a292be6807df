"""Every settings key: its type and default, and whether its feature is built.

Names are those of CONFIG, which operators of R Commerce know. `*_secs` and `*_ttl` are seconds,
`*_mb` is MiB.
"""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

Port = Annotated[int, Meta(ge=1, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]


class Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""


class Cors(Section):
    enabled: bool = True
    allowed_origins: list[str] = field(default_factory=lambda: ["*"])
    allowed_methods: list[str] = field(
        default_factory=lambda: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    )
    allowed_headers: list[str] = field(default_factory=lambda: ["*"])
    allow_credentials: bool = False
    max_age: NotNegative = 3600


class Limits(Section):
    """`header_timeout_secs` is also how long a connection may be idle: longer than a load
    balancer's own limit (60 s for nginx and AWS), which would otherwise send a request on a
    connection that is just being closed."""

    max_request_size_mb: Positive = 10
    rate_limit_per_minute: NotNegative = 1000
    rate_limit_burst: NotNegative = 200
    adaptive_concurrency: bool = True
    header_timeout_secs: Positive = 75


class Server(Section):
    host: str = "0.0.0.0"  # noqa: S104 - a server in a container has to be reached
    port: Port = 8080
    worker_threads: NotNegative = 0
    workers: NotNegative = 0
    graceful_shutdown_timeout_secs: NotNegative = 30
    drain_delay_secs: NotNegative = 0
    request_timeout_secs: Positive = 30
    trusted_proxies: list[str] = field(default_factory=lambda: ["127.0.0.0/8", "::1"])
    cors: Cors = field(default_factory=Cors)
    limits: Limits = field(default_factory=Limits)


class Node(Section):
    """A PostgreSQL primary with its replicas; addresses are "host:port".

    `hosts` names several servers of which one is the primary, instead of `host` and `port`.
    `direct_hosts` are the servers behind `pooler`: logical replication does not pass a pooler.
    """

    host: str = "localhost"
    port: Port = 5432
    hosts: list[str] = field(default_factory=list)
    database: str = "rcommerce"
    username: str = "rcommerce"
    password: str = "rcommerce"  # noqa: S105 - the documented default
    pool_size: Positive = 20
    ssl_mode: Literal["Disable", "Prefer", "Require", "VerifyFull"] = "Prefer"
    read_replicas: list[str] = field(default_factory=list)
    pooler: Literal["None", "pgbouncer"] = "None"
    direct_hosts: list[str] = field(default_factory=list)

    @property
    def addresses(self) -> list[str]:
        """The addresses of the primary, in the order in which they are tried."""
        return self.hosts or [f"{self.host}:{self.port}"]

    @property
    def direct_addresses(self) -> list[str]:
        """The same, without a pooler."""
        return self.direct_hosts or self.addresses


# What an entry of [[database.shards]] inherits from [database].
INHERITED = ("database", "username", "password", "pool_size", "ssl_mode", "pooler")


class Shard(Node):
    name: str = ""


class DatabaseSettings(Node):
    db_type: Literal["Postgres", "Embedded"] = "Embedded"
    pool_timeout_secs: Positive = 5
    statement_timeout_secs: Positive = 15
    lock_timeout_secs: Positive = 5
    idle_in_transaction_timeout_secs: Positive = 30
    max_replica_lag_s: Positive = 10
    replica_wait_ms: NotNegative = 100
    shards: list[Shard] = field(default_factory=list)


class Cache(Section):
    enabled: bool = True
    cache_type: Literal["Memory", "Redis"] = "Memory"
    redis_url: str | None = None
    redis_cluster: bool = False
    redis_pool_size: Positive = 10
    redis_timeout_ms: Positive = 500
    redis_ca_file: Path | None = None
    key_prefix: str = "rcommerce:"
    max_size_mb: NotNegative = 100
    product_cache_ttl: Positive = 300
    customer_cache_ttl: Positive = 600
    session_cache_ttl: Positive = 86400


class Cdn(Section):
    """A CDN that is purged by tag."""

    provider: Literal["None", "Cloudflare", "Fastly", "Varnish"] = "None"
    api_token: str | None = None
    cloudflare_zone_id: str | None = None
    cloudflare_url: str = "https://api.cloudflare.com/client/v4"
    fastly_service_id: str | None = None
    fastly_url: str = "https://api.fastly.com"
    varnish_urls: list[str] = field(default_factory=list)


class ImageSize(Section):
    """A rendition: scaled to fit into these pixels, or cropped to exactly them."""

    name: str
    width: Annotated[int, Meta(ge=1, le=8192)]
    height: Annotated[int, Meta(ge=1, le=8192)]
    crop: bool = False


def _sizes() -> list[ImageSize]:
    return [
        ImageSize(name="thumbnail", width=150, height=150, crop=True),
        ImageSize(name="small", width=300, height=300),
        ImageSize(name="medium", width=600, height=600),
        ImageSize(name="large", width=1200, height=1200),
    ]


class ImageProcessing(Section):
    enabled: bool = True
    default_quality: Annotated[int, Meta(ge=1, le=100)] = 85
    formats: list[Literal["webp", "avif"]] = field(default_factory=lambda: ["webp", "avif"])
    max_megapixels: Positive = 64
    sizes: list[ImageSize] = field(default_factory=_sizes)


class Media(Section):
    """Where uploads are stored. `public_url` is where browsers get them, such as a CDN's URL;
    without it the server serves them itself, below /media."""

    storage_type: Literal["Local", "S3", "Gcs", "Azure"] = "Local"
    max_upload_mb: Positive = 50
    public_url: str | None = None
    timeout_secs: Positive = 10
    local_path: Path = Path("./uploads")
    local_base_url: str | None = None
    s3_bucket: str | None = None
    s3_region: str | None = None
    s3_endpoint: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: str | None = None
    gcs_bucket: str | None = None
    gcs_service_account_file: Path | None = None
    azure_account: str | None = None
    azure_container: str | None = None
    azure_access_key: str | None = None
    azure_endpoint: str | None = None
    image_processing: ImageProcessing = field(default_factory=ImageProcessing)

    @property
    def base_url(self) -> str:
        """The beginning of the URLs of media."""
        return (self.public_url or self.local_base_url or "/media").rstrip("/")


class Jobs(Section):
    """Background jobs. `concurrency` is per shard and queue. `in_server`: the server's processes
    run jobs; the default is true with the embedded database."""

    in_server: bool | None = None
    concurrency: Positive = 4
    poll_interval_ms: Annotated[int, Meta(ge=50, le=60_000)] = 500


class Webhooks(Section):
    """Webhooks. `allowed_networks`: private networks in which receivers may be."""

    timeout_secs: Positive = 10
    allow_http: bool = False
    allowed_networks: list[str] = field(default_factory=list)


class Jwt(Section):
    secret: str | None = None
    expiry_hours: Positive = 24
    refresh_expiry_days: Positive = 30


class Security(Section):
    api_key_prefix_length: Annotated[int, Meta(ge=4, le=32)] = 8
    api_key_secret_length: Annotated[int, Meta(ge=24, le=128)] = 32
    jwt: Jwt = field(default_factory=Jwt)
    secure_cookies: bool | None = None


class RateLimiting(Section):
    enabled: bool = False
    requests_per_minute: Positive = 60
    requests_per_hour: Positive | None = None
    requests_per_day: Positive | None = None
    max_concurrent_per_ip: Positive = 10
    api_key_requests_per_minute: Positive = 1000
    tenant_requests_per_minute: Positive | None = None
    logins_per_account_per_minute: Positive = 10
    logins_per_address_per_minute: Positive = 60
    password_resets_per_account_per_hour: Positive = 5
    password_resets_per_address_per_hour: Positive = 30
    gift_cards_per_address_per_minute: Positive = 10
    allowlist: list[str] = field(default_factory=list)
    blocklist: list[str] = field(default_factory=list)
    expose_headers: bool = True


class Logging(Section):
    """`requests`: a line for each request; otherwise only for failed or slow ones. Responses from
    memory have none."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["Json", "Text"] | None = None
    requests: bool = False
    slow_request_ms: NotNegative = 1000


class Telemetry(Section):
    """Traces for OpenTelemetry. `otlp_endpoint` is a collector's, for OTLP over HTTP, such as
    http://localhost:4318; `sample_ratio` is the share of traces that start here."""

    otlp_endpoint: str | None = None
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.01
    service_name: str = "rcommerce"


class Stripe(Section):
    enabled: bool = False
    secret_key: str | None = None
    publishable_key: str | None = None
    webhook_secret: str | None = None


class Payment(Section):
    default_gateway: Literal["manual", "test"] = "manual"
    test_mode: bool | None = None
    test_webhook_secret: str | None = None
    gateway_timeout_secs: Positive = 10
    stripe: Stripe = field(default_factory=Stripe)


class FlatRate(Section):
    """One service of the flat-rate provider; `rate` is in the shop's currency."""

    service_code: str
    service_name: str
    rate: Decimal
    delivery_days: NotNegative | None = None
    countries: list[str] = field(default_factory=list)


def _flat_rates() -> list[FlatRate]:
    return [
        FlatRate(
            service_code="standard",
            service_name="Standard delivery",
            rate=Decimal("5.00"),
            delivery_days=5,
        ),
        FlatRate(
            service_code="express",
            service_name="Express delivery",
            rate=Decimal("15.00"),
            delivery_days=1,
        ),
    ]


class Address(Section):
    name: str | None = None
    address1: str | None = None
    address2: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None


class Shipping(Section):
    default_provider: Literal["manual"] = "manual"
    origin: Address = field(default_factory=Address)
    flat_rates: list[FlatRate] = field(default_factory=_flat_rates)


class Tax(Section):
    provider: Literal["builtin"] = "builtin"
    default_tax_included: bool = False
    enable_oss: bool = False
    oss_member_state: str | None = None
    validate_vat_ids: bool = False


class Checkout(Section):
    reservation_ttl_secs: Positive = 900
    cart_ttl_days: Positive = 30
    sweep_interval_secs: Positive = 5


class Promotions(Section):
    """`stacking`: which promotions apply together, `Priority` (the highest first) or `BestPrice`
    (the largest discount)."""

    stacking: Literal["Priority", "BestPrice"] = "Priority"


class ExchangeRates(Section):
    """`source` of automatic exchange rates: `Manual`, there are none, or `ECB`, the reference rates
    of the European Central Bank, from `url`."""

    source: Literal["Manual", "ECB"] = "Manual"
    url: str = "https://data-api.ecb.europa.eu/service/data/EXR/D..EUR.SP00.A"
    timeout_secs: Positive = 10


class Email(Section):
    smtp_host: str | None = None
    smtp_port: Port = 587
    smtp_user: str | None = None
    smtp_pass: str | None = None
    smtp_tls: bool = True
    from_name: str = "R Commerce"
    from_email: str = "shop@example.com"
    password_reset_url: str = "http://localhost:3000/reset-password?token={token}"  # noqa: S105


class Notifications(Section):
    email: Email = field(default_factory=Email)


class Hsts(Section):
    enabled: bool = False
    max_age: NotNegative = 31536000


class Tls(Section):
    """HTTPS by the server itself, on `https_port` instead of `server.port`. Files are PEM; the key
    is PKCS #8."""

    enabled: bool = False
    cert_file: Path | None = None
    key_file: Path | None = None
    min_tls_version: Literal["1.2", "1.3"] = "1.2"
    https_port: Port = 443
    hsts: Hsts = field(default_factory=Hsts)


class Features(Section):
    """`ops`: who may see the fleet page."""

    metrics: bool = True
    ops: Literal["Staff", "Open", "Off"] = "Staff"
    debug_api: bool = False
    health_check: bool = True


class Settings(Section):
    """The whole file."""

    data_dir: Path = Path("./data")
    server: Server = field(default_factory=Server)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    cache: Cache = field(default_factory=Cache)
    cdn: Cdn = field(default_factory=Cdn)
    media: Media = field(default_factory=Media)
    jobs: Jobs = field(default_factory=Jobs)
    webhooks: Webhooks = field(default_factory=Webhooks)
    security: Security = field(default_factory=Security)
    rate_limiting: RateLimiting = field(default_factory=RateLimiting)
    logging: Logging = field(default_factory=Logging)
    telemetry: Telemetry = field(default_factory=Telemetry)
    payment: Payment = field(default_factory=Payment)
    checkout: Checkout = field(default_factory=Checkout)
    promotions: Promotions = field(default_factory=Promotions)
    exchange_rates: ExchangeRates = field(default_factory=ExchangeRates)
    shipping: Shipping = field(default_factory=Shipping)
    tax: Tax = field(default_factory=Tax)
    notifications: Notifications = field(default_factory=Notifications)
    tls: Tls = field(default_factory=Tls)
    features: Features = field(default_factory=Features)

    @property
    def port(self) -> int:
        """The address that the server listens on."""
        return self.tls.https_port if self.tls.enabled else self.server.port


SECRETS = frozenset(
    {
        "database.password",
        "media.s3_access_key",
        "media.s3_secret_key",
        "media.azure_access_key",
        "security.jwt.secret",
        "payment.test_webhook_secret",
        "payment.stripe.secret_key",
        "payment.stripe.webhook_secret",
        "notifications.email.smtp_pass",
        "cache.redis_url",
        "cdn.api_token",
    }
)

# Accepted, and refused by every command that would need them, until the feature is built: a setting
# that differs from its default must never be ignored silently.
UNBUILT = (
    "payment.stripe",
    "shipping.origin",
    "tax",
    "features.debug_api",
    "features.health_check",
)
