"""The environments, beside the bare kernel, their empty twins and other people's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from pettingzoo.utils.conversions import parallel_to_aec

import distmllm_env
from distmllm_bench.speed.kernel import Kernel
from distmllm_bench.speed.setting import Setting, market_options
from distmllm_bench.speed.timing import Contender, Timing, alternate, stepper
from distmllm_bench.speed.twins import EmptyEnv, EmptyParallelEnv
from distmllm_env.equations import Array

KERNEL = "bare NumPy kernel"
VECTOR = "make_vec"
AGENTS = "parallel_vector_env"
SYNC = "SyncVectorEnv"
CARTPOLE = "CartPole-v1"
FORMS = (KERNEL, VECTOR, AGENTS, CARTPOLE, SYNC)

SINGLE, SINGLE_EMPTY = "gym.make", "gym.make, empty"
PARALLEL, PARALLEL_EMPTY = "parallel_env", "parallel env, empty"
SEQUENTIAL = "env (sequential)"
CONVERTED, CONVERTED_BARE = "parallel_to_aec, empty", "the same, unwrapped"


def draw_actions(seed: int, batch: int, shape: tuple[int, ...], choices: int) -> list[Array]:
    """Draw choices of some steps: 64, or 8 in a large batch."""
    count = 64 if batch <= 64 else 8
    return list(np.random.default_rng(seed).integers(choices, size=(count, *shape)))


def kernel_contender(setting: Setting, batch: int) -> Contender:
    """Return the bare kernel at that batch."""
    kernel = Kernel(batch, setting.providers, setting.workers)
    actions = draw_actions(0, batch, (batch, 2 * setting.providers), setting.workers + 1)
    return Contender(KERNEL, batch, batch * setting.providers, stepper(kernel.step, actions))


def _batched(
    setting: Setting, batch: int, form: str, env: Any, rows: int, agent_steps: int
) -> Contender:
    env.reset(seed=0)
    tasks = 2 * setting.providers * batch // rows
    actions = draw_actions(0, batch, (rows, tasks), setting.workers + 1)
    run = stepper(env.step, actions)
    return Contender(form, batch, agent_steps, run, env.reset, setting.slots)


def vector_contender(
    setting: Setting,
    batch: int,
    mode: str = "vector_entry_point",
    overrides: Mapping[str, Any] | None = None,
) -> Contender:
    """Return the vector environment, or in mode ``sync`` single ones in a SyncVectorEnv.

    Args:
        setting: Has the size of a market.
        batch: Markets side by side.
        mode: Gymnasium's vectorization mode.
        overrides: Dotted scenario keys.
    """
    form = SYNC if mode == "sync" else VECTOR
    options = market_options(setting) | {"overrides": overrides}
    env = gymnasium.make_vec("DistMLLM-v0", num_envs=batch, vectorization_mode=mode, **options)
    return _batched(setting, batch, form, env, batch, batch * setting.providers)


def _agents(setting: Setting, batch: int) -> Contender:
    env = distmllm_env.parallel_vector_env(markets=batch, **market_options(setting))
    rows = batch * setting.providers
    return _batched(setting, batch, AGENTS, env, rows, rows)


def _cart_pole(batch: int) -> Contender:
    env = gymnasium.make_vec("CartPole-v1", num_envs=batch, vectorization_mode="vector_entry_point")
    env.reset(seed=0)
    run = stepper(env.step, draw_actions(0, batch, (batch,), 2))
    run(100)  # until episodes end at different steps
    return Contender(CARTPOLE, batch, batch, run)


def batched_group(setting: Setting, batch: int) -> list[Timing]:
    """Time everything that plays many environments at once, at one batch."""
    contenders = [
        kernel_contender(setting, batch),
        vector_contender(setting, batch),
        _agents(setting, batch),
        _cart_pole(batch),
    ]
    if batch in dict(setting.sync):
        contenders.append(vector_contender(setting, dict(setting.sync)[batch], "sync"))
    return alternate(f"B={batch}", contenders, setting.rounds, setting.window_s)


def single_group(setting: Setting) -> list[Timing]:
    """Time the single-agent environment beside an empty one."""
    env = gymnasium.make("DistMLLM-v0", **market_options(setting))
    empty = gymnasium.make(EnvSpec("Empty-v0", entry_point=lambda **_: EmptyEnv(env)))
    env.reset(seed=0)
    empty.reset()
    m = setting.providers
    actions = draw_actions(0, 1, (2 * m,), setting.workers + 1)
    return alternate(
        "single",
        [
            Contender(SINGLE, 1, m, stepper(env.step, actions), env.reset, setting.slots),
            Contender(SINGLE_EMPTY, 1, m, stepper(empty.step, actions)),
        ],
        setting.rounds,
        setting.window_s,
    )


def parallel_group(setting: Setting) -> list[Timing]:
    """Time the parallel environment beside an empty one."""
    env = distmllm_env.parallel_env(**market_options(setting))
    empty = EmptyParallelEnv(env)
    env.reset(seed=0)
    m = setting.providers
    drawn = draw_actions(0, 1, (m, 2), setting.workers + 1)
    actions = [dict(zip(env.possible_agents, rows, strict=True)) for rows in drawn]
    return alternate(
        "parallel",
        [
            Contender(PARALLEL, 1, m, stepper(env.step, actions), env.reset, setting.slots),
            Contender(PARALLEL_EMPTY, 1, m, stepper(empty.step, actions)),
        ],
        setting.rounds,
        setting.window_s,
    )


def _turns(env: Any, actions: Sequence[Any]) -> Callable[[int], None]:
    """Play turns as PettingZoo's own loop does."""
    queue = cycle(actions)

    def run(turns: int) -> None:
        for _ in env.agent_iter(turns):
            env.last()
            env.step(next(queue))

    return run


def sequential_group(setting: Setting) -> list[Timing]:
    """Time the sequential environment, per choice, beside converted empty ones."""
    env = distmllm_env.env(**market_options(setting))
    twin = EmptyParallelEnv(distmllm_env.parallel_env(**market_options(setting)))
    converted = parallel_to_aec(twin)
    bare = converted.env
    for each in (env, converted, bare):
        each.reset(seed=0)
    rng = np.random.default_rng(0)
    choices = rng.integers(setting.workers + 1, size=1024).tolist()
    pairs = list(rng.integers(setting.workers + 1, size=(1024, 2)))
    turns = 2 * setting.providers * setting.slots
    return alternate(
        "sequential",
        [
            Contender(SEQUENTIAL, 1, 1, _turns(env, choices), env.reset, turns),
            Contender(CONVERTED, 1, 1, _turns(converted, pairs)),
            Contender(CONVERTED_BARE, 1, 1, _turns(bare, pairs)),
        ],
        setting.rounds,
        setting.window_s,
    )
