"""Where numbers come from: versions, source revision, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("distmllm-env", "numpy", "ortools", "numba", "torch", "ray")
THREADS = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Variables by which numerical libraries are told how many threads to use."""


@cache
def provenance() -> Mapping[str, Any]:
    """Return what a reader needs to make numbers again, as JSON knows it.

    ``revision`` is that of the checkout which holds this package, None where there is none, and
    ``modified`` says whether files differ from it.
    """
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
        "revision": _git("rev-parse", "HEAD"),
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def versions_line() -> str:
    """Return the versions that matter in one line."""
    found = provenance()
    kept = {name: told for name, told in found["versions"].items() if told is not None}
    return f"Python {found['python']}, " + ", ".join(f"{n} {v}" for n, v in kept.items())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _git(*words: str) -> str | None:
    folder = Path(__file__).parent
    if not any((parent / ".git").exists() for parent in folder.parents):
        return None
    try:
        # Installed inside somebody else's checkout, its revision says nothing about this package.
        tracked = ["git", "ls-files", "--error-unmatch", __file__]
        subprocess.run(tracked, cwd=folder, capture_output=True, check=True, timeout=10)
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
