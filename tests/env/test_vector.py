"""Many markets in one batch: row by row, bit for bit, what single environments give.

The reference of the dispatcher is Gymnasium's SyncVectorEnv; that of the providers is put together
here in the same way. Both are given the same calls as the batch, and every answer must be the same:
dtypes, shapes and bits of observations, rewards, flags and each key of the infos.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import vector as wrappers
from hypothesis import given, settings
from hypothesis import strategies as st

import distmllm_env
from distmllm_env import Scenario, Status, draw_world
from distmllm_env.envs.central import SHARED_REWARDS, CentralEnv
from distmllm_env.envs.parallel import ParallelMarketEnv
from distmllm_env.envs.session import REWARDS
from distmllm_env.envs.vector import CentralVectorEnv, ParallelMarketVectorEnv

NEXT_STEP, SAME_STEP, DISABLED = (
    AutoresetMode.NEXT_STEP,
    AutoresetMode.SAME_STEP,
    AutoresetMode.DISABLED,
)
MARKETS, SLOTS, SEED = 4, 3, 5
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "toy": ("toy", {}),
    "paper": ("paper", {}),
    "crowd2": ("crowd2", {}),
    "testbed": ("testbed", {}),
    "scarce": ("scarce", {}),
    "reject-all": ("scarce", {"market.overload": "reject_all"}),
    "share": ("scarce", {"market.overload": "share", "noise.distribution": "lognormal"}),
    "per-stage": ("scarce", {"market.capacity": "per_stage", "market.transfer_cost_per_mb": 0.3}),
    # Which workers can run a task differs from run to run, and so do the masks.
    "picky": ("scarce", {"capacity": [1, 2, 1, 4, 3]}),
}
KINDS = {"central": SHARED_REWARDS, "parallel": REWARDS}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_case = pytest.mark.parametrize("case", CASES)
every_mode = pytest.mark.parametrize("mode", AutoresetMode, ids=[m.value for m in AutoresetMode])


class ByHand(VectorEnv[Any, Any, Any]):
    """Parallel environments played one by one; joined and begun anew as SyncVectorEnv does it."""

    def __init__(self, markets: int, mode: AutoresetMode, **options: Any) -> None:
        self.envs = [ParallelMarketEnv(**options) for _ in range(markets)]
        self.agents = self.envs[0].possible_agents
        self.num_envs = markets * len(self.agents)
        self.mode, self.metadata = mode, {"autoreset_mode": mode}
        self.single_observation_space = self.envs[0].observation_space(self.agents[0])
        self.single_action_space = self.envs[0].action_space(self.agents[0])
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.over = np.zeros(markets, bool)
        self.views: list[dict[str, Any]] = [{}] * markets

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        markets = len(self.envs)
        if seed is None or isinstance(seed, int):
            seed = [None if seed is None else seed + b for b in range(markets)]
        rows = np.ones(markets, bool) if options is None else options["reset_mask"]
        infos: dict[str, Any] = {}
        for b in np.flatnonzero(rows):
            self.begin(b, infos, seed[b])
        return self.seen(), infos

    def step(self, actions: Any) -> Any:
        rewards, truncations = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        infos: dict[str, Any] = {}
        for b, env in enumerate(self.envs):
            if self.over[b]:
                assert self.mode == NEXT_STEP
                self.begin(b, infos)
                continue
            at = [b * len(self.agents) + m for m in range(len(self.agents))]
            choices = dict(zip(self.agents, actions[at], strict=True))
            self.views[b], earned, terminated, truncated, told = env.step(choices)
            assert not any(terminated.values())
            rewards[at] = [earned[agent] for agent in self.agents]
            truncations[at] = [truncated[agent] for agent in self.agents]
            self.over[b] = not env.agents
            if self.over[b] and self.mode == SAME_STEP:
                view = self.views[b]
                self.tell(
                    b, infos, {a: {"final_obs": view[a], "final_info": told[a]} for a in told}
                )
                self.begin(b, infos)
            else:
                self.tell(b, infos, told)
        return self.seen(), rewards, np.zeros(self.num_envs, bool), truncations, infos

    def begin(self, b: int, infos: dict[str, Any], seed: int | None = None) -> None:
        self.views[b], told = self.envs[b].reset(seed)
        self.over[b] = False
        self.tell(b, infos, told)

    def tell(self, b: int, infos: dict[str, Any], told: dict[str, Any]) -> None:
        for m, agent in enumerate(self.agents):
            self._add_info(infos, told[agent], b * len(self.agents) + m)

    def seen(self) -> np.ndarray:
        return np.array([view[agent] for view in self.views for agent in self.agents])

    def state(self) -> np.ndarray:
        return np.array([env.state() for env in self.envs])

    def render(self) -> Any:
        return tuple(env.render() for env in self.envs)


def make(
    kind: str, mode: AutoresetMode | str = NEXT_STEP, markets: int = MARKETS, **options: Any
) -> Any:
    options = {"scenario": "crowd2", "slots": SLOTS, "autoreset_mode": mode} | options
    if kind == "central":
        return gym.make_vec("DistMLLM-v0", num_envs=markets, **options)
    return distmllm_env.parallel_vector_env(markets=markets, **options)


def reference(kind: str, mode: AutoresetMode, markets: int = MARKETS, **options: Any) -> Any:
    options = {"scenario": "crowd2", "slots": SLOTS} | options
    if kind == "parallel":
        return ByHand(markets, mode, **options)
    envs = gym.make_vec(
        "DistMLLM-v0",
        num_envs=markets,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        **options,
    )
    assert isinstance(envs, SyncVectorEnv)
    return envs


def same(a: Any, b: Any, where: str = "answer") -> None:
    """Bit for bit: containers, keys, dtypes, shapes and bytes."""
    if isinstance(b, dict):
        assert set(a) == set(b), where
        for key in b:
            same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(b, (tuple, list)) or (isinstance(b, np.ndarray) and b.dtype == object):
        assert type(a) is type(b)
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}[{i}]")
    elif isinstance(b, (np.ndarray, np.generic)):
        assert (type(a), a.dtype, a.shape) == (type(b), b.dtype, b.shape), where
        assert a.tobytes() == b.tobytes(), f"{where}: {a} is not bit for bit {b}"
    else:
        assert (type(a), a) == (type(b), b), where


class Pair:
    """A batch and its reference. Every call goes to both, and every answer must be the same.

    Attributes:
        met: What happened that not every run meets.
    """

    def __init__(
        self, kind: str, mode: AutoresetMode, markets: int = MARKETS, **options: Any
    ) -> None:
        self.mode, self.markets = mode, markets
        self.ours, self.theirs = (f(kind, mode, markets, **options) for f in (make, reference))
        self.over = np.zeros(markets, bool)
        self.met: set[str] = set()

    def reset(self, seed: Any = None, mask: np.ndarray | None = None) -> Any:
        rows = np.ones(self.markets, bool) if mask is None else mask
        if (self.over & ~rows).any():
            self.met.add("ended rows left out of a reset")
        if (self.over & rows).any() and (rows & ~self.over).any():
            self.met.add("ended and running rows begun together")
        self.over = self.over & ~rows
        answer, expected = (
            # SyncVectorEnv takes the mask out of the options.
            envs.reset(seed=seed, options=None if mask is None else {"reset_mask": mask.copy()})
            for envs in (self.ours, self.theirs)
        )
        return self.check(answer, expected)

    def step(self, actions: np.ndarray) -> Any:
        answer, expected = (envs.step(actions.copy()) for envs in (self.ours, self.theirs))
        self.check(answer, expected)
        ended = answer[3].reshape(self.markets, -1)
        assert (ended == ended[:, :1]).all()
        if ended.any() and not ended.all():
            self.met.add("some rows ended")
        self.over = ended[:, 0] & (self.mode != SAME_STEP)
        return answer

    def check(self, answer: Any, expected: Any) -> Any:
        same(answer, expected)
        assert answer[0] in self.ours.observation_space
        central = isinstance(self.ours, CentralVectorEnv)
        same(self.ours.state(), answer[0] if central else self.theirs.state())
        return answer


def moves(envs: Any, rng: np.random.Generator) -> np.ndarray:
    """Any choices, every other time with most tasks on one worker; int64."""
    n, shape = envs.scenario.workers, envs.action_space.shape
    actions = rng.integers(n + 1, size=shape)
    if rng.random() < 0.5:
        actions[rng.random(shape) < 0.8] = rng.integers(n)
    return actions


def some(rng: np.random.Generator, markets: int = MARKETS) -> np.ndarray:
    """A mask with at least one True."""
    mask = rng.random(markets) < 0.4
    mask[rng.integers(markets)] = True
    return mask


def wander(pair: Pair, seed: int, calls: int) -> None:
    """Steps and resets of some rows in random order, the same in every scenario."""
    rng, choices = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    for _ in range(calls):
        actions = moves(pair.ours, choices)
        stuck = pair.mode == DISABLED and pair.over.any()
        if stuck:
            with pytest.raises(ResetNeeded, match=r"over.*reset_mask"):
                pair.ours.step(actions)
        if stuck or rng.random() < 0.3:
            few = [None if rng.random() < 0.5 else int(s) for s in rng.integers(9, size=MARKETS)]
            pair.reset([None, int(rng.integers(9)), few][rng.integers(3)], some(rng))
        else:
            pair.step(actions)


def fails(call: Callable[[], object], kind: type[Exception], *words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def rows(table: list[tuple[Any, ...]]) -> list[Any]:
    """The rows with the mistake as their name."""
    return [pytest.param(*row, id=repr(row[0]).replace(" ", "")) for row in table]


@every_kind
@every_mode
@every_case
class TestRowsAreSingleEnvironments:
    def test_whole_episodes(self, kind: str, mode: AutoresetMode, case: str) -> None:
        scenario, overrides = CASES[case]
        pair = Pair(kind, mode, scenario=scenario, overrides=overrides, reward=KINDS[kind][0])
        rng = np.random.default_rng(1)
        pair.reset(SEED)
        for _ in range(3):
            flags = [pair.step(moves(pair.ours, rng))[3].all() for _ in range(SLOTS)]
            assert flags == [False] * (SLOTS - 1) + [True]
            if mode == NEXT_STEP:
                _, rewards, _, truncations, _ = pair.step(moves(pair.ours, rng))
                assert not rewards.any()
                assert not truncations.any()
            elif mode == DISABLED:
                pair.reset(mask=np.ones(MARKETS, bool))

    def test_rows_at_different_slots(self, kind: str, mode: AutoresetMode, case: str) -> None:
        scenario, overrides = CASES[case]
        pair = Pair(kind, mode, scenario=scenario, overrides=overrides, reward=KINDS[kind][-1])
        pair.reset(SEED)
        wander(pair, 10, 18)
        ends = {"ended rows left out of a reset", "ended and running rows begun together"}
        assert pair.met == {"some rows ended"} | (set() if mode == SAME_STEP else ends)


def test_cases_meet_every_status() -> None:
    seen = set()
    for scenario, overrides in CASES.values():
        envs = make("central", scenario=scenario, overrides=overrides)
        rng = np.random.default_rng(1)
        envs.reset(seed=SEED)
        for _ in range(SLOTS):
            seen |= set(np.unique(envs.step(moves(envs, rng))[4]["status"]))
    assert seen == set(Status)


@every_kind
@pytest.mark.parametrize("case", ["crowd2", "scarce", "share", "per-stage"])
def test_rows_without_compiled_loops(kind: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("market", "envs.observation"):
        monkeypatch.setattr(f"distmllm_env.{place}.kernel", lambda: None)
    scenario, overrides = CASES[case]
    pair = Pair(kind, NEXT_STEP, scenario=scenario, overrides=overrides)
    pair.reset(SEED)
    wander(pair, 10, 18)


@every_kind
@pytest.mark.parametrize("markets", [1, 24])  # one, and more than there are providers
def test_other_sizes(kind: str, markets: int) -> None:
    pair = Pair(kind, SAME_STEP, markets, scenario="scarce", reward="welfare")
    rng = np.random.default_rng(3)
    pair.reset(SEED)
    for call in range(8):
        pair.step(moves(pair.ours, rng))
        if call % 3 == 0:
            pair.reset(mask=some(rng, markets))


@every_kind
@pytest.mark.parametrize("slots", [1, 2])
@every_mode
def test_short_episodes(kind: str, mode: AutoresetMode, slots: int) -> None:
    pair = Pair(kind, mode, slots=slots)
    pair.reset(SEED)
    wander(pair, 4, 12)


bits = st.integers(1, 7).map(lambda n: np.array([n & 1, n & 2, n & 4], bool))
seeds = st.one_of(
    st.none(),
    st.integers(0, 5),
    st.lists(st.none() | st.integers(0, 5), min_size=3, max_size=3),
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(list(KINDS)),
    mode=st.sampled_from(AutoresetMode),
    scenario=st.sampled_from(["toy", "scarce"]),
    slots=st.integers(1, 4),
    calls=st.lists(st.integers(0, 99) | st.tuples(seeds, st.none() | bits), max_size=12),
)
def test_any_order_of_calls(
    kind: str, mode: AutoresetMode, scenario: str, slots: int, calls: list[Any]
) -> None:
    pair = Pair(kind, mode, 3, scenario=scenario, slots=slots)
    pair.reset(SEED)
    for call in calls:
        if isinstance(call, tuple):
            pair.reset(*call)
            continue
        actions = moves(pair.ours, np.random.default_rng(call))
        if mode == DISABLED and pair.over.any():
            with pytest.raises(ResetNeeded, match="over"):
                pair.ours.step(actions)
        else:
            pair.step(actions)


def runs(envs: Any) -> list[tuple[int, int]]:
    """Seed and episode of each row, as the infos of a step tell them."""
    infos = envs.step(np.zeros(envs.action_space.shape, int))[4]
    return list(zip(infos["seed"].tolist(), infos["episode_index"].tolist(), strict=True))


SEEDS: dict[str, tuple[Any, list[int]]] = {
    "a number": (7, [7, 8, 9]),
    "zero": (0, [0, 1, 2]),
    "a NumPy integer": (np.int64(7), [7, 8, 9]),
    "unsigned": (np.uint8(254), [254, 255, 256]),
    "a list": ([4, 0, 4], [4, 0, 4]),
    "a tuple": ((4, 0, 2), [4, 0, 2]),
    "a range": (range(3), [0, 1, 2]),
    "an array": (np.array([4, 0, 2]), [4, 0, 2]),
    "a list of NumPy integers": ([np.int64(3), np.uint64(2**64 - 1), 1], [3, 2**64 - 1, 1]),
    "up to 2^63": (2**63 - 2, [2**63 - 2, 2**63 - 1, 2**63]),
    "beyond 2^64": ([2**64, 2**200 + 1, 2**64 - 1], [2**64, 2**200 + 1, 2**64 - 1]),
}


@every_kind
class TestSeeds:
    @pytest.mark.parametrize(("seed", "expected"), SEEDS.values(), ids=SEEDS)
    def test_every_form(self, kind: str, seed: Any, expected: list[int]) -> None:
        """Seeds that Gymnasium's int64 column cannot hold come as Python's numbers."""
        envs = make(kind, markets=3)
        rng = np.random.default_rng(0)
        for given_seed in (1, seed):
            _, infos = envs.reset(seed=given_seed)
        if kind == "central":
            assert infos["seed"].tolist() == expected
            assert infos["seed"].dtype == (object if max(expected) >= 2**63 else np.int64)
            assert infos["episode_index"].tolist() == [0, 0, 0]
        singles = [CentralEnv("crowd2", slots=SLOTS) for _ in expected]
        views = [env.reset(seed=s)[0] for env, s in zip(singles, expected, strict=True)]
        for _ in range(SLOTS):
            same(envs.state(), np.array(views))
            actions = moves(envs, rng)
            envs.step(actions)
            choices = zip(singles, actions.reshape(3, -1), strict=True)
            views = [env.step(action)[0] for env, action in choices]
        same(envs.state(), np.array(views))
        envs.step(moves(envs, rng))
        same(envs.state(), np.array([env.reset()[0] for env in singles]))

    def test_none_in_a_list_is_the_next_episode(self, kind: str) -> None:
        pair = Pair(kind, NEXT_STEP, markets=3)
        pair.reset([3, 1, 2])
        pair.reset([None, 8, None])
        pair.reset([None, None, 0])

    def test_none_in_a_first_list_draws_a_seed(self, kind: str) -> None:
        first, second = (make(kind, markets=3) for _ in range(2))
        for envs in (first, second):
            envs.reset(seed=[None, 8, None])
        different = (first.state() != second.state()).any(axis=1)
        assert different.tolist() == [True, False, True]

    def test_without_a_seed_rows_and_environments_differ(self, kind: str) -> None:
        states = []
        for _ in range(2):
            envs = make(kind)
            envs.reset()
            states.extend(envs.state())
        assert len({state.tobytes() for state in states}) == 2 * MARKETS

    def test_a_seed_restarts_whatever_went_before(self, kind: str) -> None:
        used, fresh = make(kind), make(kind)
        rng = np.random.default_rng(0)
        used.reset(seed=1)
        for _ in range(5):
            used.step(moves(used, rng))
        used.reset(options={"reset_mask": some(rng)})
        same(used.reset(seed=SEED), fresh.reset(seed=SEED))
        for _ in range(5):
            actions = moves(used, rng)
            same(used.step(actions), fresh.step(actions))


class TestEpisodeIndex:
    def test_counts_on_from_each_seed(self) -> None:
        envs = make("central", markets=3)
        envs.reset(seed=4)
        assert runs(envs) == [(4, 0), (5, 0), (6, 0)]
        envs.reset(options={"reset_mask": np.array([False, True, False])})
        assert runs(envs) == [(4, 0), (5, 1), (6, 0)]
        envs.reset(seed=[None, 0, 2**63], options={"reset_mask": np.array([True, True, False])})
        assert runs(envs) == [(4, 1), (0, 0), (6, 0)]  # row 2 ended here
        assert runs(envs) == [(4, 1), (0, 0), (6, 1)]
        envs.reset()
        assert runs(envs) == [(4, 2), (0, 1), (6, 2)]

    def test_drawn_seeds_play_again(self) -> None:
        envs, again = make("central"), make("central")
        view, infos = envs.reset()
        assert len(set(infos["seed"].tolist())) == MARKETS
        same(again.reset(seed=infos["seed"].tolist()), (view, infos))

    def test_infos_of_a_reset_of_some_rows(self) -> None:
        envs = make("central", markets=3)
        envs.reset(seed=4)
        _, infos = envs.reset(seed=2**70, options={"reset_mask": np.array([False, True, False])})
        assert infos["seed"].tolist() == [0, 2**70 + 1, 0]
        assert infos["_seed"].tolist() == [False, True, False]


def future(envs: Any) -> list[Any]:
    """What an environment will show, without going there; it depends on all that it holds."""
    envs, rng = copy.deepcopy(envs), np.random.default_rng(8)
    shown: list[Any] = [envs.state(), envs.render(), envs.metadata]
    for _ in range(2 * SLOTS):
        try:
            shown += [*envs.step(moves(envs, rng)), envs.render()]
        except ResetNeeded as error:
            over = envs.state()[:, 0] == 1.0
            shown += [str(error), envs.reset(options={"reset_mask": over})]
    return [*shown, envs.reset(), envs.reset(options={"reset_mask": some(rng)}), envs.render()]


def apart(kind: str, mode: AutoresetMode, seed: Any = SEED, **options: Any) -> Any:
    """An environment whose rows are at different slots; row 0 is over, unless begun anew."""
    envs = make(kind, mode, render_mode="ansi", **options)
    rng = np.random.default_rng(7)
    envs.reset(seed=seed)
    envs.step(moves(envs, rng))
    envs.reset(options={"reset_mask": np.arange(len(envs.state())) > 0})
    for _ in range(SLOTS - 1):
        ended = envs.step(moves(envs, rng))[3]
    assert ended.any()
    assert not ended.all()
    return envs


BAD_RESETS: list[tuple[dict[str, Any], type[Exception], list[str]]] = [
    ({"seed": -1}, ValueError, ["seed = -1 is not allowed", "at least 0"]),
    ({"seed": 1.0}, ValueError, ["seed = 1.0 is not allowed", "a whole number"]),
    ({"seed": True}, ValueError, ["seed = True is not allowed", "a whole number"]),
    ({"seed": "0123"}, ValueError, ["seed = '0123' is not allowed", "a whole number"]),
    ({"seed": b"0123"}, ValueError, ["seed = b'0123' is not allowed", "a whole number"]),
    ({"seed": float("nan")}, ValueError, ["seed = nan", "one per market"]),
    ({"seed": {0, 1, 2, 3}}, ValueError, ["seed = {0, 1, 2, 3}", "one per market"]),
    ({"seed": np.array(5)}, ValueError, ["seed = array(5)", "one per market"]),
    ({"seed": [0, 1, 2]}, ValueError, ["number of seeds = 3", "4, one a market"]),
    ({"seed": []}, ValueError, ["number of seeds = 0", "4, one a market"]),
    ({"seed": [0, 1, 2, -3]}, ValueError, ["seed = -3 is not allowed", "at least 0"]),
    ({"seed": [0, True, 2, 3]}, ValueError, ["seed = True is not allowed", "at least 0"]),
    ({"seed": [0, 1, 2.0, 3]}, ValueError, ["seed = 2.0 is not allowed", "at least 0"]),
    ({"seed": [[0]] * 4}, ValueError, ["seed = [0] is not allowed", "at least 0"]),
    ({"seed": np.zeros(4)}, ValueError, ["seed = np.float64(0.0)", "at least 0"]),
    ({"options": 3}, ValueError, ["options = 3 is not allowed", "reset_mask"]),
    ({"options": "reset_mask"}, ValueError, ["options = 'reset_mask'", "a dictionary"]),
    ({"options": {"reset_mask": None}}, TypeError, ["reset_mask = None", "array of bool"]),
    ({"options": {"reset_mask": [True] * 4}}, TypeError, ["reset_mask = [True", "of bool"]),
    ({"options": {"reset_mask": np.ones(4, int)}}, TypeError, ["array([1, 1,", "of bool"]),
    ({"options": {"reset_mask": np.ones(3, bool)}}, ValueError, ["reset_mask = (3,)", "(4,)"]),
    ({"options": {"reset_mask": np.ones((4, 1), bool)}}, ValueError, ["(4, 1)", "(4,)"]),
    ({"options": {"reset_mask": np.zeros(4, bool)}}, ValueError, ["at least one True"]),
]
BAD_ACTIONS: list[tuple[Callable[[Any], Any], list[str]]] = [
    (lambda a: a[:-1], ["actions has shape", "is allowed"]),
    (lambda a: a[0], ["actions has shape", "is allowed"]),
    (lambda a: a.ravel(), ["actions has shape", "is allowed"]),
    (lambda a: a.astype(float), ["actions has dtype float64", "worker 0..2, or 3 to defer"]),
    (lambda a: a > 0, ["actions has dtype bool", "integers are allowed"]),
    (lambda a: None, ["actions has dtype object", "integers are allowed"]),
    (lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, 4, a), ["= 4: a worker 0..2"]),
    (lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, -1, a), ["= -1: a worker"]),
    (lambda a: np.full(a.shape, 2**63, np.uint64), ["actions[0, 0] = 9223372036854775808"]),
]


@every_kind
@every_mode
class TestMistakesChangeNothing:
    def test_reset(self, kind: str, mode: AutoresetMode) -> None:
        envs, fresh = apart(kind, mode), make(kind, mode)
        before, state = future(envs), envs.state()
        for call, error, words in BAD_RESETS:
            fails(lambda call=call: fresh.reset(**call), error, *words)
            fails(fresh.state, ResetNeeded, "reset()")
            fails(lambda call=call: envs.reset(**call), error, *words)
            same(envs.state(), state)
        same(future(envs), before)

    def test_step(self, kind: str, mode: AutoresetMode) -> None:
        envs = apart(kind, mode)
        before, state = future(envs), envs.state()
        actions = np.zeros(envs.action_space.shape, int)
        for spoil, words in BAD_ACTIONS:
            fails(lambda spoil=spoil: envs.step(spoil(actions)), ValueError, *words)
            same(envs.state(), state)
        same(future(envs), before)

    def test_a_world_that_cannot_be_drawn(self, kind: str, mode: AutoresetMode) -> None:
        options, played = playable()
        bad, good = played.index(0), [seed for seed, count in enumerate(played) if count == 9]
        envs = apart(kind, mode, good[:4], **options)
        before = future(envs)
        words = ["demand = 2 of provider_0", "capacities 1"]
        fails(lambda: envs.reset(seed=[*good[:3], bad]), ValueError, *words)
        one = {"reset_mask": np.arange(MARKETS) == 2}
        fails(lambda: envs.reset(seed=[bad] * MARKETS, options=one), ValueError, *words)
        same(future(envs), before)


@cache
def playable() -> tuple[dict[str, Any], list[int]]:
    """A scenario of which some worlds cannot be played, and how many episodes each seed has.

    More than 9 count as 9.
    """
    either = {"kind": "integers", "low": 1, "high": 2}
    overrides = {"demand": either, "capacity": either}
    options = {"scenario": "paper", "providers": 1, "workers": 1, "overrides": overrides}
    scenario = Scenario.load("paper", overrides, providers=1, workers=1)

    def count(seed: int) -> int:
        for episode in range(9):
            try:
                draw_world(scenario, [seed], episode)
            except ValueError:
                return episode
        return 9

    return options, [count(seed) for seed in range(100)]


@every_kind
def test_a_next_episode_that_cannot_be_drawn_can_be_left_out(kind: str) -> None:
    options, played = playable()
    seeds = [played.index(9), played.index(1)]
    envs, other = (make(kind, markets=2, **options) for _ in range(2))
    for one in (envs, other):
        one.reset(seed=seeds)
        for _ in range(SLOTS):
            one.step(np.zeros(one.action_space.shape, int))
    actions = np.zeros(envs.action_space.shape, int)
    fails(lambda: envs.step(actions), ValueError, "demand = 2 of provider_0")
    for one in (envs, other):
        one.reset(seed=[None, seeds[0]], options={"reset_mask": np.array([False, True])})
    same(envs.step(actions), other.step(actions))
    same(envs.step(actions), other.step(actions))


@every_kind
@every_mode
class TestOutOfTurn:
    def test_before_the_first_reset(self, kind: str, mode: AutoresetMode) -> None:
        envs, other = make(kind, mode, render_mode="ansi"), make(kind, mode, render_mode="ansi")
        actions = np.zeros(envs.action_space.shape, int)
        for call in (lambda: envs.step(actions), envs.state, envs.render):
            fails(call, ResetNeeded, "reset()")
        some_rows = {"reset_mask": np.arange(MARKETS) > 0}
        fails(lambda: envs.reset(seed=SEED, options=some_rows), ResetNeeded, "first reset()")
        fails(envs.state, ResetNeeded, "reset()")
        everybody = {"reset_mask": np.ones(MARKETS, bool)}
        same(envs.reset(seed=SEED, options=everybody), other.reset(seed=SEED))
        same(future(envs), future(other))

    def test_ended_rows_are_named(self, kind: str, mode: AutoresetMode) -> None:
        envs = apart(kind, mode)
        before = future(envs)
        actions = np.zeros(envs.action_space.shape, int)
        if mode == DISABLED:
            fails(lambda: envs.step(actions), ResetNeeded, "markets [0] are over", "'reset_mask'")
            same(future(envs), before)
        else:
            assert not envs.step(actions)[3][0]


def test_a_long_list_of_ended_rows_is_cut() -> None:
    envs = make("central", DISABLED, markets=12, scenario="toy", slots=1)
    envs.reset(seed=0)
    actions = np.zeros(envs.action_space.shape, int)
    envs.step(actions)
    fails(lambda: envs.step(actions), ResetNeeded, "[0, 1, 2, 3, 4, 5, 6, 7, 8, '...'] are over")


def arrays(value: Any) -> Iterator[np.ndarray]:
    """All arrays of an answer that the caller may write into."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, np.ndarray) and value.dtype != object:
        if value.flags.writeable:
            yield value
    elif isinstance(value, (list, tuple, np.ndarray)):
        for item in value:
            yield from arrays(item)


