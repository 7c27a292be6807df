"""Metrics of what all processes of a fleet should agree on: settings and time."""

from rcommerce import clock
from rcommerce.settings import Settings
from rcommerce.settings.digests import digests, fingerprint
from rcommerce.telemetry.prometheus import Update


def of_agreement(settings: Settings, secret: str) -> Update:
    """Creates the metrics; the result updates them."""
    from prometheus_client import Gauge

    info = Gauge(
        "rcommerce_settings_info",
        "1; instances with the same settings have the same fingerprint",
        ["fingerprint"],
        multiprocess_mode="livemax",
    )
    info.labels(fingerprint(digests(settings, secret), secret)).set(1)
    behind = Gauge(
        "rcommerce_clock_behind_seconds",
        "How far this machine's clock is behind the database's",
        multiprocess_mode="livemostrecent",
    )

    def update() -> None:
        behind.set(clock.differs_by_s())

    return update
