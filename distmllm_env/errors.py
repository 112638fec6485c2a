"""How every wrong name in the package is reported: what it was, what is allowed, what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, value: object, allowed: Iterable[object]) -> ValueError:
    """Build the error for a name that does not exist.

    Args:
        kind: What the name names, e.g. ``"scenario"`` or ``"key in [noise]"``.
        value: The name as it was given.
        allowed: The names that exist.

    Returns:
        A ``ValueError`` to be raised by the caller. Its text holds the value, the nearest
        allowed name where one is near, and all allowed names.
    """
    names = sorted(str(name) for name in allowed)
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind} {value!r}.{hint} Allowed: {', '.join(names)}.")
