"""Timing the environments: fair windows, right arithmetic, honest verdicts, and no slow code."""

import gc
import json
import warnings
from dataclasses import asdict, replace
from importlib.util import find_spec

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from pettingzoo.utils.conversions import parallel_to_aec
from typer.testing import CliRunner

import distmllm_env
from distmllm_bench.cli import app
from distmllm_bench.speed import notes as notes_module
from distmllm_bench.speed import run as job
from distmllm_bench.speed.environments import (
    AGENTS,
    CARTPOLE,
    CONVERTED,
    CONVERTED_BARE,
    KERNEL,
    PARALLEL,
    PARALLEL_EMPTY,
    SEQUENTIAL,
    SINGLE,
    SINGLE_EMPTY,
    SYNC,
    VECTOR,
    kernel_contender,
    sequential_group,
    vector_contender,
)
from distmllm_bench.speed.figure import figure
from distmllm_bench.speed.kernel import Kernel
from distmllm_bench.speed.memory import Memory, in_child, resident
from distmllm_bench.speed.notes import notes
from distmllm_bench.speed.policies import (
    EXPERIMENT_POLICIES,
    POLICIES,
    ExperimentTiming,
    PolicyTiming,
    play_parallel,
    require_equal,
)
from distmllm_bench.speed.results import (
    Measurements,
    Spread,
    above,
    experiment_ratio,
    ratio,
)
from distmllm_bench.speed.setting import FULL, QUICK, Setting, Sweep, capacity_for
from distmllm_bench.speed.sweeps import Exponent, SweepTiming, fit
from distmllm_bench.speed.tables import markdown, tables, text_tables
from distmllm_bench.speed.targets import targets
from distmllm_bench.speed.timing import Contender, Timing, alternate, order, timed, window
from distmllm_bench.speed.twins import EmptyEnv, EmptyParallelEnv
from distmllm_env import Scenario, load_policy, play

TINY = Setting(
    providers=2,
    workers=3,
    window_s=0.001,
    rounds=2,
    batches=(1, 4),
    sync=((4, 2),),
    slots=5,
    policy_runs=((2, 4), (3, 2)),
    policy_rounds=1,
    oracle_runs=2,
    experiment_runs=2,
    experiment_slots=4,
    experiment_rounds=2,
    memory_markets=8,
    soak_steps=1000,
    sweeps=(
        Sweep("markets", (2, 4, 8), 0),
        Sweep("providers", (10, 20), 2, same_load=True),
        Sweep("providers", (2, 3), 2),
        Sweep("workers", (2, 3), 2),
        Sweep("slots", (2, 4, 8), 2),
    ),
    sweep_rounds=2,
)


def timing(group, form, per_step, batch=1, agent_steps=1, reset=0.0, slots=None):
    """Three rounds, the machine twice and four times as slow in the later ones."""
    drift = np.array([1.0, 2.0, 4.0])
    return Timing(
        group,
        form,
        batch,
        agent_steps,
        tuple(per_step * drift),
        tuple(reset * drift),
        slots,
    )


