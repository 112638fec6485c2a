"""Who is who in a report: names for text and for figures, looks, file names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from distmllm_bench import style
from distmllm_bench.sweep.results import Results
from distmllm_bench.sweep.suite import REFERENCES

LONGEST = 26
"""Most characters of a name in a figure."""

_MARKERS = "oDs^vP*XhdpH<>8"


class Names:
    """Names and looks of the policies and scenarios of a sweep.

    Args:
        results: The sweep.
    """

    def __init__(self, results: Results) -> None:
        self._titles = {}
        for name, policy in results.policies.items():
            plain = policy.spec == name and not policy.parameters
            self._titles[name] = printable(style.title(name) if plain else name)
        # The references look as ever and need no further style, wherever they stand in the list.
        self.looks = style.looks(results.policies)
        self._labels = dict(zip(self._titles, _short(self._titles.values()), strict=True))
        entrants = [name for name in results.policies if name not in REFERENCES]
        self._markers = {name: _MARKERS[i % len(_MARKERS)] for i, name in enumerate(entrants)}
        self._markets = dict(
            zip(results.markets, _short(map(printable, results.markets)), strict=True)
        )
        self._files = dict(zip(results.markets, _file_names(results.markets), strict=True))

    def title(self, policy: str) -> str:
        """Return the name of a policy for text: all of it, in characters that can be printed."""
        return self._titles[policy]

    def label(self, policy: str) -> str:
        """Return the name of a policy for figures: of bounded length."""
        return self._labels[policy]

    def look(self, policy: str) -> dict[str, Any]:
        """Return the line style of a policy."""
        return self.looks[policy]

    def colour(self, policy: str) -> str:
        """Return the colour of a policy."""
        return str(self.looks[policy]["color"])

    def marker(self, policy: str) -> str:
        """Return the mark of a policy where it is a point."""
        return self._markers.get(policy, "o")

    def market(self, market: str) -> str:
        """Return the name of a scenario for figures."""
        return self._markets[market]

    def file(self, market: str) -> str:
        """Return the name of a scenario for files."""
        return self._files[market]


def printable(text: str) -> str:
    """Return a text with a mark in place of each character that cannot be shown."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text) or "?"


def _short(names: Iterable[str]) -> list[str]:
    """Return names of at most :data:`LONGEST` characters, all different if they were."""
    found: list[str] = []
    for name in names:
        short = name
        if len(name) > LONGEST:
            short = f"{name[: LONGEST - 11]}…{name[-10:]}"
        number = 2
        while short in found:
            short = f"{name[: LONGEST - 5]}… {number}"
            number += 1
        found.append(short)
    # matplotlib leaves a label out that begins with an underscore.
    return [f" {short}" if short.startswith("_") else short for short in found]


def _file_names(names: Iterable[str]) -> list[str]:
    """Return names that any file system takes, all different, also where case does not count."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")[:60] or "scenario"
        free, number = plain, 2
        while free.lower() in (other.lower() for other in found):
            free = f"{plain}-{number}"
            number += 1
        found.append(free)
    return found
