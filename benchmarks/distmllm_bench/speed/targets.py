"""What is wanted of the environments, and whether it is met."""

from __future__ import annotations

from dataclasses import dataclass

from distmllm_bench.speed.environments import (
    CARTPOLE,
    CONVERTED,
    KERNEL,
    PARALLEL,
    PARALLEL_EMPTY,
    SEQUENTIAL,
    SINGLE,
    SINGLE_EMPTY,
    SYNC,
    VECTOR,
)
from distmllm_bench.speed.results import (
    Measurements,
    Spread,
    above,
    experiment_ratio,
    find,
    ratio,
)
from distmllm_bench.speed.sweeps import SLACK, SweepTiming, fit


@dataclass(frozen=True)
class Target:
    """What is wanted of one figure.

    Attributes:
        name: What is measured.
        figure: What was measured, None where it was not.
        shown: The same with its spread, as text.
        wanted: What is wanted, as text.
        met: Whether it is; None where it cannot be judged.
    """

    name: str
    figure: float | None
    shown: str
    wanted: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """``met``, ``not met``, or ``not judged``."""
        return {True: "met", False: "not met", None: "not judged"}[self.met]


def targets(measured: Measurements) -> list[Target]:
    """Judge every target; those of the environments hold for their default size only."""
    usual = measured.setting.usual

    def judge(name: str, found: Spread | None, wanted: str, limit: float, most: bool) -> Target:
        if found is None:
            return Target(name, None, "-", wanted, None)
        met = found.median <= limit if most else found.median >= limit
        return Target(name, found.median, str(found), wanted, met if usual else None)

    def against(group: str, form: str) -> Spread | None:
        ours, other = find(measured, group, VECTOR), find(measured, group, form)
        return ratio(ours, other) if ours and other else None

    def beyond(group: str, form: str, empty: str) -> Spread | None:
        ours, twin = find(measured, group, form), find(measured, group, empty)
        return above(ours, twin) if ours and twin else None

    ours, converted = (find(measured, "sequential", form) for form in (SEQUENTIAL, CONVERTED))
    turns = ratio(ours, converted) if ours and converted else None
    memory = measured.memory
    out = [
        judge("make_vec / kernel, B = 1024", against("B=1024", KERNEL), ">= 0.4", 0.4, False),
        judge("make_vec / SyncVectorEnv, B = 1024", against("B=1024", SYNC), ">= 15", 15, False),
        judge(
            "make_vec / CartPole-v1, B = 4096", against("B=4096", CARTPOLE), ">= 0.5", 0.5, False
        ),
        judge(
            "gym.make above an empty environment, us a step",
            beyond("single", SINGLE, SINGLE_EMPTY),
            "<= 25",
            25,
            True,
        ),
        judge(
            "parallel_env above an empty twin, us a step",
            beyond("parallel", PARALLEL, PARALLEL_EMPTY),
            "<= 40",
            40,
            True,
        ),
        judge("choices/s, sequential / converted empty twin", turns, ">= 1", 1, False),
        judge(
            f"memory of make_vec, B = {memory.markets}, MB",
            _exactly(memory.peak_mb),
            "<= 500",
            500,
            True,
        ),
        judge(
            f"growth over {memory.soak_steps / 1e6:g} million agent-steps, MB",
            _exactly(memory.soak_mb),
            "<= 5",
            5,
            True,
        ),
    ]
    gain = experiment_ratio(measured)
    out.append(
        Target(
            "main experiment, single / batched", gain.median, str(gain), ">= 20", gain.median >= 20
        )
    )
    return [*out, *map(_growth, measured.sweeps)]


def _growth(sweep: SweepTiming) -> Target:
    exponent = fit(sweep)
    name, shown = f"exponent of {sweep.of}", f"{exponent.slope:.2f} (s.e. {exponent.error:.2f})"
    if not sweep.judged:
        return Target(name, exponent.slope, shown, "-", None)
    return Target(name, exponent.slope, shown, f"<= 1 + 2 s.e. + {SLACK:g}", exponent.met)


def _exactly(value: float) -> Spread:
    return Spread(value, value, value)