def made_up(
    *,
    kernel=0.5,
    sync=20.0,
    cart_pole=0.6,
    single_us=20.0,
    parallel_us=30.0,
    turns=2.0,
    peak_mb=100.0,
    soak_mb=1.0,
    gain=30.0,
    slope=1.0,
    setting=FULL,
):
    """Measurements whose figures are these."""
    steps = 10 * 1024
    timings = (
        timing("B=1024", VECTOR, 1e-3, 1024, steps),
        timing("B=1024", KERNEL, 1e-3 * kernel, 1024, steps),
        timing("B=1024", SYNC, 1e-3 * sync / 16, 64, steps // 16),
        timing("B=4096", VECTOR, 4e-3, 4096, 4 * steps),
        timing("B=4096", CARTPOLE, 4e-3 * cart_pole, 4096, 4 * steps),
        timing("single", SINGLE, 1e-6 * (single_us / 2 + 1), 1, 10),
        timing("single", SINGLE_EMPTY, 1e-6, 1, 10),
        timing("parallel", PARALLEL, 1e-6 * (parallel_us / 2 + 1), 1, 10),
        timing("parallel", PARALLEL_EMPTY, 1e-6, 1, 10),
        timing("sequential", SEQUENTIAL, 1e-6),
        timing("sequential", CONVERTED, 1e-6 * turns),
        timing("sequential", CONVERTED_BARE, 1e-7),
    )
    sizes = (10, 20, 40, 80)
    seconds = tuple((1e-3 * size**slope, 5.0) for size in sizes)  # a disturbed second round
    return Measurements(
        setting,
        timings,
        (PolicyTiming("ucb", 20, 50, 10_000, (1.0, 3.0), (0.2, 0.2), (0.5, 1.0)),),
        (
            ExperimentTiming("ucb", (0.1, 0.2), (0.1 * gain, 0.2 * gain), 7.0),
            ExperimentTiming("heu", (0.3, 0.6), (0.3 * gain, 0.6 * gain), 8.0),
        ),
        Memory(4096, peak_mb, 64, 10_000_000, soak_mb, "a guess"),
        (SweepTiming("providers", sizes, 512, seconds),),
    )


class TestKernel:
    """The yardstick computes what it says."""

    @pytest.mark.parametrize(("markets", "providers", "workers"), [(1, 10, 30), (5, 4, 2)])
    def test_is_a_plain_loop(self, markets, providers, workers):
        kernel = Kernel(markets, providers, workers, seed=3)
        rng = np.random.default_rng(4)
        dropped = deferred = 0
        for _ in range(20):
            actions = rng.integers(workers + 1, size=(markets, 2 * providers))
            total = kernel.step(actions)
            for b in range(markets):
                load = [0] * (workers + 1)
                for n in actions[b]:
                    load[n] += 1
                expected = 0.0
                for k, n in enumerate(actions[b]):
                    deferred += int(n == workers)
                    if n < workers and load[n] > kernel.capacity[b, n]:
                        dropped += 1
                    else:
                        expected += float(kernel.utility[b, k, n]) + float(kernel.noise[b, k])
                assert total[b] == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert dropped
        assert deferred

    def test_noise_is_drawn_anew(self):
        kernel = Kernel(64, 10, 30)
        actions = np.full((64, 20), 30)
        slots = []
        for _ in range(50):
            kernel.step(actions)
            slots.append(kernel.noise.copy())
        noise = np.array(slots)
        assert noise.dtype == np.float32
        assert len(np.unique(noise)) > 0.99 * noise.size
        assert noise.mean() == pytest.approx(0.0, abs=0.02)
        assert noise.std() == pytest.approx(1.0, abs=0.02)


class TestWindows:
    """Who plays when, and what counts."""

    @pytest.mark.parametrize("count", [1, 2, 3, 5])
    def test_everybody_plays_every_round_and_begins_equally_often(self, count):
        rounds = [order(count, turn) for turn in range(2 * count)]
        assert all(sorted(turns) == list(range(count)) for turns in rounds)
        assert [sum(turns[0] == i for turns in rounds) for i in range(count)] == [2] * count

    def test_never_plays_beyond_the_horizon(self):
        events = []
        contender = Contender(
            "x", 1, 1, lambda steps: events.append(steps), lambda: events.append("reset"), 5
        )
        window(contender, 10)
        assert events == ["reset", 1, 4, "reset", 1, 4, "reset", 1, 2]

    def test_untimed_first_steps_and_resets_do_not_count(self, monkeypatch):
        clock = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: clock)

        def run(steps):
            nonlocal clock
            clock += 1000.0 if steps == 1 else 2.0 * steps

        def restart():
            nonlocal clock
            clock += 70.0

        contender = Contender("x", 1, 1, run, restart, 5)
        assert window(contender, 8) == (2.0, 70.0)

    def test_garbage_collection_is_on_again_after_a_failure(self):
        def fail(steps):
            raise KeyError("no such action")

        with pytest.raises(KeyError, match="no such action"):
            window(Contender("x", 1, 1, fail), 3)
        assert gc.isenabled()

    def test_resets_are_spread_over_the_episode(self):
        found = timing("g", "x", 2.0, agent_steps=10, reset=50.0, slots=100)
        np.testing.assert_allclose(found.seconds, [2.5, 5.0, 10.0])
        np.testing.assert_allclose(found.rate, [4.0, 2.0, 1.0])
        np.testing.assert_allclose(replace(found, slots=None, reset_s=(0,) * 3).seconds, [2, 4, 8])