def tour(envs: Any, write: bool) -> tuple[list[Any], list[Any]]:
    """What a run with resets of some rows hands out, and copies of it taken at once.

    Args:
        envs: What is played.
        write: Whether to write over all that was handed out or in, once it is copied.
    """
    rng = np.random.default_rng(6)
    out: list[Any] = [envs.reset(seed=SEED)]
    copies = copy.deepcopy(out)
    for call in range(16):
        ended = len(out[-1]) == 5 and envs.metadata["autoreset_mode"] == DISABLED
        ended = ended and out[-1][3].reshape(MARKETS, -1)[:, 0].copy()
        if write:
            for table in arrays(out[-1]):
                table[...] = ~table if table.dtype == bool else 77
        if np.any(ended) or call % 5 == 1:
            given_in = ended.copy() if np.any(ended) else some(rng)
            out.append(envs.reset(options={"reset_mask": given_in}))
        else:
            given_in = moves(envs, rng)
            out.append(envs.step(given_in))
        if write:
            given_in[...] = ~given_in if given_in.dtype == bool else 0
        copies.append((copy.deepcopy(out[-1]), envs.render(), envs.state()))
    return out, copies


@every_kind
@every_mode
@pytest.mark.parametrize("render_mode", [None, "ansi"])
class TestWhatIsHandedOut:
    def test_belongs_to_the_caller(self, kind: str, mode: AutoresetMode, render_mode: Any) -> None:
        plain, written = (
            tour(make(kind, mode, scenario="testbed", render_mode=render_mode), write)[1]
            for write in (False, True)
        )
        same(written, plain)

    def test_stays_as_it_was(self, kind: str, mode: AutoresetMode, render_mode: Any) -> None:
        out, copies = tour(make(kind, mode, render_mode=render_mode), write=False)
        same(out, [copies[0], *(copied for copied, *_ in copies[1:])])

    def test_shares_no_memory(self, kind: str, mode: AutoresetMode, render_mode: Any) -> None:
        envs = make(kind, mode, render_mode=render_mode)
        out, _ = tour(envs, write=False)
        tables = [*arrays(out), envs.state(), envs.state()]
        assert len(tables) > 200
        assert not any(np.shares_memory(a, b) for a, b in combinations(tables, 2))


