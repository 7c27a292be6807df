"""This machine: disk space, open files, the certificate."""

import contextlib
import resource
import shutil
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from rcommerce.doctor.findings import Finding
from rcommerce.settings import Settings
from rcommerce.settings.schema import Tls

LITTLE = 0.10  # of a disk
FILES = 4096  # connections are files
SOON_DAYS = 21  # certificates are renewed a month before they expire
DAY_S = 86_400


def examine(settings: Settings) -> Iterator[Finding]:
    """All of it."""
    folders = {settings.data_dir}
    if settings.media.storage_type == "Local":
        folders.add(settings.media.local_path)
    for folder in sorted(folders):
        yield _disk(folder)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        yield Finding("yellow", "open files", f"at most {soft} a process: so many connections",
                      "ulimit -n 65536; LimitNOFILE=65536 in a unit of systemd")  # fmt: skip
    else:
        limit = "any number of" if soft == resource.RLIM_INFINITY else f"{soft:,}"
        yield Finding("green", "open files", f"{limit} a process")
    if settings.tls.enabled:
        yield _certificate(settings.tls)


def _disk(folder: Path) -> Finding:
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    usage = shutil.disk_usage(there)
    about = f"disk of {folder}"
    message = f"{usage.free / 1e9:,.1f} of {usage.total / 1e9:,.1f} GB are free"
    if usage.free < LITTLE * usage.total:
        return Finding("yellow", about, message, "a full disk stops the database and uploads")
    return Finding("green", about, message)


def _certificate(tls: Tls) -> Finding:
    about = f"certificate {tls.cert_file}"
    try:
        left_days = (_expires_at(tls) - time.time()) / DAY_S
    except (OSError, ValueError) as error:  # ssl's errors are OSErrors
        reason = getattr(error, "verify_message", "") or str(error)
        return Finding("red", about, f"cannot be used: {reason}")
    message = f"is valid for {left_days:.0f} days, and the key is its own"
    if left_days < SOON_DAYS:
        return Finding("yellow", about, message, "renew it, then send each server SIGHUP")
    return Finding("green", about, message)


def _expires_at(tls: Tls) -> float:
    """When the certificate expires, in seconds since 1970, as a client of this server would see it.
    Raises OSError for one that no client accepts, ValueError for one without an end."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(str(tls.cert_file), str(tls.key_file))
    client.load_verify_locations(str(tls.cert_file))  # trusted for this check, whoever issued it
    client.check_hostname, client.verify_flags = False, ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(to_client, to_server)
    answers = server.wrap_bio(to_server, to_client, server_side=True)
    for end in (asks, answers, asks):  # a TLS 1.3 handshake, as far as the certificate
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return ssl.cert_time_to_seconds(str((asks.getpeercert() or {}).get("notAfter", "")))
