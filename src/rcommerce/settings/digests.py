"""Compares the settings of processes without revealing them."""

import hmac
from hashlib import sha256

import msgspec

from rcommerce.settings.load import leaves
from rcommerce.settings.schema import Settings

# Settings that may differ between processes.
OWN = frozenset(
    {"data_dir", "server.host", "server.port", "server.workers", "server.worker_threads",
     "jobs.concurrency", "tls.https_port", "tls.cert_file", "tls.key_file", "features.ops"}
)  # fmt: skip
SIZE = 12  # hexadecimal digits


def digests(settings: Settings, secret: str) -> dict[str, str]:
    """A digest of each setting, by key. It includes the installation's secret, so that weak
    passwords cannot be found by trying."""
    return {
        key: _digest(secret, msgspec.json.encode(value, enc_hook=str))
        for key, value in leaves(settings)
        if key not in OWN
    }


def fingerprint(of: dict[str, str], secret: str) -> str:
    """One digest of all."""
    return _digest(secret, msgspec.json.encode(sorted(of.items())))


def _digest(secret: str, value: bytes) -> str:
    return hmac.new(secret.encode(), value, sha256).hexdigest()[:SIZE]
