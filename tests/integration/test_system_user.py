"""Root's PostgreSQL runs as a user that the first start makes: one, however many start at once."""

import os
import pwd
import subprocess
import sys

import pytest

USER = f"rcommerce-test-{os.getpid()}"
START = f"""
import pwd
from rcommerce.database import binaries
binaries.SYSTEM_USER = {USER!r}
print(pwd.getpwnam(binaries.system_user()).pw_uid)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")
def test_many_first_starts_at_once_make_one_user() -> None:
    try:
        starts = [
            subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True)
            for _ in range(8)
        ]
        numbers = {each.communicate(timeout=60)[0].strip() for each in starts}
        assert numbers == {str(pwd.getpwnam(USER).pw_uid)}
    finally:
        subprocess.run(["userdel", USER], check=False, capture_output=True)
