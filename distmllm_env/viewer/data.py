"""What the page knows about a run: plain lists and numbers, rounded to what it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from distmllm_env import schema
from distmllm_env.equations import Array
from distmllm_env.runs import Run
from distmllm_env.schema import require

MAX_TASKS = 400_000
"""Most tasks (slots x providers x 2, over all runs) that go into one page: about 10 MB."""


def page_data(
    runs: Sequence[Run],
    labels: Sequence[str],
    best_per_slot: Array,
    row: int = 0,
    slots: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Collect what the page embeds.

    Every number is rounded once, here, to the digits that the page shows. So what is read there is
    what the record holds, and a difference of two runs is that of the numbers on show.

    Args:
        runs: One run, or two of the same scenario and seeds.
        labels: What to call each.
        best_per_slot: V*, the optimum of each row's world, (B,), money per slot.
        row: Which row of the records.
        slots: First and last slot to show, counted from 1; None: all. Averages and regret still
            count from slot 1.

    Returns:
        What JSON can hold.

    Raises:
        ValueError: Not one or two runs, runs that are not of the same market, a row or slots that
            the record does not have, or more tasks than a page can carry.
    """
    require(len(runs) in (1, 2), "number of runs", len(runs), "one, or two side by side")
    require(len(labels) == len(runs), "labels", list(labels), "one per run")
    for run in runs:
        rows = run.world.batch
        only = "it holds one run, row 0" if rows == 1 else f"it holds {rows} runs, 0 to {rows - 1}"
        require(0 <= row < rows, "row of the record", row, only)
    _require_same_market(runs, row)
    world, scenario = runs[0].world, runs[0].world.scenario
    first, last = _window(runs, slots)
    best = float(best_per_slot[row])
    digits = _digits(runs, row)
    return {
        "scenario": scenario.name,
        "description": scenario.description,
        "seed": runs[0].seeds[row],
        "episode": runs[0].episodes[row],
        "worldSeed": runs[0].world_seed,
        "horizon": runs[0].status.shape[1],
        "first": first + 1,
        "slots": last - first,
        "providers": scenario.providers,
        "workers": scenario.workers,
        "demand": world.demand[row].tolist(),
        "capacity": world.capacity[row, :-1].tolist(),
        "perStage": scenario.market.capacity == "per_stage",
        "workerNotes": _worker_notes(runs[0], row),
        "providerNotes": _provider_notes(runs[0]),
        "best": round(best, digits["slot"]),
        "digits": digits,
        "runs": [
            {"label": label, **_tables(run, best, row, slice(first, last), digits)}
            for run, label in zip(runs, labels, strict=True)
        ],
    }


def _tables(
    run: Run, best: float, row: int, part: slice, digits: Mapping[str, int]
) -> dict[str, Any]:
    """Tables of the slots in ``part``, flat: slot by slot, provider by provider, ENC then LLM."""
    profit = run.profit[row].sum(axis=(1, 2))
    average = profit.cumsum() / np.arange(1, len(profit) + 1)
    regret = (best - run.expected_profit[row].sum(axis=(1, 2))).cumsum()
    return {
        "worker": run.allocation[row, part].ravel().tolist(),
        "status": run.status[row, part].ravel().tolist(),
        "taskProfit": _rounded(run.profit[row, part], digits["task"]),
        "latency": _rounded(run.latency_s[row, part], digits["latency"]),
        "energy": _rounded(run.energy_j[row, part], digits["energy"]),
        "providerProfit": _rounded(run.profit[row, part].sum(axis=2), digits["provider"]),
        "profit": _rounded(profit[part], digits["slot"]),
        "average": _rounded(average[part], digits["slot"]),
        "regret": _rounded(regret[part], digits["regret"]),
        "exploring": None if run.exploring is None else _spans(run.exploring[row, part]),
    }


def _rounded(table: Array, digits: int) -> list[float]:
    # Python rounds the decimal number, NumPy a product; adding 0 turns -0.0 into 0.0.
    return [round(value, digits) + 0.0 for value in table.ravel().tolist()]


