"""What ``distmllm speed`` times, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from distmllm_env import Scenario


@dataclass(frozen=True)
class Sweep:
    """What to time for one exponent: cost against one size, the others fixed.

    Attributes:
        of: ``markets``, ``providers``, ``workers`` or ``slots``.
        sizes: Rising.
        markets: B, where it is not what changes.
        same_load: For providers: capacities grow with them, see :func:`capacity_for`.
    """

    of: str
    sizes: tuple[int, ...]
    markets: int
    same_load: bool = False

    @property
    def name(self) -> str:
        """What is swept, and for providers what becomes of capacities."""
        if self.of != "providers":
            return self.of
        return f"providers, {'same load' if self.same_load else 'fixed capacity'}"

    @property
    def judged(self) -> bool:
        """Whether it shows how cost grows with size alone.

        More providers on fixed capacities overload more workers, so that each costs more, until
        all workers are overloaded.
        """
        return self.of != "providers" or self.same_load


@dataclass(frozen=True)
class Setting:
    """What to time, and for how long.

    Attributes:
        providers: M.
        workers: N.
        window_s: Seconds that one contender plays in one round.
        rounds: Rounds of every comparison of environments.
        batches: Markets side by side.
        sync: At which batches a SyncVectorEnv plays along, and of how many markets.
        slots: Horizon T.
        policy_runs: Runs side by side and slots of each, for the policies.
        policy_rounds: Plays of each policy.
        oracle_runs: Most runs that the oracle solves; it solves each once, which is all it does.
        experiment_runs: Runs of the main experiment.
        experiment_slots: Its horizon.
        experiment_rounds: How often it is played both ways.
        memory_markets: Markets of the environment whose memory is measured.
        soak_steps: Agent-steps of the soak.
        sweeps: What the exponents are fitted on.
        sweep_rounds: Rounds of each sweep.
    """

    providers: int = 10
    workers: int = 30
    window_s: float = 0.2
    rounds: int = 9
    batches: tuple[int, ...] = (1, 64, 1024, 4096)
    sync: tuple[tuple[int, int], ...] = ((64, 64), (1024, 1024))
    slots: int = 500
    policy_runs: tuple[tuple[int, int], ...] = ((20, 500), (1024, 100))
    policy_rounds: int = 3
    oracle_runs: int = 1024
    experiment_runs: int = 20
    experiment_slots: int = 500
    experiment_rounds: int = 3
    memory_markets: int = 4096
    soak_steps: int = 10_000_000
    sweeps: tuple[Sweep, ...] = (
        Sweep("markets", (256, 512, 1024, 2048, 4096), 0),
        Sweep("providers", (10, 20, 40, 80, 160), 512, same_load=True),
        Sweep("providers", (10, 20, 40, 80, 160), 512),
        Sweep("workers", (10, 30, 60, 120, 240), 512),
        Sweep("slots", (250, 500, 1000, 2000), 20),
    )
    sweep_rounds: int = 5

    @property
    def usual(self) -> bool:
        """Whether a market has the size that the targets are for."""
        return (self.providers, self.workers) == (FULL.providers, FULL.workers)


FULL = Setting()
QUICK = replace(
    FULL,
    window_s=0.03,
    rounds=5,
    sync=((64, 64), (1024, 64)),
    policy_runs=((20, 250), (1024, 20)),
    policy_rounds=1,
    oracle_runs=64,
    experiment_rounds=1,
    soak_steps=1_000_000,
    sweeps=(*FULL.sweeps[:-1], Sweep("slots", (125, 250, 500, 1000), 20)),
    sweep_rounds=2,
)


def market_options(setting: Setting) -> dict[str, Any]:
    """Return the keywords that make an environment of the setting's size."""
    return {
        "scenario": "paper",
        "providers": setting.providers,
        "workers": setting.workers,
        "slots": setting.slots,
    }


def capacity_for(providers: int) -> dict[str, Any]:
    """Return capacities under which workers are as loaded as with the usual number of providers.

    They are the scenario's in proportion to the providers, rounded to whole numbers.
    """
    usual, times = Scenario.load("paper").capacity, providers / FULL.providers
    return {"kind": "integers", "low": round(times * usual.low), "high": round(times * usual.high)}
