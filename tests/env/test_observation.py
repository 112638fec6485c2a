"""What agents see and earn: layout, values worked by hand, ranges, masks, infos, rewards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo import AECEnv, ParallelEnv

from distmllm_env import ENC, LLM, Scenario, Status, draw_world
from distmllm_env.envs import observation
from distmllm_env.envs.central import CentralEnv
from distmllm_env.envs.parallel import ParallelMarketEnv
from distmllm_env.envs.provider import ProviderEnv
from distmllm_env.envs.sequential import ORDERS, SequentialMarketEnv
from distmllm_env.policy import Feedback, Observation, Problem

Make = Callable[..., Any]
MAKERS: dict[str, Make] = {
    "central": CentralEnv,
    "provider": partial(ProviderEnv, opponents="random"),
    "parallel": ParallelMarketEnv,
    "sequential": SequentialMarketEnv,
}
COMMON = ["slot", "demand", "data", "capacity", "price"]
COMMON += ["last_load", "last_choice", "last_profit", "last_admitted"]
LAYOUT = {
    "central": COMMON,
    "provider": [*COMMON, "mask"],
    "sequential": [*COMMON, "stage", "room", "mask"],
}


class Always:
    """Opponents that repeat one allocation, (M, S)."""

    def __init__(self, allocation: list[list[int]]) -> None:
        self.allocation = np.array([allocation])

    def reset(self, problem: Problem, rng: np.random.Generator) -> None:
        pass

    def act(self, observation: Observation) -> np.ndarray:
        return self.allocation

    def update(self, feedback: Feedback) -> None:
        pass


class TestLayout:
    @pytest.mark.parametrize("kind", LAYOUT)
    @pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (10, 5)])
    def test_dense_and_in_order(self, kind: str, m: int, n: int) -> None:
        fields = observation.fields(kind, m, n)
        assert list(fields) == LAYOUT[kind]
        end = 0
        for at in fields.values():
            assert at.start == end < at.stop
            assert at.step is None
            end = at.stop
        assert observation.space(kind, m, n).shape == (end,)

    @pytest.mark.parametrize("kind", LAYOUT)
    def test_sizes_and_bounds(self, kind: str) -> None:
        m, n = 4, 3
        each = m if kind == "central" else 1
        sizes = dict.fromkeys(("slot", "stage"), 1) | dict.fromkeys(("demand", "data"), each)
        sizes |= dict.fromkeys(("capacity", "price", "last_load", "room"), n)
        sizes |= dict.fromkeys(("last_choice", "last_profit", "last_admitted"), 2 * each)
        sizes["mask"] = 2 * (n + 1) if kind == "provider" else n + 1
        box = observation.space(kind, m, n)
        assert box.dtype == np.float32
        for name, at in observation.fields(kind, m, n).items():
            assert at.stop - at.start == sizes[name], name
            low = -1.0 if name == "last_profit" else 0.0
            assert set(box.low[at].tolist()) == {low}, name
            assert set(box.high[at].tolist()) == {1.0}, name

    @pytest.mark.parametrize("kind", MAKERS)
    def test_environments_use_it(self, kind: str) -> None:
        env = MAKERS[kind](scenario="paper", providers=3, workers=4)
        if isinstance(env, (AECEnv, ParallelEnv)):
            space = "sequential" if isinstance(env, AECEnv) else "provider"
            for agent in env.possible_agents:
                assert env.observation_space(agent) == observation.space(space, 3, 4)
            assert env.state_space == observation.space("central", 3, 4)
        else:
            assert env.observation_space == observation.space(kind, 3, 4)


# Two providers, two workers, p = [0.5, 1], capacities [1, 2], unit demands, values 2 (ENC) and
# [4, 3] (LLM), no noise. Prices and data are made unequal, so that no two fields look alike:
#   omega = [2, 1], d = [1 MB, 0.25 MB], psi = [0.5, 1.0] s at 1 MB, 0.4 J/MB at p = 1.
HAND: dict[str, Any] = {
    "scenario": "toy",
    "overrides": {"price": [2.0, 1.0], "data_bytes": [1e6, 0.25e6]},
}
# The slot: provider 0 sends ENC to worker 0 and LLM to worker 1; provider 1 defers ENC and sends
# LLM to worker 1. All fit: loads are [1, 2].
PLAYED = [[0, 1], [2, 1]]
#   r(0, ENC, 0) = 2 - 0.5 sqrt(1.00) / 0.5 - 2 * 0.4 * 1.00 * 0.25 = 2 - 1.0 - 0.2 = 0.8
#   r(0, LLM, 1) = 4 - 1.0 sqrt(1.00) / 1.0 - 1 * 0.4 * 1.00 * 1.00 = 4 - 1.0 - 0.4 = 2.6
#   r(1, LLM, 1) = 3 - 1.0 sqrt(0.25) / 1.0 - 1 * 0.4 * 0.25 * 1.00 = 3 - 0.5 - 0.1 = 2.4
PROFIT = [[0.8, 2.6], [0.0, 2.4]]
# K = 2, the largest demand or capacity; V = 4, the largest value; N = 2; T = 20.
SHARED = {
    "slot": [1 / 20],
    "capacity": [1 / 2, 2 / 2],
    "price": [2 / 2, 1 / 2],
    "last_load": [1 / (1 + 1), 2 / (2 + 2)],
}
OWN = [
    {
        "demand": [1 / 2],
        "data": [1 / 1],
        "last_choice": [0 / 2, 1 / 2],
        "last_profit": [0.8 / (0.8 + 4), 2.6 / (2.6 + 4)],
        "last_admitted": [1, 1],
    },
    {
        "demand": [1 / 2],
        "data": [0.25 / 1],
        "last_choice": [2 / 2, 1 / 2],
        "last_profit": [0, 2.4 / (2.4 + 4)],
        "last_admitted": [0, 1],
    },
]
BOTH = {name: [*OWN[0][name], *OWN[1][name]] for name in OWN[0]}


def expect(kind: str, view: np.ndarray, expected: Mapping[str, list[float]], n: int = 2) -> None:
    fields = observation.fields(kind, 2, n)
    assert view.dtype == np.float32
    assert list(fields) == [name for name in fields if name in expected], "a field is not checked"
    for name, at in fields.items():
        np.testing.assert_allclose(view[at], expected[name], rtol=1e-6, err_msg=name)


def as_actions(allocation: list[list[int]]) -> dict[str, list[int]]:
    return {f"provider_{m}": choice for m, choice in enumerate(allocation)}


class TestByHand:
    def test_central(self) -> None:
        env = CentralEnv(**HAND)
        env.reset(seed=0)
        view, _, _, _, info = env.step(np.ravel(PLAYED))
        expect("central", view, SHARED | BOTH)
        np.testing.assert_allclose(info["profit"], PROFIT)
        np.testing.assert_allclose(info["latency_s"], [[1.0, 1.0], [0.0, 0.5]])
        np.testing.assert_allclose(info["energy_j"], [[0.1, 0.4], [0.0, 0.1]])
        assert info["status"].tolist() == [[1, 1], [0, 1]]
        assert info["load"].tolist() == [1.0, 2.0]
        assert info["slot"] == 1
        assert info["welfare"] == pytest.approx(0.8 + 2.6 + 2.4)

    def test_parallel(self) -> None:
        env = ParallelMarketEnv(**HAND)
        env.reset(seed=0)
        views, _, _, _, infos = env.step(as_actions(PLAYED))
        for m, agent in enumerate(env.possible_agents):
            expect("provider", views[agent], SHARED | OWN[m] | {"mask": [1] * 6})
            np.testing.assert_allclose(infos[agent]["profit"], PROFIT[m])
        expect("central", env.state(), SHARED | BOTH)

    @pytest.mark.parametrize("m", [0, 1])
    def test_provider(self, m: int) -> None:
        env = ProviderEnv(provider=m, opponents=Always(PLAYED), **HAND)
        env.reset(seed=0)
        view, _, _, _, info = env.step(PLAYED[m])
        expect("provider", view, SHARED | OWN[m] | {"mask": [1] * 6})
        np.testing.assert_allclose(info["profit"], PROFIT[m])

    def test_sequential(self) -> None:
        env = SequentialMarketEnv(**HAND)
        env.reset(seed=0)
        for choice in np.ravel(PLAYED).tolist():
            env.step(choice)
        # The second slot: provider 0 takes worker 1 with both tasks, provider 1 then meets room
        # [1, 0] (of K = 2: [1/2, 0]), and, after its ENC task took worker 0, no room at all.
        turns = [
            (0, ENC, 1, [1 / 2, 2 / 2], [1, 1, 1]),
            (0, LLM, 1, [1 / 2, 1 / 2], [1, 1, 1]),
            (1, ENC, 0, [1 / 2, 0], [1, 0, 1]),
            (1, LLM, 2, [0, 0], [0, 0, 1]),
        ]
        for m, stage, choice, room, mask in turns:
            assert env.agent_selection == f"provider_{m}"
            view, _, _, _, info = env.last()
            extra = {"stage": [stage], "room": room, "mask": mask}
            expect("sequential", view, SHARED | OWN[m] | extra)
            assert info["stage"] == stage
            assert info["action_mask"].tolist() == mask
            np.testing.assert_allclose(info["profit"], PROFIT[m])
            env.step(choice)

    def test_before_the_first_slot(self) -> None:
        env = CentralEnv(**HAND)
        view, info = env.reset(seed=0)
        nothing = {"slot": [0], "last_load": [0, 0], "last_choice": [1, 1, 1, 1]}
        nothing |= {"last_profit": [0] * 4, "last_admitted": [0] * 4}
        expect("central", view, SHARED | BOTH | nothing)
        assert info["slot"] == 0
        assert not info["status"].any()
        assert not info["profit"].any()

    def test_a_negative_profit_and_a_rejected_task(self) -> None:
        # LLM of provider 1 is worth 0.25 now and earns 0.25 - 0.5 - 0.1 = -0.35 on worker 1. Both
        # ENC tasks go to worker 0, which has room for one of them.
        overrides = HAND["overrides"] | {"reward.value_llm": [4.0, 0.25]}
        env = CentralEnv("toy", overrides=overrides)
        env.reset(seed=0)
        view, _, _, _, info = env.step([0, 2, 0, 1])
        fields = observation.fields("central", 2, 2)
        status = info["status"]
        assert sorted(status[:, ENC].tolist()) == [Status.ADMITTED, Status.REJECTED]
        served = status == Status.ADMITTED
        np.testing.assert_array_equal(view[fields["last_admitted"]], served.ravel())
        assert view[fields["last_profit"]][3] == pytest.approx(-0.35 / (0.35 + 4))
        np.testing.assert_allclose(view[fields["last_choice"]], [0, 1, 0, 1 / 2])
        np.testing.assert_allclose(view[fields["last_load"]], [1 / 2, 1 / 3])

    def test_slot_reaches_one_at_the_end(self) -> None:
        env = CentralEnv("toy", slots=3)
        views = [env.reset(seed=0)[0]] + [env.step([2, 2, 2, 2])[0] for _ in range(3)]
        np.testing.assert_allclose([view[0] for view in views], [0, 1 / 3, 2 / 3, 1], rtol=1e-6)


WORLDS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in Scenario.names()} | {
    "share": ("scarce", {"market.overload": "share"}),
    "lognormal": ("paper", {"noise.distribution": "lognormal", "noise.std": 2.0}),
    "per-stage": ("scarce", {"market.capacity": "per_stage"}),
    "share-per-stage": ("testbed", {"market.overload": "share", "market.capacity": "per_stage"}),
    "tenths": ("scarce", {"demand": 0.1, "capacity": 0.3}),  # 0.3 - 0.1 - 0.1 < 0.1 in floats
    "losses": ("paper", {"reward.value_enc": 0.0, "reward.value_llm": 0.0}),
    "free-energy": ("paper", {"price": 0.0}),
    "empty-worker": ("toy", {"capacity": [0.0, 4.0], "market.overload": "share"}),
    "uneven": ("toy", {"demand": [1.0, 2.0]}),
}
every_world = pytest.mark.parametrize("world", WORLDS)


def settle(env: Any, answer: Any) -> tuple[list[Any], list[Any], bool]:
    """What was just shown: (space, observation) pairs, infos, whether the episode is over."""
    if isinstance(env, AECEnv):
        agents = env.agents
        seen = [(env.observation_space(a), env.observe(a)) for a in agents]
        seen.append((env.state_space, env.state()))
        return seen, list(env.infos.values()), not agents
    if isinstance(env, ParallelEnv):
        seen = [(env.observation_space(a), view) for a, view in answer[0].items()]
        seen.append((env.state_space, env.state()))
        return seen, list(answer[-1].values()), not env.agents
    return [(env.observation_space, answer[0])], [answer[-1]], len(answer) > 2 and answer[3]


def move(env: Any, rng: np.random.Generator) -> Any:
    """One step with random choices, legal or not."""
    n = env.scenario.workers
    if isinstance(env, AECEnv):
        dead = env.truncations[env.agent_selection]
        return env.step(None if dead else int(rng.integers(n + 1)))
    if isinstance(env, ParallelEnv):
        return env.step({agent: rng.integers(n + 1, size=2) for agent in env.agents})
    return env.step(rng.integers(n + 1, size=env.action_space.shape))


@every_world
@pytest.mark.parametrize("kind", MAKERS)
def test_observations_lie_in_their_space(kind: str, world: str) -> None:
    scenario, overrides = WORLDS[world]
    env = MAKERS[kind](scenario=scenario, overrides=overrides, slots=6)
    rng = np.random.default_rng(0)
    for seed in (0, 1):
        answer, over = env.reset(seed=seed), False
        while True:
            seen, _, over = settle(env, answer)
            for space, view in seen:
                outside = np.flatnonzero((view < space.low) | (view > space.high))
                assert space.contains(view), f"entries {outside}: {view[outside]}"
            if over:
                break
            answer = move(env, rng)


OF_TASKS = {"slot", "action_mask", "profit", "status", "latency_s", "energy_j"}
INFO_KEYS = {
    "central": OF_TASKS | {"seed", "episode_index", "load", "welfare"},
    "provider": OF_TASKS | {"seed", "episode_index", "load", "welfare"},
    "parallel": OF_TASKS,
    "sequential": OF_TASKS | {"stage"},
}
M, N = 2, 2
INFO_ARRAYS = {
    "central": {"action_mask": (2 * M, N + 1), "load": (N,)}
    | dict.fromkeys(("profit", "status", "latency_s", "energy_j"), (M, 2)),
    "provider": {"action_mask": (2, N + 1), "load": (N,)}
    | dict.fromkeys(("profit", "status", "latency_s", "energy_j"), (2,)),
    "parallel": {"action_mask": (2, N + 1)}
    | dict.fromkeys(("profit", "status", "latency_s", "energy_j"), (2,)),
    "sequential": {"action_mask": (N + 1,)}
    | dict.fromkeys(("profit", "status", "latency_s", "energy_j"), (2,)),
}


@pytest.mark.parametrize("kind", MAKERS)
class TestInfo:
    def test_documented_keys_after_reset_and_every_step(self, kind: str) -> None:
        env = MAKERS[kind](scenario="toy", slots=3)
        rng = np.random.default_rng(0)
        answer, over = env.reset(seed=0), False
        while not over:
            _, infos, over = settle(env, answer)
            for info in infos:
                assert set(info) == INFO_KEYS[kind]
                shapes = {k: v.shape for k, v in info.items() if isinstance(v, np.ndarray)}
                assert shapes == INFO_ARRAYS[kind]
                assert info["action_mask"].dtype == info["status"].dtype == np.int8
                scalars = {k: type(v) for k, v in info.items() if k not in shapes}
                assert scalars == {k: float if k == "welfare" else int for k in scalars}
            if not over:
                answer = move(env, rng)

    def test_what_was_shown_may_be_written_over(self, kind: str) -> None:
        spoilt, other = both = [MAKERS[kind](scenario="crowd2", slots=3) for _ in range(2)]
        answers = [env.reset(seed=0) for env in both]
        over, choices = False, 0
        while not over:
            (seen, infos, _), (expected, told, over) = map(settle, both, answers)
            for (_, view), (_, untouched) in zip(seen, expected, strict=True):
                np.testing.assert_array_equal(view, untouched)
            if kind == "sequential":  # keeps the infos of those who wait, for all to write in
                assert spoilt.rewards == other.rewards
            else:
                for info, clean in zip(infos, told, strict=True):
                    np.testing.assert_equal(info, clean)
            shown = [view for _, view in seen]
            shown += [v for info in infos for v in info.values() if isinstance(v, np.ndarray)]
            for array in shown:
                if array.flags.writeable:
                    array[...] = 77
            np.testing.assert_equal(vars(spoilt._session.outcome), vars(other._session.outcome))
            if not over:
                answers = [move(env, np.random.default_rng(choices)) for env in both]
                choices += 1


@pytest.mark.parametrize("kind", MAKERS)
def test_only_masks_of_the_parallel_environment_are_read_only(kind: str) -> None:
    env = MAKERS[kind](scenario="crowd2", slots=3)
    seen, infos, _ = settle(env, env.reset(seed=0))
    assert all(view.flags.writeable for _, view in seen)
    for info in infos:
        for key, value in info.items():
            if isinstance(value, np.ndarray):
                fixed = key == "action_mask" and kind == "parallel"
                assert value.flags.writeable != fixed, key


@pytest.mark.parametrize("kind", ["central", "parallel"])
def test_an_action_may_be_written_over(kind: str) -> None:
    env = MAKERS[kind](scenario="toy")
    env.reset(seed=0)
    action = np.array([0, 1, 2, 1])
    env.step(action if kind == "central" else as_actions(action.reshape(2, 2)))
    seen = env._session.central_observation()
    action[:] = 2
    np.testing.assert_array_equal(env._session.central_observation(), seen)


# Provider 1 fits on worker 1 alone; the testbed has models that do not fit on some devices.
PICKY: dict[str, tuple[str, dict[str, Any]]] = {
    "uneven": WORLDS["uneven"],
    "testbed": ("testbed", {}),
    "testbed-share": ("testbed", {"market.overload": "share"}),
    "crowd2": ("crowd2", {}),
    "scarce": ("scarce", {}),
    "per-stage": ("scarce", {"market.capacity": "per_stage"}),
    "share": ("paper", {"market.overload": "share", "demand": [9.0, 1.0, 1.0, 1.0, 1.0]}),
    "tenths": WORLDS["tenths"],
}


def ever(case: str, seed: int, slots: int) -> tuple[Any, list[list[list[bool]]]]:
    """The world, and whether each (provider, stage, worker) can ever run, from first principles."""
    scenario, overrides = PICKY[case]
    world = draw_world(Scenario.load(scenario, overrides, slots=slots), [seed])
    s = world.scenario
    soft = s.market.overload == "share"
    able = [
        [
            [
                math.isfinite(world.latency_s[0, stage, m, n])
                and (soft or world.demand[0, m] <= world.capacity[0, n])
                for n in range(s.workers)
            ]
            + [True]
            for stage in (ENC, LLM)
        ]
        for m in range(s.providers)
    ]
    return world, able


@pytest.mark.parametrize("case", PICKY)
def test_masks_of_simultaneous_play_are_feasibility(case: str) -> None:
    scenario, overrides = PICKY[case]
    options: dict[str, Any] = {"scenario": scenario, "overrides": overrides, "slots": 2}
    _, able = ever(case, 4, slots=2)
    central, parallel = CentralEnv(**options), ParallelMarketEnv(**options)
    _, info = central.reset(seed=4)
    views, infos = parallel.reset(seed=4)
    m, n = central.scenario.providers, central.scenario.workers
    at = observation.fields("provider", m, n)["mask"]
    for _ in range(2):
        assert info["action_mask"].reshape(m, 2, n + 1).tolist() == able
        assert central.action_masks().reshape(m, 2, n + 1).tolist() == able
        for i, agent in enumerate(parallel.possible_agents):
            assert infos[agent]["action_mask"].tolist() == able[i]
            np.testing.assert_array_equal(views[agent][at], np.ravel(able[i]))
        *_, info = central.step(np.zeros(2 * m, int))
        views, *_, infos = parallel.step(as_actions([[0, 0]] * m))
    for i in range(m):
        env = ProviderEnv(provider=i, opponents="random", **options)
        _, info = env.reset(seed=4)
        assert info["action_mask"].tolist() == able[i]
        assert env.action_masks().tolist() == np.ravel(able[i]).tolist()


@pytest.mark.parametrize("case", ["uneven", "testbed", "testbed-share"])
def test_some_masks_hold_a_zero(case: str) -> None:
    assert not np.all(ever(case, 4, slots=2)[1])


class TestExactMasks:
    """Sequential masks against a count kept in plain Python."""

    @settings(deadline=None, derandomize=True, max_examples=200)
    @given(
        case=st.sampled_from(sorted(PICKY)),
        order=st.sampled_from(ORDERS),
        seed=st.integers(0, 2**32),
        choices=st.integers(0, 2**32),
        obey=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def test_masks(self, case: str, order: str, seed: int, choices: int, obey: float) -> None:
        scenario, overrides = PICKY[case]
        world, able = ever(case, seed, slots=2)
        env = SequentialMarketEnv(scenario, order=order, overrides=overrides, slots=2)
        m, n = env.scenario.providers, env.scenario.workers
        at = observation.fields("sequential", m, n)
        soft = env.scenario.market.overload == "share"
        pools = 2 if env.scenario.market.capacity == "per_stage" else 1
        demand, capacity = world.demand[0].tolist(), world.capacity[0].tolist()
        env.reset(seed=seed)
        rng = np.random.default_rng(choices)
        for _ in range(2):
            used = [[0.0] * (n + 1) for _ in range(pools)]
            expected: dict[tuple[int, int], Status] = {}
            for _ in range(2 * m):
                agent = env.agent_selection
                i = env.possible_agents.index(agent)
                view, _, _, _, info = env.last()
                stage = info["stage"]
                pool = used[stage % pools]
                fits = [soft or pool[w] + demand[i] <= capacity[w] + 1e-6 for w in range(n + 1)]
                mask = [a and f for a, f in zip(able[i][stage], fits, strict=True)]
                assert info["action_mask"].tolist() == mask
                assert view[at["mask"]].tolist() == mask
                scale = max(*demand, *capacity[:n])
                room = [max(0.0, capacity[w] - pool[w]) / scale for w in range(n)]
                np.testing.assert_allclose(view[at["room"]], room, atol=1e-6)
                np.testing.assert_allclose(
                    view[at["capacity"]], np.array(capacity[:n]) / scale, 1e-6
                )
                np.testing.assert_allclose(view[at["demand"]], demand[i] / scale, 1e-6)
                legal = [w for w in range(n + 1) if mask[w]]
                choice = int(rng.choice(legal) if rng.random() < obey else rng.integers(n + 1))
                if mask[choice]:
                    pool[choice] += demand[i] if choice < n else 0.0
                    status = Status.ADMITTED if choice < n else Status.DEFERRED
                else:
                    status = Status.REJECTED if able[i][stage][choice] else Status.INFEASIBLE
                expected[i, stage] = status
                env.step(choice)
            for i, agent in enumerate(env.possible_agents):
                info = env.infos[agent]
                for stage in (ENC, LLM):
                    assert info["status"][stage] == expected[i, stage]
                    served = expected[i, stage] == Status.ADMITTED
                    assert (info["latency_s"][stage] > 0) == served
                    assert served or info["profit"][stage] == info["energy_j"][stage] == 0

    def test_refusals_happen(self) -> None:
        """The property above is not empty: each reason to refuse occurs on the uneven toy."""
        env = SequentialMarketEnv("toy", overrides={"demand": [1.0, 2.0]})
        env.reset(seed=0)
        for choice in (0, 0, 0, 1):  # room for one task on worker 0; provider 1 never fits there
            env.step(choice)
        assert env.infos["provider_0"]["status"].tolist() == [Status.ADMITTED, Status.REJECTED]
        assert env.infos["provider_1"]["status"].tolist() == [Status.INFEASIBLE, Status.ADMITTED]

    @pytest.mark.parametrize("order", ORDERS)
    def test_info_and_observation_agree_when_the_episode_is_over(self, order: str) -> None:
        env = SequentialMarketEnv("toy", order=order, slots=1)
        env.reset(seed=0)
        for choice in (0, 1, 1, 2):
            env.step(choice)
        at = observation.fields("sequential", 2, 2)["mask"]
        assert all(env.truncations.values())
        for agent in env.agents:
            assert env.infos[agent]["action_mask"].tolist() == env.observe(agent)[at].tolist()
            assert env.infos[agent]["stage"] == ENC


class TestOrder:
    @staticmethod
    def turns(order: str, seed: int | None, slots: int = 7, providers: int = 5) -> list[list[int]]:
        env = SequentialMarketEnv("paper", order=order, slots=slots, providers=providers)
        env.reset(seed=seed)
        rounds = []
        for _ in range(slots):
            turn = []
            for _ in range(2 * providers):
                turn.append(env.possible_agents.index(env.agent_selection))
                env.step(env.scenario.workers)
            assert turn[::2] == turn[1::2], "a provider places ENC, then LLM"
            rounds.append(turn[::2])
        return rounds

    def test_index(self) -> None:
        assert self.turns("index", 0) == [[0, 1, 2, 3, 4]] * 7

    def test_rotate(self) -> None:
        expected = [[(t + k) % 5 for k in range(5)] for t in range(7)]
        assert self.turns("rotate", 0) == expected

    def test_random(self) -> None:
        rounds = self.turns("random", 3)
        assert all(sorted(one) == [0, 1, 2, 3, 4] for one in rounds)
        assert len({tuple(one) for one in rounds}) > 1, "drawn anew for each slot"
        assert self.turns("random", 3) == rounds
        assert self.turns("random", 4) != rounds


# Provider 0 earns 0.8 + 2.6 = 3.4, provider 1 0 + 2.4 (see HAND).
LOSS = {"reward.value_llm": [4.0, 0.25]}  # provider 1 then earns 0.25 - 0.5 - 0.1 = -0.35
REWARDS: list[tuple[str, dict[str, Any], list[float]]] = [
    ("profit", {}, [3.4, 2.4]),
    ("profit", LOSS, [3.4, -0.35]),
    ("welfare", {}, [3.4 + 2.4] * 2),
    ("welfare", LOSS, [3.4 - 0.35] * 2),
    ("proportional_fair", {}, [math.log(1 + 3.4) + math.log(1 + 2.4)] * 2),
    ("proportional_fair", LOSS, [math.log(1 + 3.4) - 0.35] * 2),
]


@pytest.mark.parametrize(("reward", "overrides", "expected"), REWARDS)
class TestRewards:
    def options(self, reward: str, overrides: dict[str, Any]) -> dict[str, Any]:
        return {"scenario": "toy", "reward": reward, "overrides": HAND["overrides"] | overrides}

    def test_parallel(self, reward: str, overrides: dict[str, Any], expected: list[float]) -> None:
        env = ParallelMarketEnv(**self.options(reward, overrides))
        env.reset(seed=0)
        assert list(env.step(as_actions(PLAYED))[1].values()) == pytest.approx(expected)

    @pytest.mark.parametrize("m", [0, 1])
    def test_provider(
        self, reward: str, overrides: dict[str, Any], expected: list[float], m: int
    ) -> None:
        options = self.options(reward, overrides)
        env = ProviderEnv(provider=m, opponents=Always(PLAYED), **options)
        env.reset(seed=0)
        assert env.step(PLAYED[m])[1] == pytest.approx(expected[m])

    def test_sequential(
        self, reward: str, overrides: dict[str, Any], expected: list[float]
    ) -> None:
        env = SequentialMarketEnv(**self.options(reward, overrides))
        env.reset(seed=0)
        for choice in np.ravel(PLAYED).tolist():
            assert not any(env.rewards.values())
            env.step(choice)
        assert list(env.rewards.values()) == pytest.approx(expected)


@pytest.mark.parametrize(("reward", "overrides", "expected"), REWARDS[2:])
def test_rewards_of_the_dispatcher(
    reward: str, overrides: dict[str, Any], expected: list[float]
) -> None:
    env = CentralEnv("toy", reward=reward, overrides=HAND["overrides"] | overrides)
    env.reset(seed=0)
    assert env.step(np.ravel(PLAYED))[1] == pytest.approx(expected[0])


@pytest.mark.parametrize("scenario", Scenario.names())
def test_profits_of_all_providers_sum_to_the_welfare(scenario: str) -> None:
    parallel, central = ParallelMarketEnv(scenario, slots=4), CentralEnv(scenario, slots=4)
    parallel.reset(seed=2)
    central.reset(seed=2)
    rng = np.random.default_rng(0)
    for _ in range(4):
        action = rng.integers(central.scenario.workers + 1, size=central.action_space.shape)
        rewards = parallel.step(as_actions(action.reshape(-1, 2)))[1]
        assert np.sum(list(rewards.values())) == central.step(action)[1]
