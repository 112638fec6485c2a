"""Progress on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Progress:
    """Counts steps and names what is being done; use as a context manager.

    Args:
        total: Number of steps.
        unit: What one step is called.
    """

    def __init__(self, total: int, unit: str) -> None:
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=unit, file=sys.stderr, leave=False)

    def begin(self, label: str) -> None:
        """Say what comes now."""
        if self._bar is not None:
            self._bar.set_description(label)
        else:
            sys.stderr.write(f"{label} ...\n")
            sys.stderr.flush()

    def step(self, count: int = 1) -> None:
        """Count steps."""
        if self._bar is not None:
            self._bar.update(count)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
