"""Runs between fork and exec of a child, as a program of its own.

It sets the signal with which the kernel ends the child at its parent's death, and gives up root; both have to happen
in the child itself. A `preexec_fn` would run Python between fork and exec in a process with threads, which can
deadlock. Only modules that load in a few milliseconds are imported, and none of this package.
"""

import ctypes
import os
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
EXIT_NOT_STARTED = 127


def check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def prctl(libc: ctypes.CDLL, option: int, first: int, second: int = 0) -> None:
    check(libc.prctl(option, first, second, 0, 0))


def drop_root(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def drop_root_but(libc: ctypes.CDLL, uid: int, gid: int, capability: int) -> None:
    """Switch to another user; the capability is the only one of root's that survives, also over exec."""
    # Without this bit a change of user drops all capabilities, and access(2), with which Postgres looks for its own
    # programs, checks without them.
    prctl(libc, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    drop_root(uid, gid)
    bit = 1 << capability
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable sets: the lower 32 capabilities, then the upper ones.
    data = struct.pack("=6I", bit, bit, bit, 0, 0, 0)
    check(libc.capset(header, data))
    prctl(libc, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def main(argv: list[str]) -> None:
    parent, death_signal, uid, gid, capability = (int(word) for word in argv[1:6])
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None and capability >= 0:
        drop_root_but(libc, uid, gid, capability)
    elif uid >= 0:
        drop_root(uid, gid)
    if libc is not None:
        # Set after the change of user, which clears it.
        prctl(libc, PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        raise SystemExit(EXIT_NOT_STARTED)
    try:
        os.execv(argv[6], argv[6:])  # noqa: S606  no shell is needed
    except OSError as error:
        sys.stderr.write(f"{argv[6]}: {error.strerror}\n")
        raise SystemExit(EXIT_NOT_STARTED) from None


if __name__ == "__main__":
    main(sys.argv)
