"""Linux's Landlock: limits on files, connections and signals that the kernel keeps for a process.

See landlock(7). Unlike a hook of Python's they hold for compiled libraries too, and nothing takes
them back. An older kernel knows fewer of them, or none; other systems have none.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on all processors
_ASK_VERSION, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38  # what prctl(2) calls it

# Kinds of access to files, one bit each; a version knows the first so many of them.
_KNOWN = (0, 13, 14, 15, 15, 16)
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE, _MAKE, _REFER = 1 << 4 | 1 << 5, 1 << 7 | 1 << 8 | 1 << 12, 1 << 13  # no pipe, no device
_TRUNCATE, _CONTROL = 1 << 14, 1 << 15
_OF_A_FILE = _EXECUTE | _WRITE | _READ | _TRUNCATE | _CONTROL  # the others are about folders
_READING = _READ | _LIST
_CHANGING = _WRITE | _TRUNCATE | _REMOVE | _MAKE | _REFER
_CONNECTIONS, _SCOPES = 0b11, 0b11  # bind and connect; abstract sockets and signals


def version() -> int:
    """Return the version of Landlock that this kernel has; 0: none."""
    if sys.platform != "linux":
        return 0
    return max(0, _libc().syscall(*_longs(_CREATE_RULESET, None, 0, _ASK_VERSION)))


def confine(readable: Iterable[Path], writable: Iterable[Path]) -> int:
    """Confine this thread, and the threads and processes that it will start, for good.

    They start no program, open no TCP connection (version 4) and signal no process from before
    (version 6). What is open already stays open.

    Args:
        readable: Files, and folders with all in them, that it may read. Those that do not exist
            are left out.
        writable: The same of what it may read and change; truncating is free before version 3.

    Returns:
        The kernel's version; 0 means that nothing happened.

    Raises:
        OSError: The kernel knows Landlock and refused.
    """
    found = version()
    if not found:
        return 0
    known = (1 << _KNOWN[min(found, len(_KNOWN) - 1)]) - 1
    words = [known, *[_CONNECTIONS] * (found >= 4), *[_SCOPES] * (found >= 6)]
    attributes = struct.pack(f"={len(words)}Q", *words)
    rules = _checked("syscall", _CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for paths, access in ((readable, _READING), (writable, _READING | _CHANGING)):
            for path in paths:
                _allow(rules, path, access & known)
        _checked("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        _checked("syscall", _RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return found


def _allow(rules: int, path: Path, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        access &= -1 if path.is_dir() else _OF_A_FILE
        _checked("syscall", _ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", access, place), 0)
    finally:
        os.close(place)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _longs(*given: Any) -> list[Any]:
    return [ctypes.c_long(word) if isinstance(word, int) else word for word in given]


def _checked(function: str, *given: Any) -> int:
    answer = int(getattr(_libc(), function)(*_longs(*given)))
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return answer
