"""What the commands share: options, errors as messages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn an error into a message, and exit code 2 if it is about what the user asked for."""
    from distmllm_env.errors import MissingExtraError

    try:
        yield
    except (ValueError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except OSError as error:  # a full disk, say
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(130) from None


@contextmanager
def kept_cells(folder: Path) -> Iterator[None]:
    """Say what is left when a sweep stops: everything that was finished."""
    again = f"{folder} keeps all cells that were finished; the same command goes on from there."
    try:
        yield
    except KeyboardInterrupt:
        print(f"\ninterrupted: {again}", file=sys.stderr)
        raise typer.Exit(130) from None
    except OSError as error:
        kept = f" {again}" if (folder / "cells").is_dir() else ""
        print(f"error: {error}.{kept}", file=sys.stderr)
        raise typer.Exit(1) from None


def key_value(text: str, option: str = "--set") -> tuple[str, Any]:
    """Read KEY=VALUE, the value as TOML or a bare word."""
    import tomllib

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"{option} {text!r} is not allowed: KEY=VALUE, e.g. noise.std=0.2.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()  # a bare word, e.g. market.overload=share