class TestEmpty:
    """The empty twins have the spaces, wrappers and manners of the real ones."""

    def test_single(self):
        env = gymnasium.make("DistMLLM-v0")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            empty = gymnasium.make(EnvSpec("Empty-v0", entry_point=lambda **_: EmptyEnv(env)))
            empty.reset(seed=0)
            for _ in range(4):
                view, *_ = empty.step(env.action_space.sample())
        assert view in env.observation_space
        assert empty.action_space == env.action_space

        def wrappers(each):
            names = []
            while each is not each.unwrapped:
                names.append(type(each).__name__)
                each = each.env
            return names

        assert wrappers(empty) == wrappers(env)

    def test_parallel(self):
        env = distmllm_env.parallel_env(providers=3)
        empty = EmptyParallelEnv(env)
        assert empty.possible_agents == env.possible_agents
        views, infos = empty.reset(seed=0)
        assert set(views) == set(infos) == set(env.possible_agents)
        for agent, view in views.items():
            assert view in env.observation_space(agent)
            assert empty.action_space(agent) is env.action_space(agent)
        assert [set(answer) for answer in empty.step({})] == [set(views)] * 5

    def test_converted_goes_on_for_ever(self):
        for found in sequential_group(replace(TINY, rounds=1)):
            assert found.agent_steps == 1
        converted = parallel_to_aec(EmptyParallelEnv(distmllm_env.parallel_env(providers=3)))
        converted.reset(seed=0)
        assert sum(1 for _ in self.turns(converted, 100)) == 100

    @staticmethod
    def turns(env, count):
        for agent in env.agent_iter(count):
            env.last()
            env.step([0, 0])
            yield agent


class TestArithmetic:
    def test_ratios_within_rounds_cancel_drift(self):
        fast, slow = timing("g", "fast", 1.0), timing("g", "slow", 4.0)
        assert ratio(fast, slow) == Spread(4.0, 4.0, 4.0)
        assert above(slow, fast) == Spread(4.5e6, 6e6, 9e6)

    def test_contenders_of_different_groups_are_not_compared(self):
        with pytest.raises(ValueError, match="side by side"):
            ratio(timing("g", "x", 1.0), timing("h", "y", 1.0))

    @pytest.mark.parametrize("power", [0.0, 1.0, 1.5])
    def test_exponent_of_a_power_law(self, power):
        sizes = (10, 20, 40, 80)
        seconds = tuple((1e6, 0.3 * size**power) for size in sizes)
        found = fit(SweepTiming("x", sizes, 1, seconds))
        assert found.slope == pytest.approx(power)
        assert found.error == pytest.approx(0.0, abs=1e-6)

    def test_exponent_and_error_are_those_of_least_squares(self):
        rng = np.random.default_rng(0)
        sizes = (10, 30, 60, 120, 240)
        seconds = np.array(sizes) ** 0.8 * rng.lognormal(0.0, 0.2, 5)
        found = fit(SweepTiming("x", sizes, 1, tuple((s,) for s in seconds)))
        (slope, _), covariance = np.polyfit(np.log(sizes), np.log(seconds), 1, cov=True)
        assert found.slope == pytest.approx(slope)
        assert found.error == pytest.approx(covariance[0, 0] ** 0.5)

    @pytest.mark.parametrize(
        ("slope", "error", "met"),
        [(1.04, 0.0, True), (1.06, 0.0, False), (1.20, 0.1, True), (1.26, 0.1, False)],
    )
    def test_an_exponent_may_be_above_one_by_chance_and_slack_only(self, slope, error, met):
        assert Exponent("x", slope, error).met is met


FLIPS = [
    ("make_vec / kernel, B = 1024", "kernel", 0.41, 0.39),
    ("make_vec / SyncVectorEnv, B = 1024", "sync", 15.1, 14.9),
    ("make_vec / CartPole-v1, B = 4096", "cart_pole", 0.51, 0.49),
    ("gym.make above an empty environment, us a step", "single_us", 24.9, 25.1),
    ("parallel_env above an empty twin, us a step", "parallel_us", 39.9, 40.1),
    ("choices/s, sequential / converted empty twin", "turns", 1.01, 0.99),
    ("memory of make_vec, B = 4096, MB", "peak_mb", 499.0, 501.0),
    ("growth over 10 million agent-steps, MB", "soak_mb", 4.9, 5.1),
    ("main experiment, single / batched", "gain", 20.1, 19.9),
    ("exponent of providers", "slope", 1.04, 1.06),
]


