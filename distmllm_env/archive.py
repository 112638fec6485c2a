"""Arrays and a description in one file that cannot carry code.

An archive is an ``.npz`` of plain arrays, one of which is a JSON text. Nothing in it is ever
unpickled, names, sizes and numbers are checked before they are used, and a digest over all of it
tells a damaged or edited file.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distmllm_env.equations import Array
from distmllm_env.files import write_atomic

POLICY = "trained policy of distmllm-env"
STATE = "training state of distmllm-env"
RUN = "recorded run of distmllm-env"
CELL = "benchmark cell of distmllm-env"
"""Kinds of archives."""

LARGEST_BYTES = 1 << 30
"""An archive that unpacks to more is refused."""

_ABOUT, _DIGEST = "about.json", "sha256"


def write_archive(path: Path, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> str:
    """Write an archive under a temporary name and rename it; parent folders are made.

    Args:
        path: Where to.
        arrays: Numbers by name.
        about: JSON.

    Returns:
        The digest, hexadecimal SHA-256.
    """
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    tables = {name: np.asarray(table) for name, table in arrays.items()}
    digest = _digest(tables, text)
    buffer = io.BytesIO()
    members: dict[str, Any] = {**tables, _ABOUT: np.array(text), _DIGEST: np.array(digest)}
    np.savez_compressed(buffer, **members)
    write_atomic(path, buffer.getvalue())
    return digest


def read_archive(path: Path, kind: str) -> tuple[dict[str, Array], dict[str, Any], str]:
    """Read what :func:`write_archive` wrote.

    Args:
        path: The file.
        kind: What ``about["kind"]`` must be.

    Returns:
        Arrays, description and digest.

    Raises:
        ValueError: There is no such file, or it is no archive of that kind, or it is damaged or was
            edited, or too large. Says which.
    """
    try:
        _check_members(path)
        with np.load(path, allow_pickle=False) as data:
            tables = {name: np.asarray(data[name]) for name in data.files}
        text, told = str(tables.pop(_ABOUT)), str(tables.pop(_DIGEST))
        if told != _digest(tables, text):
            raise ValueError("its content does not match its digest: it is damaged or was edited")
        about = json.loads(text)
        found = about.get("kind") if isinstance(about, dict) else None
        if found != kind:
            raise ValueError(f"its kind is {found!r}")
    except KeyError as error:
        raise ValueError(f"{path} is not a {kind}: it has no {error.args[0]!r}.") from error
    except Exception as error:  # zipfile, zlib, NumPy and json have a dozen kinds for a bad file
        why = str(error).rstrip(".") or type(error).__name__
        raise ValueError(f"{path} is not a {kind}: {why}.") from error
    return tables, about, told


def describe(path: Path, kind: str) -> dict[str, Any]:
    """Return what an archive says about itself, and its digest as ``sha256``.

    Raises:
        ValueError: As :func:`read_archive`.
    """
    _, about, digest = read_archive(path, kind)
    return about | {"sha256": digest}


def _check_members(path: Path) -> None:
    """Look at what the file says it holds; NumPy reads no more of a member than that."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    size = sum(member.file_size for member in members)
    if size > LARGEST_BYTES:
        raise ValueError(f"it unpacks to {size} bytes, at most {LARGEST_BYTES} are allowed")
    names = set()
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ValueError(f"it holds {member.filename!r}, which is no array")
        if member.filename in names:
            raise ValueError(f"it holds {member.filename!r} twice")
        names.add(member.filename)


def _digest(tables: Mapping[str, Array], text: str) -> str:
    """Hash names, types, shapes and numbers, so that nothing hangs on how they were packed."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tables):
        table = tables[name]
        if table.dtype.kind not in "biuf":
            raise ValueError(f"array {name!r} is of type {table.dtype}: numbers are allowed")
        head = f"\0{name}\0{table.dtype.newbyteorder('<').str}\0{table.shape}\0"
        digest.update(head.encode())
        digest.update(np.ascontiguousarray(table, table.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
