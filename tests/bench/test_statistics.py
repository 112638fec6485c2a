"""Statistics equal those of scipy, what a hand works out, and what the definitions promise."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from distmllm_bench import statistics
from distmllm_bench.statistics import (
    Interval,
    complete,
    iqm,
    mean_and_sd,
    normalised,
    optimality_gap,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
    t_quantile,
)

FEW = 50  # replicates, where their number does not matter
VALUES = st.integers(-4, 4).map(lambda x: x / 4)  # ties, and sums without rounding


def mean(*samples):
    """Mean of the first sample minus that of the second, if there is one."""
    first, *rest = (sample.mean(axis=(-2, -1)) for sample in samples)
    return first - rest[0] if rest else first


def ends(interval):
    return interval.low, interval.high


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@st.composite
def pairs(draw):
    """Two samples of the same shape, with ties."""
    runs, scenarios = draw(st.integers(2, 6)), draw(st.integers(1, 3))
    values = st.lists(VALUES, min_size=runs * scenarios, max_size=runs * scenarios)
    return tuple(np.reshape(draw(values), (runs, scenarios)) for _ in "ab")


# Every function that makes an interval, as one number per end.
INTERVALS = {
    "mean": lambda a, b, **kw: stratified_bootstrap(mean, a, **kw),
    "iqm": lambda a, b, **kw: stratified_bootstrap(partial(iqm, axis=(-2, -1)), a, **kw),
    "unpaired": lambda a, b, **kw: stratified_bootstrap(mean, a, b, paired=False, **kw),
    "difference": paired_difference,
    "improvement": probability_of_improvement,
    "improvement by run": partial(probability_of_improvement, paired=True),
    "profile": lambda a, b, **kw: performance_profile(a, [-0.5, 0.5], **kw),
}
every_interval = pytest.mark.parametrize("interval", INTERVALS.values(), ids=INTERVALS.keys())


# --- Averages.


@pytest.mark.parametrize("n", range(1, 14))
def test_iqm_is_the_trimmed_mean_of_scipy(n):
    values = normal(n, seed=n) ** 3
    assert iqm(values) == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-12)


def test_iqm_along_axes_is_the_trimmed_mean_of_scipy():
    values = normal(5, 7, 3)
    assert iqm(values) == pytest.approx(stats.trim_mean(values.ravel(), 0.25))
    assert iqm(values, axis=0) == pytest.approx(stats.trim_mean(values, 0.25, axis=0))
    over_all = stats.trim_mean(values.reshape(5, 21), 0.25, axis=1)
    assert iqm(values, axis=(-2, -1)) == pytest.approx(over_all)
    assert iqm(values, axis=(2, 1)) == pytest.approx(over_all)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([0.0, 3.0, 6.0], 3.0),  # nothing is cut
        ([100.0, 2.0, 4.0, -100.0], 3.0),  # one at either end
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 99.0], 4.0),  # still one
        ([-50.0, -9.0, 1.0, 2.0, 3.0, 6.0, 70.0, 99.0], 3.0),  # two
    ],
)
def test_iqm_by_hand(values, expected):
    assert iqm(np.array(values)) == pytest.approx(expected)


def test_optimality_gap_by_hand():
    scores = np.array([[0.5, 1.5], [0.25, -0.25]])
    assert optimality_gap(scores) == pytest.approx((0.5 + 0.0 + 0.75 + 1.25) / 4)
    assert optimality_gap(scores, axis=0) == pytest.approx([0.625, 0.625])
    assert optimality_gap(scores, target=0.5) == pytest.approx((0.25 + 0.75) / 4)


def test_mean_and_sd_are_those_of_each_scenario_between_runs():
    means, sds = mean_and_sd(np.array([[1.0, 10.0], [2.0, 10.0], [6.0, 13.0]]))
    assert means == pytest.approx([3.0, 11.0])
    assert sds == pytest.approx([math.sqrt(14 / 2), math.sqrt(6 / 2)])


# --- Normalised scores and gaps.


def test_normalised_by_hand():
    score = np.array([[5.0, 1.0, 7.0], [-1.0, 2.0, 7.0]])
    floor, ceiling = np.array([1.0, 2.0, 7.0]), np.array([3.0, 2.0, 6.0])
    shares = normalised(score, floor, ceiling)
    assert shares[:, 0] == pytest.approx([2.0, -1.0])
    assert np.isnan(shares[:, 1:]).all()  # nothing to win: ceiling = floor, ceiling < floor
    assert normalised(3.0, 2.0, 6.0) == 0.25


@given(pairs(), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_floor_is_zero_and_ceiling_is_one_whatever_the_unit(samples, shift, scale):
    score, floor = samples
    ceiling = floor + 1.0
    assert (normalised(floor, floor, ceiling) == 0.0).all()
    assert (normalised(ceiling, floor, ceiling) == 1.0).all()
    moved = normalised(score * scale + shift, floor * scale + shift, ceiling * scale + shift)
    assert moved == pytest.approx(normalised(score, floor, ceiling), abs=1e-5)


def test_complete_runs_are_finite_in_all_scenarios_of_all_samples():
    a, b = np.zeros((5, 2)), np.ones((5, 2))
    a[1, 0], b[3, 1], b[4, 0] = math.nan, math.nan, -math.inf
    assert complete(a).tolist() == [True, False, True, True, True]
    assert complete(a, b).tolist() == [True, False, True, False, False]
    assert complete(a, b).dtype == bool
    kept = complete(a, b)
    assert paired_difference(a[kept], b[kept], replicates=FEW).estimate == -1.0


# --- The bootstrap.


@pytest.mark.parametrize(
    ("level", "low", "high"),
    [(0.4, 0.5, 0.5), (0.9, 0.0, 1.0)],  # quantiles 0.3 and 0.7; 0.05 and 0.95
)
def test_interval_by_enumeration(level, low, high):
    # Two runs, 0 and 1: the mean of a resample is 0, 0.5, 1 with probability 1/4, 1/2, 1/4.
    scores = np.array([[0.0], [1.0]])
    interval = stratified_bootstrap(mean, scores, level=level)
    assert interval == Interval(0.5, low, high, level)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_of_one_scenario_is_that_of_scipy(level):
    scores = np.exp(normal(30, 1))
    ours = stratified_bootstrap(mean, scores, level=level, replicates=20_000)
    theirs = stats.bootstrap(
        (scores[:, 0],),
        np.mean,
        vectorized=True,
        method="percentile",
        confidence_level=level,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    )
    # An end has a Monte Carlo error of about 0.02 standard errors of the mean.
    tolerance = 0.1 * theirs.standard_error
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=tolerance)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=tolerance)


@pytest.mark.parametrize("paired", [True, False])
def test_interval_of_two_samples_is_that_of_scipy(paired):
    common = 3 * normal(25, 1)
    a, b = common + normal(25, 1, seed=1), common + normal(25, 1, seed=2)
    ours = stratified_bootstrap(mean, a, b, paired=paired, replicates=20_000)
    theirs = stats.bootstrap(
        (a[:, 0], b[:, 0]),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        vectorized=True,
        paired=paired,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    )
    tolerance = 0.1 * theirs.standard_error
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=tolerance)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=tolerance)


class Recorder:
    """A statistic that keeps the resampled arrays it was given."""

    def __init__(self):
        self.chunks = []

    def __call__(self, *samples):
        if len(samples[0]) > 1:  # not the estimate
            self.chunks.append(samples)
        return mean(samples[0])

    def sample(self, i):
        return np.concatenate([chunk[i] for chunk in self.chunks])


# Row r of scenario k scores 10 k + r; b is a plus 1000.
LABELS = np.arange(4.0)[:, None] + 10.0 * np.arange(3)


@pytest.mark.parametrize("whole_runs", [True, False])
@pytest.mark.parametrize("paired", [True, False])
def test_what_is_resampled(paired, whole_runs):
    seen = Recorder()
    stratified_bootstrap(seen, LABELS, LABELS + 1000, paired=paired, whole_runs=whole_runs)
    a, b = seen.sample(0), seen.sample(1) - 1000
    assert a.shape == b.shape == (2000, 4, 3)
    assert (a // 10 == np.arange(3)).all()  # scenarios never mix
    assert (b // 10 == np.arange(3)).all()
    assert (a == b).all() == paired
    for runs in (a % 10, b % 10):
        assert (runs == runs[..., :1]).all() == whole_runs
        for r in range(4):  # every run is as likely as any other, in every place
            assert (runs == r).mean(axis=0) == pytest.approx(np.full((4, 3), 0.25), abs=0.05)
    if not paired:  # and knows nothing of the other sample
        assert abs(np.corrcoef((a % 10).ravel(), (b % 10).ravel())[0, 1]) < 0.05
    if not whole_runs:  # nor of the other scenarios
        assert np.abs(np.corrcoef((a % 10).reshape(-1, 3).T) - np.eye(3)).max() < 0.05


def test_columns_of_different_constants_have_no_width():
    scores = np.broadcast_to([0.1, 1000.3, -7.7], (20, 3))
    for whole_runs in (True, False):
        interval = stratified_bootstrap(mean, scores, whole_runs=whole_runs)
        assert interval.low == interval.high == pytest.approx(interval.estimate, rel=1e-15)


def test_scenarios_are_resampled_independently_unless_whole_runs_are():
    scores = np.array([[0.0, 1.0], [1.0, 0.0]] * 5)  # every run has the mean 0.5
    apart = stratified_bootstrap(mean, scores)
    assert apart.low < 0.5 < apart.high
    assert ends(stratified_bootstrap(mean, scores, whole_runs=True)) == (0.5, 0.5)


def test_samples_that_are_not_paired_may_differ_in_runs():
    a, b = normal(6, 2) + 1.0, normal(9, 2, seed=1)
    interval = stratified_bootstrap(mean, a, b, paired=False)
    assert interval.low < a.mean() - b.mean() < interval.high


@every_interval
def test_same_seed_same_interval_and_the_global_generator_is_left_alone(interval):
    a, b = normal(8, 3), normal(8, 3, seed=1)
    before = np.random.get_state()  # noqa: NPY002
    first, again, *others = (str(interval(a, b, replicates=FEW, seed=s)) for s in (3, 3, 4, 5, 6))
    after = np.random.get_state()  # noqa: NPY002
    assert first == again
    assert set(others) != {first}
    assert (before[1] == after[1]).all()
    assert before[2:] == after[2:]


@pytest.mark.parametrize("chunk", [1, 7 * 24, 24 * (FEW - 1), 24 * FEW])
@every_interval
def test_chunks_change_no_number(interval, chunk, monkeypatch):
    a, b = normal(8, 3), normal(8, 3, seed=1)
    for whole_runs in (False, True):
        whole = interval(a, b, replicates=FEW, whole_runs=whole_runs)
        with monkeypatch.context() as patch:
            patch.setattr(statistics, "CHUNK", chunk)
            assert str(interval(a, b, replicates=FEW, whole_runs=whole_runs)) == str(whole)


def test_chunks_bound_the_memory():
    seen = Recorder()
    stratified_bootstrap(seen, normal(100, 50), replicates=120)
    assert max(chunk[0].size for chunk in seen.chunks) <= statistics.CHUNK
    assert seen.sample(0).shape == (120, 100, 50)


@every_interval
def test_a_higher_level_is_wider(interval):
    a, b = normal(12, 3), normal(12, 3, seed=1)
    narrow, wide = (interval(a, b, level=level, replicates=500) for level in (0.5, 0.99))
    assert (narrow.level, wide.level) == (0.5, 0.99)
    assert np.all(wide.low < narrow.low)
    assert np.all(narrow.high < wide.high)


def coverage(draw, interval, truth):
    """Share of 300 data sets whose interval holds the truth."""
    rng = np.random.default_rng(0)
    found = [interval(draw(rng)) for _ in range(300)]
    return sum(one.low <= truth <= one.high for one in found) / len(found)


def test_95_percent_intervals_hold_the_mean_in_about_95_percent():
    def draw(rng):
        return rng.normal(loc=[1.0, 20.0, -3.0], scale=[1.0, 2.0, 0.5], size=(20, 3))

    assert 0.88 < coverage(draw, lambda x: stratified_bootstrap(mean, x, replicates=400), 6) < 0.99


def test_where_scenarios_share_their_luck_only_whole_runs_keep_the_level():
    def draw(rng):  # correlation 0.8, 6 scenarios: the standard error is sqrt(5) times as large
        return 2.0 * rng.normal(size=(20, 1)) + rng.normal(size=(20, 6))

    def interval(whole_runs):
        return partial(stratified_bootstrap, mean, whole_runs=whole_runs, replicates=200)

    assert 0.88 < coverage(draw, interval(True), 0.0) < 0.99
    assert coverage(draw, interval(False), 0.0) < 0.75


def test_intervals_of_the_improvement_hold_it_too():
    # Runs of a are N(1, 1), of b N(0, 1): P(a > b) = Phi(1 / sqrt(2)), paired or not.
    def draw(rng):
        return rng.normal(1.0, size=(20, 3)), rng.normal(size=(20, 3))

    truth = stats.norm.cdf(1 / math.sqrt(2))
    for paired in (True, False):

        def interval(samples, paired=paired):
            return probability_of_improvement(*samples, paired=paired, replicates=200)

        assert 0.88 < coverage(draw, interval, truth) < 0.99


# --- Differences.


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_students_interval_is_that_of_scipy(level):
    a, b = normal(12, 1), normal(12, 1, seed=1)
    ours = paired_difference(a, b, method="student", level=level)
    theirs = stats.ttest_rel(a[:, 0], b[:, 0]).confidence_interval(level)
    assert ends(ours) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert (ours.estimate, ours.level) == (pytest.approx((a - b).mean()), level)


def test_students_interval_by_hand():
    # mean 3, sd 1, error 1 / sqrt(3); t of 2 degrees of freedom is 4.302653
    interval = paired_difference([[12.0], [3.0], [24.0]], [[10.0], [0.0], [20.0]], method="student")
    assert interval.estimate == 3.0
    assert ends(interval) == pytest.approx((0.515862, 5.484138), abs=1e-6)


def test_paired_difference_is_the_bootstrap_of_the_pairs():
    a, b = normal(10, 3), normal(10, 3, seed=1)
    for whole_runs in (True, False):
        ours = paired_difference(a, b, seed=5, whole_runs=whole_runs)
        pair = stratified_bootstrap(mean, a, b, seed=5, whole_runs=whole_runs)
        assert (ours.estimate, *ends(ours)) == pytest.approx((pair.estimate, *ends(pair)))


def test_what_worlds_differ_by_drops_out_of_pairs():
    world = 100 * normal(10, 2)
    interval = paired_difference(world + 0.5, world)
    assert (interval.estimate, *ends(interval)) == pytest.approx((0.5, 0.5, 0.5))


@given(pairs())
def test_paired_difference_is_antisymmetric(samples):
    a, b = samples
    methods = ("bootstrap", "student") if a.shape[1] == 1 else ("bootstrap",)
    for method in methods:
        there = paired_difference(a, b, method=method, replicates=FEW)
        back = paired_difference(b, a, method=method, replicates=FEW)
        assert back.estimate == -there.estimate
        assert ends(back) == pytest.approx((-there.high, -there.low), abs=1e-12)


@given(pairs())
def test_equal_samples_differ_by_nothing_for_certain(samples):
    a, _ = samples
    assert paired_difference(a, a, replicates=FEW) == Interval(0.0, 0.0, 0.0, 0.95)
    again = paired_difference(a[:, :1], a[:, :1], method="student")
    assert again == Interval(0.0, 0.0, 0.0, 0.95)
    even = probability_of_improvement(a, a, paired=True, replicates=FEW)
    assert even == Interval(0.5, 0.5, 0.5, 0.95)
    assert probability_of_improvement(a, a, replicates=FEW).estimate == pytest.approx(0.5)


# --- Probability of improvement.


@pytest.mark.parametrize("runs", [(8, 8), (5, 9)])
@pytest.mark.parametrize("ties", [True, False])
def test_improvement_is_the_u_of_mann_and_whitney(ties, runs):
    a, b = normal(runs[0], 3) + 0.3, normal(runs[1], 3, seed=1)
    if ties:
        a, b = np.round(a), np.round(b)
        assert (a[:, None] == b).any()
    shares = [
        stats.mannwhitneyu(a[:, k], b[:, k]).statistic / (runs[0] * runs[1]) for k in range(3)
    ]
    ours = probability_of_improvement(a, b, replicates=FEW)
    assert ours.estimate == pytest.approx(np.mean(shares), rel=1e-12)


def test_the_interval_of_the_improvement_is_that_of_u_of_what_is_resampled():
    a, b = np.round(normal(5, 3), 1), np.round(normal(7, 3, seed=1), 1)

    def share(x, y):
        return stats.mannwhitneyu(x, y, axis=-2, method="asymptotic").statistic.mean(axis=-1) / 35

    for whole_runs in (True, False):
        kw = {"whole_runs": whole_runs, "replicates": 200, "seed": 3}
        ours = probability_of_improvement(a, b, **kw)
        theirs = stratified_bootstrap(share, a, b, paired=False, **kw)
        assert ends(ours) == pytest.approx(ends(theirs), rel=1e-12)
        assert 0 < ours.low < ours.estimate < ours.high < 1


def test_the_interval_of_the_improvement_by_run_is_that_of_a_share_of_runs():
    a, b = np.round(normal(15, 3)), np.round(normal(15, 3, seed=1))
    wins = np.where(a == b, 0.5, a > b)
    for whole_runs in (True, False):
        ours = probability_of_improvement(a, b, paired=True, whole_runs=whole_runs)
        theirs = stratified_bootstrap(mean, wins, whole_runs=whole_runs)
        assert ours.estimate == pytest.approx(theirs.estimate)
        assert ends(ours) == pytest.approx(ends(theirs))


def test_improvement_by_hand():
    a = np.array([[1.0, 5.0], [2.0, 5.0]])
    b = np.array([[0.5, 5.0], [1.5, 6.0]])

    def improvement(b, paired):
        return probability_of_improvement(a, b, paired=paired, replicates=FEW).estimate

    # All pairs: a wins three of four in scenario 1; two ties are half of two in scenario 2.
    assert improvement(b, paired=False) == improvement(b[::-1], paired=False) == (3 / 4 + 1 / 4) / 2
    # By run: both, and a tie; with the runs of b exchanged one of two, and a tie.
    assert improvement(b, paired=True) == (2 / 2 + 0.5 / 2) / 2
    assert improvement(b[::-1], paired=True) == (1 / 2 + 0.5 / 2) / 2


def test_a_policy_better_in_every_pair_is_better_for_certain():
    b = normal(6, 3)
    for paired in (True, False):
        kw = {"paired": paired, "replicates": FEW}
        assert probability_of_improvement(b + 10, b, **kw) == Interval(1.0, 1.0, 1.0, 0.95)
        assert probability_of_improvement(b, b + 10, **kw) == Interval(0.0, 0.0, 0.0, 0.95)
    by_run = probability_of_improvement(b + 1e-9, b, paired=True, replicates=FEW)
    assert by_run.estimate == 1.0


@given(pairs(), st.booleans())
def test_improvement_and_its_reverse_add_up_to_one(samples, paired):
    a, b = samples
    there = probability_of_improvement(a, b, paired=paired, replicates=FEW)
    back = probability_of_improvement(b, a, paired=paired, replicates=FEW)
    assert there.estimate + back.estimate == pytest.approx(1.0, abs=1e-12)
    assert 0.0 <= there.low <= there.high <= 1.0
    if paired:  # the same draws
        assert ends(back) == pytest.approx((1 - there.high, 1 - there.low), abs=1e-12)


# --- Profiles.


def test_profile_by_hand():
    scores = np.array([[0.1, 0.9], [0.3, 0.9]])
    profile = performance_profile(scores, [0.0, 0.1, 0.5, 0.9])
    assert profile.share.tolist() == [1.0, 0.75, 0.5, 0.0]  # above, not at the threshold
    # At 0.1: a resample of scenario 1 has 0, 1 or 2 of 2 runs above, scenario 2 always both.
    assert profile.low.tolist() == [1.0, 0.5, 0.5, 0.0]
    assert profile.high.tolist() == [1.0, 1.0, 0.5, 0.0]
    assert (profile.thresholds.tolist(), profile.level) == ([0.0, 0.1, 0.5, 0.9], 0.95)


def test_the_band_at_a_threshold_is_the_interval_of_the_share():
    scores = normal(9, 3)
    for whole_runs in (True, False):
        profile = performance_profile(scores, [-1.0, 0.2], whole_runs=whole_runs, seed=2)
        for t, threshold in enumerate(profile.thresholds):
            above = scores > threshold
            alone = stratified_bootstrap(mean, above, whole_runs=whole_runs, seed=2)
            band = (profile.share[t], profile.low[t], profile.high[t])
            assert band == pytest.approx((alone.estimate, *ends(alone)))


def test_the_area_under_the_profile_is_the_target_less_the_optimality_gap():
    scores = np.random.default_rng(0).random((7, 3)) * 1.5
    middles = (np.arange(4000) + 0.5) / 4000
    area = performance_profile(scores, middles, replicates=2).share.mean()
    assert area == pytest.approx(1 - optimality_gap(scores), abs=1e-3)


@given(pairs(), st.lists(VALUES, min_size=1, max_size=6))
def test_profiles_fall_with_the_threshold_between_one_and_zero(samples, thresholds):
    profile = performance_profile(samples[0], np.sort(thresholds), replicates=FEW)
    for curve in (profile.share, profile.low, profile.high):
        assert (np.diff(curve) <= 0).all()
        assert ((curve >= 0) & (curve <= 1)).all()
    assert (profile.low <= profile.high).all()


# --- All of them.


@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_runs_does_not_matter(samples, random):
    a, b = samples
    order = random.sample(range(len(a)), len(a))
    other = random.sample(range(len(a)), len(a))

    def numbers(a, b, c):
        return [
            iqm(a),
            optimality_gap(a),
            *np.concatenate(mean_and_sd(a)),
            paired_difference(a, b, replicates=2).estimate,
            probability_of_improvement(a, b, paired=True, replicates=2).estimate,
            probability_of_improvement(a, c, replicates=2).estimate,
            *performance_profile(a, [-0.5, 0.0, 0.5], replicates=2).share,
        ]

    assert numbers(a, b, b) == pytest.approx(numbers(a[order], b[order], b[other]), abs=1e-12)


@given(pairs())
def test_every_replicate_of_a_mean_lies_between_the_extreme_means(samples):
    scores, _ = samples
    interval = stratified_bootstrap(mean, scores, replicates=FEW)
    assert interval.low <= interval.high
    assert scores.min(axis=0).mean() - 1e-12 <= interval.low
    assert interval.high <= scores.max(axis=0).mean() + 1e-12


def test_intervals_hold_the_estimate_of_a_mean():
    for seed in range(20):
        interval = stratified_bootstrap(mean, normal(5, 2, seed=seed) ** 3)
        assert interval.low < interval.estimate < interval.high


# --- What is refused.


def calls(scores):
    """Return every function with a bad argument, and the name that the message must have."""
    good = np.zeros((3, 1))
    bootstrap = partial(stratified_bootstrap, mean)
    return {
        "bootstrap": ("samples[0]", partial(bootstrap, scores, good)),
        "bootstrap second": ("samples[1]", partial(bootstrap, good, scores, paired=False)),
        "mean and sd": ("scores", partial(mean_and_sd, scores)),
        "difference": ("a", partial(paired_difference, scores, good)),
        "difference second": ("b", partial(paired_difference, good, scores)),
        "student": ("a", partial(paired_difference, scores, good, method="student")),
        "improvement": ("a", partial(probability_of_improvement, scores, good)),
        "improvement second": ("b", partial(probability_of_improvement, good, scores)),
        "profile": ("scores", partial(performance_profile, scores, [0.0])),
    }


NOT_FINITE = calls([[math.nan], [1.0], [-math.inf]]) | {
    "iqm": ("scores", partial(iqm, [1.0, math.nan, math.inf])),
    "gap": ("scores", partial(optimality_gap, [1.0, math.nan, math.inf])),
    "normalised": ("score", partial(normalised, [math.nan, 1.0, math.inf], 0.0, 1.0)),
    "floor": ("floor", partial(normalised, 0.5, [math.nan, 1.0, math.inf], 1.0)),
    "ceiling": ("ceiling", partial(normalised, 0.5, 0.0, [math.nan, 1.0, math.inf])),
    "thresholds": (
        "thresholds",
        partial(performance_profile, [[0.0]] * 2, [0, math.nan, math.inf]),
    ),
}


@pytest.mark.parametrize(("name", "call"), NOT_FINITE.values(), ids=NOT_FINITE.keys())
def test_values_that_are_not_finite_are_counted_and_refused(name, call):
    with pytest.raises(ValueError, match="finite") as caught:
        call()
    expected = f"values of {name} that are not finite = 2 is not allowed: 0 of 3, all must be"
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    "scores",
    [[[1.0, 2.0]], np.zeros((0, 2)), np.zeros((3, 0)), [1.0, 2.0], 3.0, np.zeros((2, 2, 2))],
    ids=["one run", "no run", "no scenario", "(R,)", "()", "(n, R, K)"],
)
@pytest.mark.parametrize("which", calls(None))
def test_shapes_without_an_interval_are_refused(scores, which):
    name, call = calls(scores)[which]
    with pytest.raises(ValueError, match="not allowed") as caught:
        call()
    shape = np.shape(scores)
    assert str(caught.value).startswith(f"shape of {name} = {shape} is not allowed: (R, K), runs")


GOOD = np.zeros((3, 2))
REFUSED = {
    "no sample": (lambda: stratified_bootstrap(mean), "shapes of the samples = []"),
    "no sample, not paired": (
        lambda: stratified_bootstrap(mean, paired=False),
        "scenarios of the samples = []",
    ),
    "runs differ": (
        lambda: stratified_bootstrap(mean, GOOD, GOOD[:2]),
        "shapes of the samples = [(3, 2), (2, 2)]",
    ),
    "runs differ in a difference": (
        lambda: paired_difference(GOOD, GOOD[:2]),
        "shapes of the samples = [(3, 2), (2, 2)]",
    ),
    "runs differ by run": (
        lambda: probability_of_improvement(GOOD, GOOD[:2], paired=True),
        "shapes of the samples = [(3, 2), (2, 2)]",
    ),
    "scenarios differ": (
        lambda: probability_of_improvement(GOOD, GOOD[:, :1]),
        "scenarios of the samples = [2, 1]",
    ),
    "student of scenarios": (
        lambda: paired_difference(GOOD, GOOD, method="student"),
        "scenarios of a and b = 2",
    ),
    "student's level": (
        lambda: paired_difference(GOOD[:, :1], GOOD[:, :1], method="student", level=1.0),
        "level = 1.0",
    ),
    "method": (lambda: paired_difference(GOOD, GOOD, method="bayes"), "method = 'bayes'"),
    "thresholds of two axes": (
        lambda: performance_profile(GOOD, [[0.0]]),
        "shape of thresholds = (1, 1)",
    ),
    "no threshold": (lambda: performance_profile(GOOD, []), "shape of thresholds = (0,)"),
    "iqm of nothing": (lambda: iqm([]), "shape of scores = (0,)"),
    "gap of nothing": (lambda: optimality_gap([]), "shape of scores = (0,)"),
    "target": (lambda: optimality_gap(GOOD, target=math.nan), "values of target that are not"),
    "one run has no sd": (lambda: mean_and_sd(GOOD[:1]), "shape of scores = (1, 2)"),
    "broadcast": (
        lambda: normalised(GOOD, np.zeros(3), np.ones(2)),
        "shapes of score, floor, ceiling = ((3, 2), (3,), (2,))",
    ),
    "complete of nothing": (complete, "shapes of the samples = []"),
    "complete of no table": (lambda: complete(GOOD[0]), "shape of samples[0] = (2,)"),
    "complete of shapes": (
        lambda: complete(GOOD, GOOD[:2]),
        "shapes of the samples = [(3, 2), (2, 2)]",
    ),
    "statistic of everything": (
        lambda: stratified_bootstrap(np.mean, GOOD),
        "shape of statistic for n = 2000 = ()",
    ),
    "statistic of one axis": (
        lambda: stratified_bootstrap(partial(np.mean, axis=-2), GOOD),
        "shape of statistic per replicate = (2,)",
    ),
    "statistic of nothing": (
        lambda: stratified_bootstrap(lambda x: np.full(len(x), math.nan), GOOD),
        "values of statistic that are not finite = 2000",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match="is not allowed: ") as caught:
        call()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("level", 0.0), ("level", 1.0), ("level", -1), ("level", math.nan), ("replicates", 0)],
)
@every_interval
def test_settings_are_checked(interval, setting, value):
    with pytest.raises(ValueError, match=f"^{setting} = {value} is not allowed: "):
        interval(GOOD, GOOD, **{setting: value})


# Two-sided quantiles, from printed tables.
@pytest.mark.parametrize(
    ("freedom", "level", "value"),
    [
        (1, 0.95, 12.7062),
        (1, 0.99, 63.6567),
        (2, 0.95, 4.3027),
        (2, 0.99, 9.9248),
        (5, 0.95, 2.5706),
        (5, 0.99, 4.0321),
        (19, 0.95, 2.0930),
        (19, 0.99, 2.8609),
        (100, 0.95, 1.9840),
        (100, 0.99, 2.6259),
    ],
)
def test_t_quantile_is_that_of_tables(freedom, level, value):
    assert t_quantile(freedom, level) == pytest.approx(value, abs=6e-5)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99, 0.999])
def test_t_quantile_falls_with_the_freedom_to_that_of_the_normal(level):
    values = [t_quantile(freedom, level) for freedom in (*range(1, 60), 1000)]
    assert all(a > b for a, b in pairwise(values))
    assert math.erf(values[-1] / math.sqrt(2)) == pytest.approx(level, abs=1e-3)


@pytest.mark.parametrize("freedom", [1, 2, 7, 30])
def test_t_quantile_rises_with_the_level(freedom):
    values = [t_quantile(freedom, level) for level in (0.01, 0.3, 0.5, 0.9, 0.95, 0.99, 0.9999)]
    assert all(a < b for a, b in pairwise(values))
    assert values[0] > 0