class TestTargets:
    @pytest.mark.parametrize(("name", "key", "good", "bad"), FLIPS)
    def test_the_verdict_flips_where_it_should(self, name, key, good, bad):
        for value, verdict in ((good, "met"), (bad, "not met")):
            judged = {target.name: target for target in targets(made_up(**{key: value}))}
            assert judged.pop(name).figure == pytest.approx(value)
            text = text_tables(tables(made_up(**{key: value})), [])
            (line,) = [line for line in text.splitlines() if line.strip().startswith(name)]
            assert line.endswith(f"  {verdict}")
            assert {target.verdict for target in judged.values()} == {"met"}

    def test_each_is_tried(self):
        names = {target.name for target in targets(made_up())}
        assert names == {name for name, *_ in FLIPS}

    def test_what_was_not_measured_or_is_of_another_size_is_not_judged(self):
        other = made_up(setting=replace(FULL, providers=5))
        verdicts = [target.verdict for target in targets(other)]
        assert verdicts == ["not judged"] * 8 + ["met"] * 2
        assert any("not judged here" in note for note in notes(other))
        without = replace(other, setting=FULL, timings=())
        judged = targets(without)
        assert [target.figure for target in judged[:6]] == [None] * 6
        assert {target.verdict for target in judged[:6]} == {"not judged"}

    def test_all_policies_together(self):
        found = made_up(gain=10.0)
        slower = replace(found.experiment[1], single_s=(12.0, 24.0))
        found = replace(found, experiment=(found.experiment[0], slower))
        assert experiment_ratio(found).median == pytest.approx((1.0 + 12.0) / 0.4)

    def test_providers_at_a_fixed_capacity_are_shown_and_not_judged(self):
        found = made_up()
        same = replace(found.sweeps[0], of="providers, same load")
        fixed = replace(made_up(slope=1.4).sweeps[0], of="providers, fixed capacity", judged=False)
        judged = targets(replace(found, sweeps=(same, fixed)))[-2:]
        assert [target.verdict for target in judged] == ["met", "not judged"]
        assert judged[1].figure == pytest.approx(1.4)
        text = " ".join(text_tables(tables(found), notes(found)).split())
        assert "growth with load, not with size alone, and is not judged" in text

    def test_are_the_same_without_numba(self, monkeypatch):
        verdicts = [target.verdict for target in targets(made_up())]
        monkeypatch.setattr(notes_module, "kernel", lambda: None)
        assert [target.verdict for target in targets(made_up())] == verdicts
        assert notes_module.machine()["numba"] is None
        (path,) = [note for note in notes(made_up()) if note.startswith("Path measured")]
        assert path.startswith("Path measured: NumPy")
        assert "judged all the same" in path


class TestSweeps:
    def test_capacities_grow_with_providers(self):
        usual = Scenario.load("paper").capacity
        assert capacity_for(FULL.providers) == usual.to_value()
        sizes = next(sweep.sizes for sweep in FULL.sweeps if sweep.same_load)
        ends = [(capacity_for(m)["low"], capacity_for(m)["high"]) for m in sizes]
        assert ends == [(4, 5), (8, 10), (16, 20), (32, 40), (64, 80)]
        assert capacity_for(7) == {"kind": "integers", "low": 3, "high": 4}

    def test_capacities_reach_the_environment(self):
        setting = replace(FULL, providers=20)
        for overrides, ends in ((None, (4, 5)), ({"capacity": capacity_for(20)}, (8, 10))):
            env = vector_contender(setting, 2, overrides=overrides).restart.__self__
            assert (env.scenario.capacity.low, env.scenario.capacity.high) == ends
            assert env.scenario.providers == 20

    def test_one_of_providers_is_judged(self):
        for setting in (FULL, QUICK):
            names = {sweep.name: sweep.judged for sweep in setting.sweeps}
            assert names == {
                "markets": True,
                "providers, same load": True,
                "providers, fixed capacity": False,
                "workers": True,
                "slots": True,
            }


