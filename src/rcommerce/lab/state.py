"""`lab.json`: the parts of a lab, for commands, scripts, and cleaning up after a crash."""

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any, Literal

from rcommerce.errors import NotFound, StartError
from rcommerce.lab.process import family

FILE, SOCKET = "lab.json", "lab.sock"
LONGEST_SOCKET = 100  # the kernel allows 107 bytes
ASK_TIMEOUT_S = 120.0
END_TIMEOUT_S = 60.0
Phase = Literal["starting", "up", "ending", "failed"]


def write(folder: Path, found: dict[str, Any]) -> None:
    """Replaces it atomically."""
    made = folder / f"{FILE}.new"
    made.write_text(json.dumps(found, indent=2) + "\n")
    made.replace(folder / FILE)


def read(folder: Path) -> dict[str, Any] | None:
    """Its content; None if there is none."""
    try:
        found: dict[str, Any] = json.loads((folder / FILE).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found


def require(folder: Path) -> dict[str, Any]:
    """The state of a running lab. Raises NotFound."""
    found = read(folder.absolute())
    if found is None:
        raise NotFound(f"there is no lab in {folder}: rcommerce lab up")
    if not is_alive(found["pid"], found["born"]):
        raise NotFound(f"the lab in {folder} has ended without being asked: rcommerce lab down")
    return found


def part(found: dict[str, Any], name: str) -> dict[str, Any]:
    """A part by its name. Raises NotFound."""
    parts: dict[str, dict[str, Any]] = {each["name"]: each for each in found["parts"]}
    if name not in parts:
        raise NotFound(f"there is no part {name}; there are {', '.join(parts)}")
    return parts[name]


def ask(folder: Path, what: str, name: str) -> dict[str, str]:
    """Asks the lab's process to act on a part. Raises NotFound, StartError."""
    part(require(folder), name)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ASK_TIMEOUT_S)
        connection.connect(str(folder.absolute() / SOCKET))
        connection.sendall(json.dumps({"do": what, "part": name}).encode() + b"\n")
        answer: dict[str, str] = json.loads(connection.makefile().readline())
    if "error" in answer:
        raise StartError(answer["error"])
    return answer


def end(folder: Path) -> bool:
    """Ends a lab, also one whose process was killed; returns whether there was one. Raises
    StartError."""
    found = read(folder.absolute())
    if found is None:
        return False
    if is_alive(found["pid"], found["born"]):
        os.kill(found["pid"], signal.SIGTERM)
        deadline = time.monotonic() + END_TIMEOUT_S
        while is_alive(found["pid"], found["born"]):
            if time.monotonic() > deadline:
                raise StartError(f"the lab's process {found['pid']} does not end")
            time.sleep(0.05)
    end_orphans(found)
    return True


def remove(folder: Path) -> None:
    """Removes the files of a lab that has ended."""
    shutil.rmtree(folder, ignore_errors=True)


def end_orphans(found: dict[str, Any]) -> None:
    """Kills the parts of a lab whose process is gone."""
    for each in found["parts"]:
        if each["pid"] is not None and is_alive(each["pid"], each["born"]):
            for pid in family(each["pid"]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def born(pid: int | None) -> int | None:
    """A process's start time, in clock ticks since boot: process ids are reused."""
    try:
        reported = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = reported.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def is_alive(pid: int, began: int | None) -> bool:
    """Whether exactly this process is running."""
    return began is not None and born(pid) == began
