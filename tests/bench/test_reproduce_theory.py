"""The lemmas and the theorem: small versions, checked against direct computation."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from distmllm_agents.distmllm import DistMLLM
from distmllm_agents.mapping import solve_exact
from distmllm_agents.mapping.problem import OUT
from distmllm_bench.reproduce import theory, theory_hoeffding, theory_theorem
from distmllm_bench.reproduce.evidence import NOT_REPRODUCED, REPRODUCED, Finding, fact
from distmllm_bench.reproduce.lab import Lab
from distmllm_bench.reproduce.theory_theorem import Grown, exponent, gap, growth, sample_range
from distmllm_env import draw_world
from distmllm_env.policy import Feedback, Observation, make_problem

SEEDS = range(3)


@pytest.fixture(scope="module")
def lab():
    return Lab(SEEDS, base={"slots": 20})


@pytest.fixture(scope="module")
def panels(lab):
    return {panel.id: panel for panel in theory.panels(lab, "sd")}


@pytest.fixture(scope="module")
def world():
    return draw_world(theory_theorem.FIVE.load({}), SEEDS)


def readings(panel):
    return {finding.reading: finding.verdict for finding in panel.findings}


def test_panels_and_their_claims(panels):
    assert list(panels) == ["lemma-1", "lemma-2", "lemma-3", "theorem-1", "explore"]
    for id_, panel in panels.items():
        assert {f.claim for f in panel.findings} == {id_ if id_ != "explore" else "theorem-1"}
        assert all(finding.weakest.verdict == finding.verdict for finding in panel.findings)
        assert len(panel.csv().splitlines()) == len(panel.rows) + 1
        assert panel.draw is not None


@pytest.mark.parametrize("id_", ["lemma-1", "lemma-2", "lemma-3", "theorem-1", "explore"])
def test_figures_can_be_drawn(panels, id_):
    assert panels[id_].files()["png"].startswith(b"\x89PNG")


# Lemma 1


def test_misses_are_as_frequent_as_in_a_direct_simulation(world):
    width = sample_range(world)
    single, some = theory_hoeffding.misses(world, width, 1, (2, 4), SEEDS, 400)
    pairs, stages = 25, 2
    rng = np.random.default_rng(77)
    half = math.sqrt(3) * 0.1
    latency, paid = (
        world.latency_s[..., :-1],
        (world.price[:, None, None] * world.energy_j)[..., :-1],
    )
    for i, tau in enumerate((2, 4)):
        noise = rng.uniform(-half, half, (2, 400, tau, *latency.shape))
        error = np.abs((noise[0] * latency + noise[1] * paid).mean(axis=1))
        for j, share in enumerate(theory_hoeffding.FRACTIONS):
            frequency = (error > share * width).mean()
            spread = math.sqrt(max(frequency, 1e-4) / (400 * width.size))
            assert single[i, j] / (400 * width.size) == pytest.approx(frequency, abs=7 * spread)
            limit = (share * width.max(axis=(2, 3)))[..., None, None]
            frequency = (error > limit).any(axis=(3, 4)).mean()
            runs = 400 * stages * len(SEEDS)
            spread = math.sqrt(max(frequency, 1e-3) / runs)
            assert some[i, j] / runs == pytest.approx(frequency, abs=7 * spread)
    assert width.size == pairs * stages * len(SEEDS)


def test_range_of_samples_is_reached_and_never_left(world):
    class Corner:
        def __init__(self, sign):
            self.sign = sign

        def uniform(self, low, high, shape):
            return np.full(shape, self.sign * high)

    most, least = (theory_hoeffding.sampler(world, 1, Corner(sign))()[0] for sign in (-1, 1))
    assert most - least == pytest.approx(sample_range(world))
    sample = theory_hoeffding.sampler(world, 500, np.random.default_rng(0))()
    assert (np.ptp(sample, axis=0) <= sample_range(world)).all()
    assert sample.mean(axis=0) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("visits", [1, 3])
def test_estimates_are_those_of_the_agent(world, visits):
    problem = make_problem(world)
    agent = DistMLLM(explore_slots=visits * problem.workers)
    agent.reset(problem, [np.random.default_rng(s) for s in SEEDS])
    rng = np.random.default_rng(1)
    seen = {}
    for slot in range(3 * visits * problem.workers + 2 + 4):
        allocation = agent.act(Observation(slot))
        profit = rng.uniform(0, 1, allocation.shape)
        if agent.exploring[0]:
            for m, s in itertools.product(range(problem.providers), range(2)):
                seen.setdefault((s, m, int(allocation[0, m, s])), []).append(profit[0, m, s])
        admitted = np.ones_like(allocation, bool)
        agent.update(Feedback(allocation, admitted, profit, np.zeros_like(problem.capacity)))
    assert len(seen) == 2 * problem.providers * problem.workers
    for pair, samples in seen.items():
        assert len(samples) == 3 * visits
        # It asks for one sample first, to learn the shape.
        feed = iter([np.zeros(1), *np.array(samples)[:, None]])
        *_, last = theory_hoeffding.printed_estimates(lambda feed=feed: next(feed), visits, 3)
        assert agent.estimate[(0, *pair)] == pytest.approx(last[0])


def test_one_visit_per_epoch_gives_the_sample_mean():
    samples = iter([0.0, 3.0, 5.0, 10.0])
    found = list(theory_hoeffding.printed_estimates(lambda: np.array(next(samples)), 1, 3))
    assert found == pytest.approx([3.0, 4.0, 6.0])


def test_effective_samples_of_the_printed_estimator():
    rng, visits, epochs = np.random.default_rng(3), 10, 20
    *_, last = theory_hoeffding.printed_estimates(lambda: rng.normal(size=40_000), visits, epochs)
    assert 1 / last.var() == pytest.approx((2 * visits - 1) * epochs / visits, rel=0.03)


def test_frequency_limits():
    for level in (0.95, 0.99):
        upper = theory_hoeffding.frequency_limit(0, 1000, level, upper=True)
        assert upper == pytest.approx(1 - ((1 - level) / 2) ** 1e-3)
        assert theory_hoeffding.frequency_limit(1000, 1000, level, upper=False) == pytest.approx(
            1 - upper
        )
        low, high = (
            theory_hoeffding.frequency_limit(300, 1000, level, upper=u) for u in (False, True)
        )
        assert low < 0.3 < high < 0.36
        assert theory_hoeffding.frequency_limit(0, 9, level, upper=False) == 0.0
        assert theory_hoeffding.frequency_limit(9, 9, level, upper=True) == 1.0


def test_verdict_on_a_bound_follows_the_hits():
    assert theory_hoeffding.below_bound("", 10, 1000, 0.05, 20).verdict == REPRODUCED
    assert theory_hoeffding.below_bound("", 100, 1000, 0.05, 20).verdict == NOT_REPRODUCED
    assert (
        theory_hoeffding.below_bound("", 48, 1000, 0.05, 20).verdict == "undetermined at 20 seeds"
    )


def test_lemma_1_hangs_on_the_range_and_on_how_samples_are_counted(panels):
    verdicts = list(readings(panels["lemma-1"]).values())
    assert verdicts[:2] == [REPRODUCED, REPRODUCED]
    assert verdicts[2] == verdicts[4] == NOT_REPRODUCED


# Lemmas 2 and 3


def every_value(problem):
    """Values of all feasible mappings, and the mappings."""
    items, workers = problem.utility.shape
    for choice in itertools.product(range(OUT, workers), repeat=items):
        load = np.zeros(workers)
        for k, n in enumerate(choice):
            if n != OUT:
                load[n] += problem.weight[k]
        if (load <= problem.capacity[0]).all():
            yield problem.value(np.array(choice)), choice


@pytest.mark.parametrize("seed", range(4))
def test_gap_is_that_of_all_mappings(seed):
    problem = theory.random_problem(np.random.default_rng(seed), 2, 3)
    values = sorted(every_value(problem))
    best = solve_exact(problem, None)
    assert tuple(best.choice) == values[-1][1]
    assert gap(problem, best) == pytest.approx(values[-1][0] - values[-2][0], abs=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_shifted_estimates_are_the_worst(seed):
    problem = theory.random_problem(np.random.default_rng(seed), 2, 2)
    best = solve_exact(problem, None)
    mappings = list(every_value(problem))
    here = {choice: value for value, choice in mappings}
    own = {(k, n) for k, n in enumerate(best.choice.tolist()) if n != OUT}
    critical = math.inf
    for choice, value in here.items():
        apart = own ^ {(k, n) for k, n in enumerate(choice) if n != OUT}
        if apart:
            critical = min(critical, (best.value - value) / len(apart))
    assert gap(theory.shifted(problem, best, 0.999 * critical), best) > 0
    assert gap(theory.shifted(problem, best, 1.001 * critical), best) < 0
    radius = gap(problem, best) / (2 * theory.tasks(problem))
    assert radius <= critical * (1 + 1e-6)
    signs = np.random.default_rng(seed).choice([-radius, radius], problem.utility.shape)
    noisy = replace(problem, utility=problem.utility + signs)
    assert gap(noisy, best) >= gap(theory.shifted(problem, best, radius), best) - 1e-7


def test_both_readings_of_b_bound_what_a_mapping_assigns():
    for seed in range(5):
        problem = theory.random_problem(np.random.default_rng(seed), 2, 2)
        most = max(sum(n != OUT for n in choice) for _, choice in every_value(problem))
        assert most <= min(theory.most_assignments(problem), theory.tasks(problem))


def test_lemma_2_holds_below_the_radius_and_fails_at_it(panels):
    assert list(readings(panels["lemma-2"]).values()) == [REPRODUCED, REPRODUCED, NOT_REPRODUCED]
    assert theory.tied_lead() == 0.0
    rows = panels["lemma-2"].rows
    radius = "eps / (gap / 2B), B = number of tasks"
    assert all(row["mapping changed"] == 0 for row in rows if row[radius] <= 1)
    assert any(row["mapping changed"] > 0 for row in rows if row[radius] > 1)


def test_lemma_2_fails_where_b_is_too_small(lab, monkeypatch):
    monkeypatch.setattr(theory, "most_assignments", lambda problem: 0.1)
    assert theory._lemma_2(lab).findings[0].verdict == NOT_REPRODUCED


def test_lemma_3_holds_for_branch_and_bound_and_not_for_algorithm_2(panels):
    whole, *sequential = panels["lemma-3"].findings
    assert whole.verdict == REPRODUCED
    assert NOT_REPRODUCED in {finding.verdict for finding in sequential}
    for row in panels["lemma-3"].rows:
        assert row["L / optimum"] <= 1 + 1e-9
        assert row["U / optimum"] == "" or row["U / optimum"] >= 1 - 1e-9


@pytest.mark.parametrize("lie", [{"bound": 0.0}, {"value": 1e9}])
def test_lemma_3_fails_for_a_solver_that_is_wrong(monkeypatch, lie):
    honest = theory.solve_branch_and_bound

    def wrong(problem, **options):
        return replace(honest(problem, **options), **lie)

    monkeypatch.setattr(theory, "solve_branch_and_bound", wrong)
    monkeypatch.setattr(theory, "NODES", (0, 1))
    assert theory._lemma_3(Lab(range(2))).findings[0].verdict == NOT_REPRODUCED


def test_sequential_verdict_follows_the_losses():
    assert theory._sequential("", np.zeros(5)).verdict == REPRODUCED
    assert theory._sequential("", np.array([0.0, 0.0, 0.01])).verdict == NOT_REPRODUCED


# Theorem 1

SLOTS = np.arange(1, 1601)


def curves(shape, runs=8):
    return np.random.default_rng(0).uniform(0.9, 1.1, (runs, 1)) * shape


@pytest.mark.parametrize(
    ("shape", "rate", "verdict"),
    [
        (np.log(SLOTS), 0.0, REPRODUCED),
        (SLOTS**0.25, 0.25, REPRODUCED),
        (SLOTS**0.75, 0.75, NOT_REPRODUCED),
        (0.01 * SLOTS, 1.0, NOT_REPRODUCED),
        (np.log(SLOTS) + 0.1 * SLOTS, 0.976, NOT_REPRODUCED),
    ],
)
def test_growth_of_known_curves(shape, rate, verdict):
    found, half = exponent(curves(shape))
    assert found == pytest.approx(rate, abs=0.01)
    assert half < 0.01
    assert growth(curves(shape)).verdict == verdict


def test_growth_interval_covers_mixed_runs():
    mixed = np.concatenate([curves(np.log(SLOTS)), curves(0.01 * SLOTS)])
    rate, half = exponent(mixed)
    assert rate - half < 0.9
    assert half > 0.1
    assert math.isnan(exponent(mixed[:1])[1])


def grown(regret, top=1.0, explore=5, size=(5, 5)):
    batch = len(regret)
    stages = np.stack([regret, regret], axis=2)
    tables = stages, np.full((batch, 2), top), np.full(batch, explore), np.zeros(batch)
    return Grown(*tables, size)


def test_bound_is_the_printed_one():
    # (T_explore + M) N u_max log2(T + 2) + N^2 M u_max at T = 62, and T_explore M for the first.
    runs = grown(np.zeros((2, 62)), top=3.0, explore=10, size=(4, 2))
    assert runs.bound(62) == pytest.approx(np.full((2, 2), 3.0 * ((10 + 4) * 2 * 6 + 16)))
    assert runs.bound(62, "providers") == pytest.approx(np.full((2, 2), 3.0 * (10 * 4 * 6 + 16)))


def test_verdict_on_the_bound_follows_the_regret():
    runs = grown(curves(np.log(SLOTS)))
    assert {part.verdict for part in runs.within()} == {REPRODUCED}
    more = grown(curves(SLOTS.astype(float)))
    assert {part.verdict for part in more.within()} == {NOT_REPRODUCED}


def test_regret_is_split_by_whether_algorithm_2_can_be_optimal():
    runs = replace(grown(curves(np.log(SLOTS), 4)), loss=np.array([0.0, 0.1, 0.0, 0.2]))
    split = theory_theorem.groups(runs, theory_theorem.PRINTED.id)
    assert [which.tolist() for which in split.values()] == [
        [True, False, True, False],
        [False, True, False, True],
    ]
    assert [f.parts[0].runs for f in theory_theorem._findings(("x", "Algorithm 2"), runs)] == [2, 2]


def test_regret_without_noise_is_exploration_alone_or_grows_by_what_algorithm_2_loses(lab):
    key = theory_theorem.QUIET.id
    runs = theory_theorem._play(lab)
    exact, printed = (runs[key, who.id] for who in (theory_theorem.EXACT, theory_theorem.PRINTED))
    assert exact.explore.tolist() == [5, 5, 5]
    assert exact.total.shape[1] == 20 * theory_theorem.LONGER
    assert exponent(exact.total)[0] < 0.2
    # Slots 600 to 800 lie within one exploitation of 512.
    slope = (printed.total[:, 799] - printed.total[:, 599]) / 200
    assert slope == pytest.approx(printed.loss, abs=1e-6)


def test_printed_bound_breaks_where_providers_outnumber_workers():
    as_printed, corrected = theory_theorem._letters(Lab(SEEDS))
    assert as_printed.verdict == NOT_REPRODUCED
    assert corrected.verdict == REPRODUCED


def test_exploration_that_the_proof_asks_for_does_not_fit(lab):
    found = theory_theorem._affordable(lab)
    assert found.verdict == NOT_REPRODUCED
    assert Finding("", "", (fact("", -found.parts[0].effect),)).verdict == REPRODUCED


def test_panels_do_not_change_from_call_to_call(lab, panels):
    for name, build in (("lemma-1", theory_hoeffding.panel), ("lemma-2", theory._lemma_2)):
        assert build(lab).csv() == panels[name].csv()