class TestTables:
    def test_numbers(self):
        text = text_tables(tables(made_up()), notes(made_up()))
        assert max(map(len, text.splitlines())) <= 110
        lines = [line.split() for line in text.splitlines()]
        # 10,240 agent-steps in 2 ms, the middle round; half the kernel's.
        start = lines.index(["Many", "environments", "at", "once,", "B", "=", "1024"])
        assert lines[start + 3] == ["make_vec", "512k", "5.12M", "0.50", "-", "20.0", "-"]
        ucb = next(line for line in lines if line[:2] == ["UCB", "(range),"])
        assert ucb[-4:] == ["15k", "6.67k", "42%", "10.0"]

    @pytest.mark.parametrize("setting", [FULL, QUICK])
    def test_sweeps_fit_the_page(self, setting):
        sweeps = tuple(
            SweepTiming(s.name, s.sizes, s.markets, ((0.0999,),) * len(s.sizes), s.judged)
            for s in setting.sweeps
        )
        text = text_tables(tables(replace(made_up(), sweeps=sweeps)), [])
        assert max(map(len, text.splitlines())) <= 110

    def test_says_what_sync_was_timed_at(self):
        text = text_tables(tables(made_up()), notes(made_up()))
        assert "SyncVectorEnv (64)" in text
        assert "lower bound" in text.replace("\n  ", " ")

    def test_markdown_has_the_same_cells(self):
        shown = tables(made_up())
        text = markdown(shown, ["a note"])
        for table in shown:
            for line in table.lines:
                assert "| " + " | ".join(line) + " |" in text
        assert "- a note" in text

    def test_figure_of_made_up_measurements(self):
        files = figure(made_up())
        assert files["png"].startswith(b"\x89PNG")
        assert files == figure(made_up())


class TestBothWays:
    @pytest.mark.parametrize("policy", EXPERIMENT_POLICIES)
    def test_run_by_run_is_the_batch(self, policy):
        scenario = Scenario.load("paper", slots=20)
        batch = play(scenario, load_policy(policy), [3, 4]).profit
        for b, seed in enumerate((3, 4)):
            single = play_parallel(scenario, load_policy(policy), seed)
            assert single.tobytes() == np.ascontiguousarray(batch[b]).tobytes()

    def test_any_difference_is_refused(self):
        profit = np.ones((2, 3, 4, 2))
        other = profit.copy()
        other[1, 2, 3, 1] = np.nextafter(1.0, 2.0)
        require_equal("ucb", profit, profit.copy())
        with pytest.raises(RuntimeError, match="ucb"):
            require_equal("ucb", profit, other)


class TestMemory:
    def test_sees_what_is_held(self):
        before = resident()[0]
        held = np.ones(10_000_000)
        now, peak, _ = resident()
        assert now - before >= 0.9 * held.nbytes
        assert peak >= now

    def test_a_failing_child_says_why(self):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            in_child("probe_peak({}, 1 // 0)")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("speed")
    text, numbers = job.run_speed(out, TINY)
    return out, text, numbers


class TestWholeRun:
    def test_files(self, tiny):
        out, text, numbers = tiny
        names = ["speed.json", "speed.md", "speed.png", "speed.svg"]
        assert sorted(path.name for path in out.iterdir()) == names
        assert json.loads((out / "speed.json").read_text()) == json.loads(json.dumps(numbers))
        assert (out / "speed.png").read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in (out / "speed.svg").read_text()
        assert max(map(len, text.splitlines())) <= 110
        for note in numbers["notes"]:
            assert note in (out / "speed.md").read_text()

    def test_nothing_is_missing(self, tiny):
        _, _, numbers = tiny
        timed = [(t["group"], t["form"], t["batch"]) for t in numbers["timings"]]
        many = (KERNEL, VECTOR, AGENTS, CARTPOLE)
        assert timed == [
            *(("B=1", form, 1) for form in many),
            *(("B=4", form, 4) for form in many),
            ("B=4", SYNC, 2),
            ("single", SINGLE, 1),
            ("single", SINGLE_EMPTY, 1),
            ("parallel", PARALLEL, 1),
            ("parallel", PARALLEL_EMPTY, 1),
            ("sequential", SEQUENTIAL, 1),
            ("sequential", CONVERTED, 1),
            ("sequential", CONVERTED_BARE, 1),
        ]
        for found in numbers["timings"]:
            assert len(found["step_s"]) == len(found["reset_s"]) == TINY.rounds
            assert min(found["step_s"]) > 0
            resets = found["form"] in (VECTOR, AGENTS, SYNC) or (
                found["form"] in (SINGLE, PARALLEL, SEQUENTIAL)
            )
            assert (min(found["reset_s"]) > 0) is resets
        played = [(p["policy"], p["runs"]) for p in numbers["policies"]]
        assert sorted(played) == sorted(
            [(name, 2) for name in POLICIES] + [(name, 3) for name in POLICIES if name != "oracle"]
        )
        for found in numbers["policies"]:
            assert found["decisions"] == found["runs"] * TINY.providers * found["slots"]
            assert 0 < found["decide_s"][0] < found["play_s"][0]
        assert [e["policy"] for e in numbers["experiment"]] == list(EXPERIMENT_POLICIES)
        assert [e["of"] for e in numbers["exponents"]] == [sweep.name for sweep in TINY.sweeps]
        assert numbers["memory"]["peak_mb"] > 0
        assert numbers["memory"]["soak_mb"] < 5

    def test_says_what_the_numbers_depend_on(self, tiny):
        _, text, numbers = tiny
        there = find_spec("numba") is not None
        assert (numbers["machine"]["numba"] is not None) is there
        assert ("Path measured: NumPy" in text) is not there
        assert ("Path measured: loops compiled by numba" in text) is there
        for name in ("cpu", "cores", "python", "system"):
            assert numbers["machine"][name]
        assert numbers["machine"]["versions"]["numpy"] == np.__version__
        assert numbers["setting"] == asdict(TINY)

    def test_total_profit_is_that_of_play(self, tiny):
        _, _, numbers = tiny
        scenario = Scenario.load("paper", slots=TINY.experiment_slots)
        for found in numbers["experiment"]:
            run = play(scenario, load_policy(found["policy"]), range(TINY.experiment_runs))
            assert found["profit"] == pytest.approx(run.profit.sum())


