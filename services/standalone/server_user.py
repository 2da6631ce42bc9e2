"""The user that runs Postgres when the current user is root: Postgres refuses to run as root."""

import os
import pwd
import stat
import sys
from pathlib import Path

from codewell.errors import StackUnavailable
from services.standalone.child import RunAs

USERS = ("postgres", "nobody")
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETPCAP = 8


def server_user(data_directory: Path, program: Path, *read: Path) -> RunAs | None:
    """None unless the current user is root; without root the server runs as the current user.

    The server's folders are chowned to that user, which may still lack access to their parents, such as root's home.
    Their modes stay; instead the server keeps root's capability to traverse and read, only where it is needed.
    Raises StackUnavailable if no user can access both.
    """
    if os.geteuid() != 0:
        return None
    uid, gid = _owner(data_directory)
    if not _allows(program, uid, gid, stat.S_IROTH | stat.S_IXOTH):
        # As under a strict umask; the capability to read does not cover execution.
        capabilities: tuple[int, ...] = (CAP_DAC_OVERRIDE,)
    elif _can_pass_to(data_directory, uid, gid) and all(_can_read(path, uid, gid) for path in read):
        return RunAs(uid, gid)
    else:
        capabilities = (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE)
    for capability in capabilities:
        if _permitted(capability, CAP_SETPCAP):
            return RunAs(uid, gid, capability)
    raise StackUnavailable(
        f"Postgres does not run as root, and user {pwd.getpwuid(uid).pw_name} cannot access {data_directory} "
        f"or {program}: move both below directories that are open to others, or do not start this as root."
    )


def give_to(run_as: RunAs | None, *paths: Path) -> None:
    """Change the owner of a new path to this user."""
    if run_as is not None:
        for path in paths:
            os.chown(path, run_as.uid, run_as.gid)


def _owner(directory: Path) -> tuple[int, int]:
    """The current owner of the path, else the first user of the list that exists on this machine."""
    if directory.exists():
        found = directory.stat()
        if found.st_uid != 0:
            return found.st_uid, found.st_gid
    for name in USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise StackUnavailable(
        f"Postgres does not run as root, and this machine has none of the users {', '.join(USERS)}: "
        "add one, or do not start this as root."
    )


def _can_pass_to(path: Path, uid: int, gid: int) -> bool:
    """Whether the permission bits let this user traverse all parents."""
    return all(_allows(parent, uid, gid, stat.S_IXOTH) for parent in path.resolve().parents)


def _can_read(path: Path, uid: int, gid: int) -> bool:
    return _can_pass_to(path, uid, gid) and _allows(path, uid, gid, stat.S_IROTH | stat.S_IXOTH)


def _allows(path: Path, uid: int, gid: int, bits: int) -> bool:
    found = path.stat()
    if found.st_uid == uid:
        granted = found.st_mode >> 6
    elif found.st_gid == gid:
        granted = found.st_mode >> 3
    else:
        granted = found.st_mode
    return granted & bits == bits


def _permitted(*capabilities: int) -> bool:
    """Whether this process has all these capabilities: containers drop some of root's."""
    if sys.platform != "linux":
        return False
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            permitted = int(line.split()[1], 16)
            return all(permitted >> capability & 1 for capability in capabilities)
    return False
