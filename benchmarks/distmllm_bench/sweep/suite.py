"""Suites: which scenarios, which policies, how many seeds. A TOML file."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from distmllm_env import Scenario, schema
from distmllm_env.errors import unknown_name
from distmllm_env.schema import require

FIRST_OFFICIAL = 2**42
"""Development seeds count from 0, and trainings use those from 2^40."""

REFERENCES = ("random", "oracle")
"""Policies that every suite plays: 0 and 1 of the scale on which scores are compared."""

Split = Literal["development", "official"]


@dataclass(frozen=True)
class Market:
    """A scenario of a suite.

    Attributes:
        scenario: Name or TOML file.
        id: Name in tables; the scenario's if empty.
        set: Keys to change, dotted or top-level.
    """

    scenario: str
    id: str = ""
    set: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_value(cls, value: Any, where: str) -> Market:
        """Read a name, or a table with these keys."""
        return cls(**_entry(cls, "scenario", "set", value, where))


@dataclass(frozen=True)
class Entrant:
    """A policy of a suite.

    Attributes:
        policy: Name, ``package.module:Class`` or policy file.
        id: Name in tables; the policy's if empty.
        parameters: What its class is called with.
    """

    policy: str
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_value(cls, value: Any, where: str) -> Entrant:
        """Read a name, or a table with these keys."""
        return cls(**_entry(cls, "policy", "parameters", value, where))


@dataclass(frozen=True)
class Suite:
    """What is to be played. Every field is a key of the TOML file.

    Attributes:
        name: Short name.
        description: What the suite is for.
        scenarios: Names, or tables with ``scenario``, ``id`` and ``set``.
        policies: Names, or tables with ``policy``, ``id`` and ``parameters``.
        runs: Number of seeds.
        seeds: ``development``, from 0, to tune on; ``official``, from 2^42, to report.
        slots: Horizon of all scenarios; their own if absent.
    """

    name: str
    description: str
    scenarios: tuple[Market, ...]
    policies: tuple[Entrant, ...]
    runs: int = 20
    seeds: Split = "development"
    slots: int | None = None

    def __post_init__(self) -> None:
        require(self.runs >= 1, "runs", self.runs, "at least 1")
        require(bool(self.scenarios), "scenarios", [], "at least one")

    @staticmethod
    def names() -> tuple[str, ...]:
        """Return the suites that come with the package, sorted."""
        folder = files("distmllm_bench") / "suites"
        return tuple(sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml")))

    @classmethod
    def load(cls, source: str | Path) -> Suite:
        """Read a suite by name or from a TOML file.

        Raises:
            ValueError: No such suite, unknown key, or a value that is not allowed.
        """
        path = Path(source)
        if path.suffix == ".toml":
            if not path.is_file():
                raise ValueError(f"suite file {str(source)!r} does not exist.")
            text = path.read_text(encoding="utf-8")
        else:
            if str(source) not in cls.names():
                raise unknown_name("suite", str(source), [*cls.names(), "FILE.toml"])
            folder = files("distmllm_bench") / "suites"
            text = (folder / f"{source}.toml").read_text(encoding="utf-8")
        try:
            return schema.build(cls, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"suite {str(source)!r}: not valid TOML: {error}.") from error

    def markets(self) -> dict[str, Scenario]:
        """Return the scenarios by id, in order.

        Raises:
            ValueError: A scenario or key is unknown, or an id is there twice.
        """
        found: dict[str, Scenario] = {}
        for market in self.scenarios:
            scenario = Scenario.load(market.scenario, _dotted(market.set), slots=self.slots)
            _add(found, "scenario", market.id or scenario.name, scenario)
        return found

    def entrants(self, more: tuple[str, ...] = ()) -> dict[str, Entrant]:
        """Return the policies by id, in order: the suite's, ``more``, and the references.

        Raises:
            ValueError: An id is there twice.
        """
        found: dict[str, Entrant] = {}
        for entrant in self.policies:
            name = entrant.id or entrant.policy
            if name in REFERENCES and (entrant.policy != name or entrant.parameters):
                raise ValueError(
                    f"policy id {name!r} is not allowed for {entrant.policy!r}: it names an end of "
                    f"the scale."
                )
            _add(found, "policy", name, entrant)
        for spec in (*more, *REFERENCES):
            if spec not in found:
                found[spec] = Entrant(spec)
        return found


def run_seeds(runs: int, split: str = "development", salt: str | None = None) -> list[int]:
    """Return the seeds of a suite's runs.

    Args:
        runs: How many.
        split: ``development`` or ``official``.
        salt: Draw the seeds by this word instead: who tunes a policy before the word is told cannot
            have met them.

    Raises:
        ValueError: Another split, or an empty salt.
    """
    if split not in get_args(Split):
        raise unknown_name("seeds", split, get_args(Split))
    if salt is not None:
        require(bool(salt), "salt", salt, "a word")
        words = (hashlib.sha256(f"{salt}\0{i}".encode()).digest() for i in range(runs))
        return [FIRST_OFFICIAL * 2 + int.from_bytes(word[:5]) for word in words]
    first = FIRST_OFFICIAL if split == "official" else 0
    return list(range(first, first + runs))


def _entry(cls: type, name: str, table: str, value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {name: value}
    if isinstance(value, cls):
        return dict(vars(value))
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a name or a table, got {value!r}.")
    allowed = (name, "id", table)
    for key in value:
        if key not in allowed:
            raise unknown_name(f"key in {where}", key, allowed)
    if name not in value:
        raise ValueError(f"{where}.{name}: this key is missing and has no default.")
    for key in (name, "id"):
        schema.scalar(str, value.get(key, ""), f"{where}.{key}")
    inner = value.get(table, {})
    if not isinstance(inner, Mapping):
        raise ValueError(f"{where}.{table}: expected a table, got {inner!r}.")
    try:
        json.dumps(inner, allow_nan=False)
    except (TypeError, ValueError) as error:  # dates and times, inf and nan
        raise ValueError(f"{where}.{table}: {error}; JSON values are allowed.") from error
    return dict(value)


def _dotted(table: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested keys as dotted ones: TOML reads ``noise.std = 0.5`` as a table in a table.

    A table with a ``kind`` is a distribution, and so a value.
    """
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and "kind" not in value:
            found |= _dotted(value, f"{path}{key}.")
        else:
            found[path + key] = value
    return found


def _add(found: dict[str, Any], kind: str, key: str, value: Any) -> None:
    if key in found:
        raise ValueError(f"{kind} {key!r} is there twice: give one of them another id.")
    found[key] = value