class TestCommand:
    def test_options_reach_the_setting(self, tmp_path, monkeypatch):
        asked = []

        def fake(out, setting):
            asked.append((out, setting))
            return "a table", {"a": 1}

        monkeypatch.setattr(job, "run_speed", fake)
        options = ["--providers", "3", "--workers", "7", "--seconds", "0.5", "--out", str(tmp_path)]
        answer = CliRunner().invoke(app, ["speed", "--quick", "--json", *options])
        assert answer.exit_code == 0, answer.output
        assert json.loads(answer.stdout) == {"a": 1}
        answer = CliRunner().invoke(app, ["speed"])
        assert answer.exit_code == 0, answer.output
        assert answer.stdout.startswith("a table\n")
        quick = replace(QUICK, providers=3, workers=7, window_s=0.5)
        assert [setting for _, setting in asked] == [quick, FULL]
        assert asked[0][0] == tmp_path

    @pytest.mark.parametrize("option", ["--providers", "--workers", "--seconds"])
    def test_zero_is_refused(self, option):
        answer = CliRunner().invoke(app, ["speed", option, "0"])
        assert answer.exit_code == 2


def best(timings):
    """Agent-steps per second of the best round of each form: other processes only slow down."""
    return {found.form: found.rate.max() for found in timings}


class TestGuards:
    """Ratios with wide margins: a slip to row-by-row work shows, a busy machine does not.

    ``benchmark`` keeps the times (under pytest-xdist it only runs once); the ratios are of
    alternating windows of their own.
    """

    def test_vector_beside_sync_and_kernel(self, benchmark):
        setting = replace(QUICK, window_s=0.02)
        vector = vector_contender(setting, 1024)
        benchmark.pedantic(vector.run, args=(5,), rounds=5)
        contenders = [
            kernel_contender(setting, 1024),
            vector,
            vector_contender(setting, 64, "sync"),
        ]
        rates = best(alternate("guard", contenders, rounds=6, window_s=0.02))
        assert rates[VECTOR] >= 5 * rates[SYNC]
        assert rates[VECTOR] >= 0.1 * rates[KERNEL]

    def test_batched_play_beside_run_by_run(self, benchmark):
        scenario = Scenario.load("paper", slots=60)
        seeds = range(20)

        def batched():
            play(scenario, load_policy("ucb"), seeds)

        def single():
            for seed in seeds:
                play_parallel(scenario, load_policy("ucb"), seed)

        benchmark.pedantic(batched, rounds=3)
        took = {batched: [], single: []}
        for turn in range(3):
            for way in (batched, single) if turn % 2 else (single, batched):
                took[way].append(timed(way))
        assert min(took[single]) >= 5 * min(took[batched])
