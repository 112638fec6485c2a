"""From a suite to cells with keys, and what is told about it in the folder of results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distmllm_bench.sweep.identity import cell_key
from distmllm_bench.sweep.isolation import About, about_policy
from distmllm_bench.sweep.playing import Job, measured
from distmllm_bench.sweep.suite import Suite, run_seeds
from distmllm_env import Scenario
from distmllm_env.errors import unknown_name
from distmllm_env.files import write_atomic

FILE = "sweep.json"
KIND = "sweep of distmllm-env"


@dataclass(frozen=True)
class PlannedMarket:
    """A scenario of a sweep.

    Attributes:
        id: Name in tables.
        toml: All of it.
    """

    id: str
    toml: str

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario itself."""
        return Scenario.from_toml(self.toml)


@dataclass(frozen=True)
class PlannedPolicy:
    """A policy of a sweep.

    Attributes:
        id: Name in tables.
        spec: Name, ``package.module:Class`` or file.
        parameters: What its class is called with.
        about: What it declares, and its sources.
        folder: See :class:`.Job`.
    """

    id: str
    spec: str
    parameters: dict[str, Any]
    about: About
    folder: str | None = None

    def job(
        self,
        market: PlannedMarket,
        seeds: tuple[int, ...],
        keys: tuple[str, ...],
        seconds: float | None,
    ) -> Job:
        """Return the job that plays some of its cells."""
        about = (self.id, self.spec, self.parameters)
        return Job(market.toml, *about, seeds, keys, seconds, self.folder)


@dataclass(frozen=True)
class PlannedCell:
    """A cell of a sweep.

    Attributes:
        market: Id of the scenario.
        policy: Id of the policy.
        seed: Of the run.
        key: Name under which it is kept.
    """

    market: str
    policy: str
    seed: int
    key: str


@dataclass(frozen=True)
class Plan:
    """A sweep: what is to be played, in the order of tables.

    Attributes:
        suite: Name of the suite.
        description: Its description.
        seeds: One per run.
        split: ``development``, ``official`` or ``salt``.
        markets: Scenarios.
        policies: Policies.
        cells: All of scenarios x policies x seeds.
        command: What the user typed.
    """

    suite: str
    description: str
    seeds: tuple[int, ...]
    split: str
    markets: tuple[PlannedMarket, ...]
    policies: tuple[PlannedPolicy, ...]
    cells: tuple[PlannedCell, ...]
    command: str

    def jobs(self, wanted: set[str], batch: int, seconds: float | None) -> list[Job]:
        """Group cells into jobs.

        The first seed is played alone: what a policy takes for a decision is timed on one market.

        Args:
            wanted: Keys of the cells to play.
            batch: Most cells in a job.
            seconds: See :class:`.Job`.
        """
        jobs = []
        for market in self.markets:
            for policy in self.policies:
                cells = [
                    cell
                    for cell in self.cells
                    if cell.market == market.id and cell.policy == policy.id and cell.key in wanted
                ]
                first = [cell for cell in cells if cell.seed == self.seeds[0]]
                rest = [cell for cell in cells if cell.seed != self.seeds[0]]
                groups = [first] if first else []
                groups += [rest[i : i + batch] for i in range(0, len(rest), batch)]
                for group in groups:
                    seeds, keys = zip(*((cell.seed, cell.key) for cell in group), strict=True)
                    jobs.append(policy.job(market, seeds, keys, seconds))
        return jobs

    def write(self, folder: Path) -> None:
        """Keep the plan in the folder of results; reports and checks start from it."""
        write_atomic(folder / FILE, json.dumps({"kind": KIND, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read what :meth:`write` kept.

        Raises:
            ValueError: There is none, or it is no plan.
        """
        path = folder / FILE
        if not path.is_file():
            raise ValueError(f"{folder} holds no sweep: {path} is not there. Run distmllm bench.")
        try:
            data = json.loads(path.read_text("utf-8"))
            if data.pop("kind") != KIND:
                raise ValueError("its kind is another")
            plan = cls(
                **{
                    **data,
                    "seeds": tuple(data["seeds"]),
                    "markets": tuple(PlannedMarket(**market) for market in data["markets"]),
                    "policies": tuple(
                        PlannedPolicy(**{**policy, "about": About(**policy["about"])})
                        for policy in data["policies"]
                    ),
                    "cells": tuple(PlannedCell(**cell) for cell in data["cells"]),
                }
            )
            markets, policies = ({x.id for x in plan.markets}, {x.id for x in plan.policies})
            for cell in plan.cells:
                listed = cell.market in markets and cell.policy in policies
                if not listed or cell.seed not in plan.seeds:
                    raise ValueError(f"it does not list what {cell} is a cell of")
            return plan
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a {KIND}: {error!r}.") from error


def make_plan(
    suite: Suite,
    more: Sequence[str] = (),
    *,
    split: str | None = None,
    salt: str | None = None,
    division: str = "open",
    command: str = "",
) -> Plan:
    """Work out the cells of a suite.

    Args:
        suite: What is to be played.
        more: Further policies: names, ``package.module:Class`` or files.
        split: ``development`` or ``official`` seeds; None: as the suite says.
        salt: Seeds drawn by this word instead.
        division: ``closed`` refuses among ``more`` what knows more than legal observations.
        command: What the user typed.

    Raises:
        ValueError: A scenario or policy is unknown or cannot be made, or may not enter.
    """
    if division not in ("closed", "open"):
        raise unknown_name("division", division, ("closed", "open"))
    suite.markets()  # wrong scenarios are told before policies are loaded
    policies = []
    for name, entrant in suite.entrants(tuple(more)).items():
        about = about_policy(entrant.policy, entrant.parameters)
        if division == "closed" and name in more and about.beyond:
            raise ValueError(
                f"policy {name!r} {about.beyond}: the closed division takes policies that know "
                f"rewards, or latency and energy, and have learned nothing before. Leave out "
                f"--division."
            )
        policies.append(PlannedPolicy(name, entrant.policy, dict(entrant.parameters), about))
    return lay_out(suite, policies, split=split, salt=salt, command=command)


def lay_out(
    suite: Suite,
    policies: Sequence[PlannedPolicy],
    *,
    split: str | None = None,
    salt: str | None = None,
    command: str = "",
) -> Plan:
    """Lay out the cells of a suite for policies that are known; arguments as above."""
    markets = suite.markets()
    seeds = run_seeds(suite.runs, split or suite.seeds, salt)
    cells = [
        PlannedCell(
            market, policy.id, seed, cell_key(scenario, policy.about.hash, seed, measured())
        )
        for market, scenario in markets.items()
        for policy in policies
        for seed in seeds
    ]
    return Plan(
        suite=suite.name,
        description=suite.description,
        seeds=tuple(seeds),
        split="salt" if salt is not None else split or suite.seeds,
        markets=tuple(PlannedMarket(name, made.to_toml()) for name, made in markets.items()),
        policies=tuple(policies),
        cells=tuple(cells),
        command=command,
    )
