"""What the vector environment needs of memory, and whether it grows; in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium

from distmllm_bench.speed.environments import draw_actions
from distmllm_bench.speed.setting import Setting, market_options
from distmllm_bench.speed.timing import stepper
from distmllm_env.equations import Array

SOAK_MARKETS = 64


@dataclass(frozen=True)
class Memory:
    """What the vector environment needs.

    Attributes:
        markets: Its size where it is made and stepped.
        peak_mb: Growth of the peak resident memory by making and stepping it, MB of 10^6 bytes.
        soak_markets: Its size in the soak.
        soak_steps: Agent-steps of the soak.
        soak_mb: Growth of the peak in the soak, MB.
        source: Where the numbers come from.
    """

    markets: int
    peak_mb: float
    soak_markets: int
    soak_steps: int
    soak_mb: float
    source: str


def resident() -> tuple[int, int, str]:
    """Resident memory of this process now and at its peak, bytes, and where that stands.

    ``ru_maxrss`` begins, in a child on Linux, with the peak of the process that started it, so
    that the kernel's own account is better where there is one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        now, peak = (1024 * int(lines[key].split()[0]) for key in ("VmRSS", "VmHWM"))
        return now, peak, "/proc/self/status"
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak, peak, "resource.getrusage"


def probe_peak(options: dict[str, Any], markets: int) -> dict[str, Any]:
    """Make the vector environment, reset it twice, step it; run it in a process of its own."""
    before, _, source = resident()
    env = gymnasium.make_vec("DistMLLM-v0", num_envs=markets, **options)
    actions = _probe_actions(options, markets)
    for _ in range(2):
        env.reset(seed=0)
        for action in actions:
            env.step(action)
    return {"mb": (resident()[1] - before) / 1e6, "source": source}


def probe_soak(options: dict[str, Any], markets: int, agent_steps: int) -> dict[str, Any]:
    """Step the vector environment for long; run it in a process of its own."""
    env = gymnasium.make_vec("DistMLLM-v0", num_envs=markets, **options)
    env.reset(seed=0)
    run = stepper(env.step, _probe_actions(options, markets))
    run(2 * options["slots"] + 3)  # two whole episodes: all that there is has been there
    _, before, source = resident()
    run(-(-agent_steps // (markets * options["providers"])))
    return {"mb": (resident()[1] - before) / 1e6, "source": source}


def _probe_actions(options: dict[str, Any], markets: int) -> list[Array]:
    return draw_actions(0, markets, (markets, 2 * options["providers"]), options["workers"] + 1)


def memory_group(setting: Setting) -> Memory:
    """Measure memory, in processes of their own."""
    options = market_options(setting)
    peak = in_child(f"probe_peak({options!r}, {setting.memory_markets})")
    soak = in_child(f"probe_soak({options!r}, {SOAK_MARKETS}, {setting.soak_steps})")
    return Memory(
        setting.memory_markets,
        peak["mb"],
        SOAK_MARKETS,
        setting.soak_steps,
        soak["mb"],
        peak["source"],
    )


def in_child(call: str) -> dict[str, Any]:
    """Return what a call of a function of this module returns in a process of its own.

    Raises:
        RuntimeError: It failed there.
    """
    code = f"import json; from distmllm_bench.speed import memory as m; print(json.dumps(m.{call}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"measuring memory failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
