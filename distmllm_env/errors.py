"""How every wrong name in the package is reported: what it was, what is allowed, what was meant."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable


class MissingExtraError(ImportError):
    """A package is not installed that an optional extra brings."""


def require_extra(extra: str, purpose: str, *modules: str) -> None:
    """Raise unless the packages of an extra can be imported.

    Args:
        extra: Name of the extra.
        purpose: What they are needed for, e.g. ``"learned policies"``.
        *modules: What is imported.

    Raises:
        MissingExtraError: Names the package, the extra and the command that installs it.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"{purpose} need{'' if purpose.endswith('s') else 's'} {error.name or module}, "
                f'which is not installed: pip install "distmllm-env[{extra}]", or in a checkout '
                f'pip install -c constraints.txt -e ".[{extra}]".'
            ) from error


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
