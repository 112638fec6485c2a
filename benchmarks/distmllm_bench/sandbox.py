"""Keeping somebody else's code to its folder: what a process does to itself before it runs it.

This stops accidents and the tricks that a course meets: loops that fill the memory, files written
or read elsewhere, programs, connections, signals to the process that grades. A hook of Python's
says what was wrong. Behind it, on Linux from 5.13 on, the kernel keeps compiled libraries to the
same files, too, see :mod:`distmllm_bench.landlock`. It is no wall against an expert who wants to
break out; for that, run it in a container.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, cast

from distmllm_bench import landlock

MEMORY_BYTES = 2 << 30
"""What a submission may use, libraries included."""

FILE_BYTES = 64 << 20
"""How long a file that it writes may get."""

_PACKAGES = ("distmllm_env", "distmllm_agents", "distmllm_bench")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What libraries read when they are loaded or asked for the time, the machine or random numbers.
_READABLE = ("/dev/null", "/dev/urandom", "/proc/self", "/proc/cpuinfo", "/proc/meminfo",
             "/proc/stat", "/sys/devices/system", "/sys/fs/cgroup", "/etc/localtime",
             "/usr/share/zoneinfo")  # fmt: skip
# What the kernel reads for the process, unseen by Python: libraries that extension modules need.
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
            "os.truncate", "os.chmod", "os.chown", "os.utime")  # fmt: skip
_REFUSED = {
    "start a program": ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn",
                        "os.fork", "os.forkpty", "pty.spawn", "os.startfile"),
    "open a connection": ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo",
                          "urllib.Request"),
    "send a signal": ("os.kill", "os.killpg", "signal.pthread_kill"),
    "load a library by ctypes": ("ctypes.dlopen", "ctypes.dlsym", "ctypes.cdata"),
    "change its limits": ("resource.setrlimit", "resource.prlimit"),
    "open a database": ("sqlite3.connect", "sqlite3.connect/handle"),
}  # fmt: skip
# Python tells no hook of these.
_SILENT = {
    **dict.fromkeys(("os", "posix"), ("mkfifo", "mknod", "setpriority")),
    **dict.fromkeys(("signal", "_signal"), ("pidfd_send_signal",)),
    "_posixsubprocess": ("fork_exec",),
}
# They open libraries, files and connections past Python.
_WITHOUT = ("numba", "_dbm", "_gdbm", "readline", "zmq")


def restrict(folder: Path, memory_bytes: int = MEMORY_BYTES) -> None:
    """Restrict this process, for good.

    Args:
        folder: The only place where it may write. It may read here, in Python's own folders and in
            this project's packages.
        memory_bytes: Most address space; what wants more gets a ``MemoryError``.
    """
    import ctypes  # noqa: F401 - numpy asks for it late, and then it may not be loaded any more
    import resource
    import signal  # noqa: F401 - so that it is there to be changed
    import subprocess  # noqa: F401 - likewise what is beneath it

    for name in _WITHOUT:
        sys.modules.setdefault(name, cast(ModuleType, None))
    for module, names in _SILENT.items():
        for name in names:
            if hasattr(sys.modules.get(module), name):
                setattr(sys.modules[module], name, _refuse(f"{module}.{name}"))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder = folder.resolve()
    readable = _readable(folder)
    landlock.confine([*readable, *_libraries()], [folder, Path(os.devnull)])
    sys.addaudithook(_hook(folder, readable))


def _hook(folder: Path, readable: Iterable[Path]) -> Callable[[str, tuple[Any, ...]], None]:
    roots = tuple(str(root) for root in readable)
    refused = {event: what for what, events in _REFUSED.items() for event in events}
    own = str(folder)
    realpath, fsdecode, separator = os.path.realpath, os.fsdecode, os.sep  # as they are now

    def below(path: object, allowed: tuple[str, ...]) -> bool:
        if isinstance(path, int):  # a file that is open already
            return True
        if not isinstance(path, (str, bytes, os.PathLike)):
            return True  # None: this folder, or nothing at all
        real = realpath(fsdecode(path))
        return any(real == root or real.startswith(root + separator) for root in allowed)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            if isinstance(flags, int) and flags & _WRITES:
                if not below(path, (own, os.devnull)):
                    raise PermissionError(f"a submission may not write {_name(path)}: {own} only")
            elif not below(path, roots):
                raise PermissionError(f"a submission may not read {_name(path)}")
        elif event in ("os.listdir", "os.scandir"):
            if not below(given[0], roots):
                raise PermissionError(f"a submission may not list {_name(given[0])}")
        elif event in _CHANGES:
            for path in given[:2]:
                if not isinstance(path, int) and not below(path, (own,)):
                    raise PermissionError(f"a submission may not change {_name(path)}")
        elif event in refused:
            raise PermissionError(f"a submission may not {refused[event]} ({event})")

    return hook


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refused(*given: Any, **named: Any) -> NoReturn:
        raise PermissionError(f"a submission may not call {name}")

    return refused


def _readable(folder: Path) -> list[Path]:
    paths = [folder, *map(Path, _READABLE), Path(sys.prefix), Path(sys.base_prefix)]
    paths += [Path(found) for found in sysconfig.get_paths().values()]
    paths += [Path(found) for found in site.getsitepackages()]
    for package in _PACKAGES:
        spec = find_spec(package)
        paths += [Path(root) for root in (spec and spec.submodule_search_locations) or ()]
    return [path.resolve() for path in paths]


def _libraries() -> set[Path]:
    """Return where shared libraries are: the usual places, and those of the ones in use."""
    paths = [*_LIBRARIES, *filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))]
    with suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        paths += [os.path.dirname(line[line.index("/") :]) for line in file if ".so" in line]
    return {Path(path).resolve() for path in paths}


def _name(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else repr(path)
