"""Whether two processes have the same settings, told without telling what they are."""

import hmac
from hashlib import sha256

import msgspec

from rcommerce.settings.load import leaves
from rcommerce.settings.schema import Settings

# What each process of a fleet may have for itself.
OWN = frozenset(
    {"data_dir", "server.host", "server.port", "server.workers", "server.worker_threads",
     "jobs.concurrency", "tls.https_port", "tls.cert_file", "tls.key_file", "features.ops"}
)  # fmt: skip
SIZE = 12  # hexadecimal digits


def digests(settings: Settings, secret: str) -> dict[str, str]:
    """A digest of each setting by its key. The installation's secret goes into each, so that nobody
    finds a weak password by trying."""
    return {
        key: _digest(secret, msgspec.json.encode(value, enc_hook=str))
        for key, value in leaves(settings)
        if key not in OWN
    }


def fingerprint(of: dict[str, str], secret: str) -> str:
    """One of all of them."""
    return _digest(secret, msgspec.json.encode(sorted(of.items())))


def _digest(secret: str, value: bytes) -> str:
    return hmac.new(secret.encode(), value, sha256).hexdigest()[:SIZE]