def _digits(runs: Sequence[Run], row: int) -> dict[str, int]:
    """Decimals of every kind of number, the same for both runs and all slots."""

    def largest(tables: Iterable[Array]) -> float:
        return max(float(np.abs(table).max()) for table in tables)

    def smallest(tables: Iterable[Array]) -> float:
        found = [table[table > 0] for table in tables]
        return min((float(table.min()) for table in found if table.size), default=1.0)

    profits = [run.profit[row] for run in runs]
    total = largest(profit.sum(axis=(1, 2)) for profit in profits)
    return {
        "task": _decimals(largest(profits), 4),
        "provider": _decimals(largest(profit.sum(axis=2) for profit in profits), 3),
        "slot": _decimals(total, 5),
        "regret": _decimals(total, 4),
        "latency": _decimals(smallest(run.latency_s[row] for run in runs), 3),
        "energy": _decimals(smallest(run.energy_j[row] for run in runs), 3),
    }


def _decimals(value: float, significant: int) -> int:
    """Decimals that show ``significant`` digits of ``value``, from 0 to 9."""
    if not 0 < value < math.inf:
        return 2
    return min(max(significant - 1 - math.floor(math.log10(value)), 0), 9)


def _spans(exploring: Array) -> list[list[int]]:
    """First slot and length of every exploration phase."""
    edge = np.flatnonzero(np.diff(exploring.astype(np.int8), prepend=0, append=0))
    return [[int(a), int(b - a)] for a, b in edge.reshape(-1, 2)]


def _window(runs: Sequence[Run], slots: tuple[int, int] | None) -> tuple[int, int]:
    horizon, providers = runs[0].status.shape[1:3]
    first, last = slots or (1, horizon)
    require(1 <= first <= last <= horizon, "slots", (first, last), f"first to last, 1 to {horizon}")
    per_slot = providers * 2 * len(runs)
    if (last - first + 1) * per_slot > MAX_TASKS:
        most = max(MAX_TASKS // per_slot, 1)
        raise ValueError(
            f"slots {first} to {last} hold {(last - first + 1) * per_slot:,} tasks; a page carries "
            f"{MAX_TASKS:,} at most. Choose up to {most:,} slots with slots = (first, last), on "
            f"the command line --slots, e.g. --slots {first}-{first + most - 1}."
        )
    return first - 1, last


def _require_same_market(runs: Sequence[Run], row: int) -> None:
    """Refuse two runs whose slots cannot be compared one by one."""
    if len(runs) == 1:
        return
    (one, other) = (_identity(run, row) for run in runs)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    if names:
        told = "; ".join(f"{name}: {one.get(name)} and {other.get(name)}" for name in names)
        raise ValueError(f"two runs side by side must be of the same market; these differ: {told}.")


def _identity(run: Run, row: int) -> dict[str, Any]:
    """What makes a market, by dotted key: the scenario, and the seeds of world and luck."""
    luck = {"seed": run.seeds[row], "episode": run.episodes[row]}
    keys = {**luck, "seed of the world": run.world.seeds[row]}
    todo = list(schema.to_dict(run.world.scenario).items())
    while todo:
        name, value = todo.pop(0)
        if isinstance(value, Mapping):
            todo += [(f"{name}.{key}", inner) for key, inner in value.items()]
        else:
            keys[name] = value
    return keys


def _worker_notes(run: Run, row: int) -> list[str]:
    """What tells workers apart: devices on a testbed, else performance and price of energy."""
    world, bed = run.world, run.world.scenario.testbed
    workers = range(world.scenario.workers)
    if bed is not None:
        return [bed.workers[n % len(bed.workers)].device for n in workers]
    speed, price = world.performance[row], world.price[row]
    return [f"p {speed[n]:.2f}, price {price[n]:.3g}" for n in workers]


def _provider_notes(run: Run) -> list[str]:
    """Models of each provider on a testbed."""
    scenario = run.world.scenario
    if scenario.testbed is None:
        return [""] * scenario.providers
    apps = scenario.testbed.apps
    served = (apps[m % len(apps)] for m in range(scenario.providers))
    return [f"{app.encoder}, {app.llm}" for app in served]