def test_a_mask_may_be_given_agent_by_agent() -> None:
    envs, other = (make("parallel", mode=DISABLED) for _ in range(2))
    for each in (envs, other):
        each.reset(seed=SEED)
        each.step(moves(each, np.random.default_rng(0)))
    markets = np.array([True, False, True, False][:MARKETS])
    agents = np.repeat(markets, envs.num_envs // MARKETS)
    same(envs.reset(options={"reset_mask": agents}), other.reset(options={"reset_mask": markets}))
    agents[0] = not agents[0]
    with pytest.raises(ValueError, match="the same for all agents of a market"):
        envs.reset(options={"reset_mask": agents})
    watched = wrappers.RecordEpisodeStatistics(make("parallel", mode=DISABLED))
    watched.reset(seed=SEED)
    for _ in range(SLOTS):
        over = watched.step(moves(watched.unwrapped, np.random.default_rng(1)))[3]
    assert over.all()
    watched.reset(options={"reset_mask": over})
    watched.step(moves(watched.unwrapped, np.random.default_rng(2)))


@every_kind
def test_action_masks_are_read_only(kind: str) -> None:
    envs = make(kind)
    for info in (envs.reset(seed=SEED)[1], envs.step(moves(envs, np.random.default_rng(0)))[4]):
        assert not info["action_mask"].flags.writeable
        everything_else = [table for key, table in info.items() if key != "action_mask"]
        assert all(table.flags.writeable for table in everything_else)


@every_kind
@every_mode
def test_a_copy_goes_on_alike(kind: str, mode: AutoresetMode) -> None:
    envs = apart(kind, mode)
    expected = future(envs)
    for other in (copy.deepcopy(envs), pickle.loads(pickle.dumps(envs))):
        same(future(other), expected)
        other.reset(seed=99)
        same(future(envs), expected)


@every_kind
@every_case
class TestSpaces:
    def test_are_those_of_single_environments(self, kind: str, case: str) -> None:
        scenario, overrides = CASES[case]
        envs, others = (
            f(kind, NEXT_STEP, scenario=scenario, overrides=overrides) for f in (make, reference)
        )
        assert envs.num_envs == others.num_envs
        for name in ("observation_space", "action_space"):
            for space in (name, f"single_{name}"):
                assert getattr(envs, space) == getattr(others, space)
                assert getattr(envs, space).dtype == getattr(others, space).dtype

    def test_samples_can_be_played(self, kind: str, case: str) -> None:
        scenario, overrides = CASES[case]
        envs = make(kind, scenario=scenario, overrides=overrides)
        envs.action_space.seed(0)
        view, _ = envs.reset(seed=SEED)
        for _ in range(SLOTS):
            assert view in envs.observation_space
            view = envs.step(envs.action_space.sample())[0]
        assert view in envs.observation_space
        _, infos = envs.reset()
        mask = infos["action_mask"]
        feasible = (mask * np.random.default_rng(0).random(mask.shape)).argmax(axis=-1)
        infos = envs.step(feasible)[4]
        assert Status.INFEASIBLE not in infos["status"]


@every_kind
@every_mode
class TestGymnasiumsWrappers:
    def test_episode_statistics(self, kind: str, mode: AutoresetMode) -> None:
        both = [wrappers.RecordEpisodeStatistics(f(kind, mode)) for f in (make, reference)]
        rng = np.random.default_rng(0)
        same(*(envs.reset(seed=SEED) for envs in both))
        ended = 0
        for _ in range(10):
            actions = moves(both[0].unwrapped, rng)
            answers = [envs.step(actions) for envs in both]
            over = answers[0][3].all()
            for *_, infos in answers:
                assert ("episode" in infos) == over
                infos.get("episode", {}).pop("t", None)  # seconds
            same(*answers)
            ended += over
            if over and mode == DISABLED:
                same(*(envs.reset() for envs in both))
        assert ended >= 2

    def test_infos_as_lists(self, kind: str, mode: AutoresetMode) -> None:
        both = [wrappers.DictInfoToList(f(kind, mode)) for f in (make, reference)]
        rng = np.random.default_rng(0)
        same(*(envs.reset(seed=SEED) for envs in both))
        mask = some(rng)
        same(*(envs.reset(options={"reset_mask": mask.copy()}) for envs in both))
        for _ in range(SLOTS):
            actions = moves(both[0].unwrapped, rng)
            answers = [envs.step(actions) for envs in both]
            same(*answers)
        assert ("final_info" in answers[0][4][0]) == (mode == SAME_STEP)


@every_mode
def test_episode_statistics_after_a_reset_of_some_rows(mode: AutoresetMode) -> None:
    envs = wrappers.RecordEpisodeStatistics(make("central", mode, markets=3))
    actions = np.zeros(envs.action_space.shape, int)
    envs.reset(seed=SEED)
    first = envs.step(actions)[1]
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    rewards = [envs.step(actions)[1] for _ in range(SLOTS - 2)]
    _, last, _, truncations, infos = envs.step(actions)
    assert truncations.tolist() == [True, False, True]
    assert infos["episode"]["l"].tolist() == [SLOTS, 0, SLOTS]
    total = np.where(truncations, first + sum(rewards) + last, 0.0)
    np.testing.assert_allclose(infos["episode"]["r"], total)


@pytest.mark.parametrize(
    "wrap",
    [
        wrappers.FlattenObservation,
        wrappers.NormalizeObservation,
        wrappers.NormalizeReward,
        lambda envs: wrappers.ClipReward(envs, -1.0, 1.0),
    ],
)
@every_kind
def test_other_wrappers(kind: str, wrap: Callable[[Any], Any]) -> None:
    both = [wrap(f(kind, NEXT_STEP)) for f in (make, reference)]
    rng = np.random.default_rng(0)
    same(*(envs.reset(seed=SEED) for envs in both))
    for _ in range(2 * SLOTS):
        actions = moves(both[0].unwrapped, rng)
        same(*(envs.step(actions) for envs in both))


class TestMaking:
    @every_mode
    def test_metadata_is_each_one_s_own(self, mode: AutoresetMode) -> None:
        for kind, cls in (("central", CentralVectorEnv), ("parallel", ParallelMarketVectorEnv)):
            envs = [make(kind, mode), make(kind, mode.value), make(kind)]
            assert all(type(one) is cls for one in envs)
            assert [one.metadata["autoreset_mode"] for one in envs] == [mode, mode, NEXT_STEP]
            assert cls.metadata["autoreset_mode"] is NEXT_STEP
            assert envs[0].metadata["render_modes"] == ["ansi", "rgb_array"]

    def test_spec(self) -> None:
        envs = gym.make_vec(
            "distmllm_env:DistMLLM-v0", num_envs=3, scenario="toy", autoreset_mode="SameStep"
        )
        again = gym.make_vec(envs.spec)
        assert isinstance(again, CentralVectorEnv)
        assert (again.num_envs, again.scenario) == (3, Scenario.load("toy"))
        assert again.metadata == envs.metadata
        assert str(again) == "CentralVectorEnv(DistMLLM-v0, num_envs=3)"
        same(again.reset(seed=SEED), envs.reset(seed=SEED))
        envs.close()
        assert envs.closed

    @every_kind
    def test_by_default(self, kind: str) -> None:
        envs = {"central": CentralVectorEnv, "parallel": ParallelMarketVectorEnv}[kind]()
        assert envs.scenario == Scenario.load("paper")
        assert envs.num_envs == {"central": 1, "parallel": 5}[kind]
        assert envs.render_mode is None

    @pytest.mark.parametrize(
        ("options", "words"),
        rows(
            [
                ({"markets": 0}, ["number of markets = 0", "at least 1"]),
                ({"markets": -1}, ["number of markets = -1", "at least 1"]),
                ({"markets": 1.5}, ["number of markets = 1.5", "a whole number"]),
                ({"markets": True}, ["number of markets = True", "a whole number"]),
                ({"markets": "3"}, ["number of markets = '3'", "a whole number"]),
                ({"reward": "welfair"}, ["unknown reward", "Did you mean 'welfare'?"]),
                ({"mode": "SameStp"}, ["autoreset_mode 'SameStp'", "Did you mean 'SameStep'?"]),
                ({"mode": None}, ["unknown autoreset_mode None", "Disabled, NextStep, SameStep"]),
                ({"render_mode": "human"}, ["unknown render_mode 'human'", "ansi, rgb_array"]),
                ({"scenario": "papr"}, ["unknown scenario 'papr'", "Did you mean 'paper'?"]),
                ({"providers": 0}, ["providers = 0", "at least 1"]),
                ({"slots": 2.0}, ["slots", "expected int", "2.0"]),
                ({"overrides": {"nose.std": 0.1}}, ["unknown scenario key 'nose'", "'noise'"]),
            ]
        ),
    )
    @every_kind
    def test_mistakes(self, kind: str, options: dict[str, Any], words: list[str]) -> None:
        fails(lambda: make(kind, **options), ValueError, *words)

    def test_a_dispatcher_has_no_profit_of_its_own(self) -> None:
        words = ["unknown reward", "'profit'", "Allowed: proportional_fair, welfare."]
        fails(lambda: make("central", reward="profit"), ValueError, *words)

    @every_kind
    def test_an_option_that_does_not_exist(self, kind: str) -> None:
        fails(lambda: make(kind, scenaro="paper"), TypeError, "'scenaro'")


@every_kind
class TestCalls:
    @pytest.mark.parametrize("dtype", list("bBhHiIqQ"))
    def test_every_integer_type_will_do(self, kind: str, dtype: str) -> None:
        pair = Pair(kind, NEXT_STEP)
        pair.reset(SEED)
        pair.step(moves(pair.ours, np.random.default_rng(0)).astype(dtype))

    def test_so_will_a_list(self, kind: str) -> None:
        envs, other = make(kind), make(kind)
        actions = moves(envs, np.random.default_rng(0))
        for one in (envs, other):
            one.reset(seed=SEED)
        same(envs.step(actions.tolist()), other.step(actions))

    def test_other_options_are_not_used_and_none_is_taken_out(self, kind: str) -> None:
        envs, other = make(kind), make(kind)
        same(envs.reset(seed=SEED, options={"colour": 1}), other.reset(seed=SEED))
        options = {"colour": 1, "reset_mask": np.arange(MARKETS) > 1}
        answer = envs.reset(seed=8, options=options)
        same(options, {"colour": 1, "reset_mask": np.arange(MARKETS) > 1})
        same(answer, other.reset(seed=8, options=options))


class TestPictures:
    @every_kind
    @every_mode
    def test_text(self, kind: str, mode: AutoresetMode) -> None:
        pair = Pair(kind, mode, scenario="testbed", render_mode="ansi")
        pair.reset(SEED)
        for call in range(15):
            wander(pair, call, 1)
            texts = pair.ours.render()
            same(texts, pair.theirs.render())
            assert len(set(texts)) == MARKETS

    def test_images(self) -> None:
        pair = Pair("central", NEXT_STEP, 2, render_mode="rgb_array")
        pair.reset(SEED)
        pair.step(moves(pair.ours, np.random.default_rng(0)))
        pair.reset(mask=np.array([False, True]))
        same(pair.ours.render(), pair.theirs.render())

    @every_kind
    def test_none_without_a_mode(self, kind: str) -> None:
        envs = make(kind)
        assert envs.render() is None
        envs.reset(seed=SEED)
        assert envs.render() is None
