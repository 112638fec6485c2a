"""The report of a sweep: its numbers worked out anew from results.csv; nothing undone is hidden."""

import csv
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from distmllm_bench import style
from distmllm_bench.page import inline_svg
from distmllm_bench.report import drawing, latex
from distmllm_bench.report.comparison import Comparison, interval
from distmllm_bench.report.document import document
from distmllm_bench.report.markdown import summary
from distmllm_bench.report.markets import POINTS, Band, MarketView
from distmllm_bench.report.names import LONGEST, Names
from distmllm_bench.report.origins import facts
from distmllm_bench.report.run import text, write_report
from distmllm_bench.report.tables import Cell as TableCell
from distmllm_bench.report.undone import ranges
from distmllm_bench.sweep.cells import Cell, Store
from distmllm_bench.sweep.planning import make_plan
from distmllm_bench.sweep.playing import play_job
from distmllm_bench.sweep.results import Results
from distmllm_bench.sweep.suite import Entrant, Market, Suite

HOSTILE = "</script><b>x"
ODD = 'a|b*c_d $e$ "f", ../\N{SNOWMAN}\x1b'
ODD_MARKET = "../odd <b>&\" 'name'"
RUNS = 4
T_3 = 3.182446  # Student's t, 3 degrees of freedom, 95 % on both sides; from a table

OUTSIDE = '''
import numpy as np


class Sticky:
    """A random place for every task, kept for ever."""

    def reset(self, problem, rng):
        self.choice = rng.integers(problem.workers, size=(1, problem.providers, 2))

    def act(self, observation):
        return self.choice

    def update(self, feedback):
        pass


class Flaky(Sticky):
    """Raises late in every other run, or so."""

    def reset(self, problem, rng):
        super().reset(problem, rng)
        self.fails = rng.random() < 0.5

    def act(self, observation):
        if self.fails and observation.slot > 10:
            raise RuntimeError("lost <i>the</i> thread | & gave up")
        return self.choice


class Broken(Sticky):
    def reset(self, problem, rng):
        raise ValueError("cannot start")
'''


def played(folder, suite):
    """Play a suite and keep it as distmllm bench does."""
    with pytest.MonkeyPatch.context() as patch:
        source = folder.parent / f"{folder.name}-source"
        source.mkdir(exist_ok=True)
        (source / "report_outside.py").write_text(OUTSIDE)
        patch.syspath_prepend(str(source))
        plan = make_plan(suite, command=f"distmllm bench {suite.name} <tag>")
        plan.write(folder)
        store = Store(folder / "cells")
        for job in plan.jobs({cell.key for cell in plan.cells}, 10, 60.0):
            for key, result in zip(job.keys, play_job(job), strict=True):
                store.put(key, result)
    return folder


def small(policies, markets=("toy",), runs=2, slots=12):
    markets = tuple(Market.from_value(market, "") for market in markets)
    entrants = tuple(Entrant.from_value(policy, "") for policy in policies)
    return Suite("small", "For <tests> & nothing else.", markets, entrants, runs, slots=slots)


def outside(name, **more):
    return {"policy": f"report_outside:{name}", **more}


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Small bitmaps are drawn sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "DPI", 40)
        yield


@pytest.fixture(scope="module")
def written(once):
    """A sweep and what was told of its report, made once for all xdist workers."""
    suite = small(
        [
            "heu",
            "ucb",
            {"policy": "ucb", "id": "twin"},
            {"policy": "ucb-sigma", "id": HOSTILE},
            outside("Flaky"),
            {"policy": "monolithic", "id": ODD},
        ],
        markets=["toy", {"scenario": "paper", "id": ODD_MARKET}],
        runs=RUNS,
        slots=25,
    )
    return once("report", lambda folder: write_report(played(folder / "sweep", suite)))


@pytest.fixture(scope="module")
def sweep(written):
    return written[0] / "sweep"


@pytest.fixture(scope="module")
def report(written):
    return written[1]


@pytest.fixture(scope="module")
def rows(report):
    return read_csv(report["results"])


def read(path):
    return Path(path).read_text("utf-8")


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows, name, scenario, policy):
    """One number per seed, from results.csv."""
    found = [r for r in rows if (r["scenario"], r["policy"]) == (scenario, policy)]
    return np.array([float(r[name]) for r in found if r["status"] == "done"])


def scores(rows, policy, slots=25):
    """(R, K): 0 as random, 1 as the optimum."""
    columns = []
    for scenario in ("toy", ODD_MARKET):
        floor = column(rows, "expected_profit", scenario, "random")
        best = slots * column(rows, "optimum", scenario, "random")
        earned = column(rows, "expected_profit", scenario, policy)
        columns.append((earned - floor) / (best - floor))
    return np.stack(columns, axis=1)


def trimmed(values):
    """Interquartile mean."""
    ordered = sorted(values.ravel())
    cut = len(ordered) // 4
    return sum(ordered[cut : len(ordered) - cut]) / (len(ordered) - 2 * cut)


class Page(HTMLParser):
    """Tables as text, ids, what attributes refer to, pictures."""

    def __init__(self, source):
        super().__init__()
        self.tables, self.ids, self.refers, self.figures, self.tags = [], [], [], [], set()
        self.words = []
        self._cell = None
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        self.ids += [given["id"]] if "id" in given else []
        for name, value in attrs:
            self.refers += re.findall(r"url\(#([^)]*)\)", value or "")
            self.refers += [value[1:]] if name == "href" and value.startswith("#") else []
            assert name != "style"
            assert name != "src"
            assert name != "href" or value.startswith("#")
        if tag == "figure":
            self.figures.append({})
        if tag == "svg":
            self.figures[-1] = given
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        self.words.append(data)
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self._cell)
            self._cell = None

    def table(self, first_head):
        return [table for table in self.tables if table[0][0] == first_head]

    def undone(self):
        """The rows of the box that says which cells are undone."""
        return next(table[1:] for table in self.tables if table[0][1] == "scenarios")

    def row(self, first_head, name):
        """The one row of a name in all tables that begin with this head."""
        found = [row for table in self.table(first_head) for row in table if row[0] == name]
        assert len(found) == 1
        return found[0]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page(report):
    return Page(read(report["report"]))


def board(report):
    return {row["policy"]: row for row in report["leaderboard"]}


@pytest.mark.parametrize("policy", ["heu", "ucb", "twin", HOSTILE, ODD])
def test_leaderboard_holds_the_numbers_of_results_csv(report, rows, page, policy):
    table = scores(rows, policy)
    row = board(report)[policy]
    assert row["score"] == pytest.approx(trimmed(table), abs=1e-8)
    assert row["mean"] == pytest.approx(table.mean(), abs=1e-8)
    missing = np.where(table < 1, 1 - table, 0).mean()
    assert row["optimality_gap"] == pytest.approx(missing, abs=1e-8)
    share = [
        column(rows, "profit", s, policy) / (25 * column(rows, "optimum", s, policy))
        for s in ("toy", ODD_MARKET)
    ]
    assert row["of_optimum"] == pytest.approx(np.mean(share))
    assert row["low"] <= row["score"] <= row["high"]

    name = {"heu": "HEU", "ucb": "UCB (range)", ODD: ODD.replace("\x1b", "\ufffd")}.get(
        policy, policy
    )
    tables = [t for t in page.table("policy") if t[0][1] == "rank"]
    shown = next(r for t in tables for r in t if r[0] == name)
    told = [f"{x:z.3f}" for x in (trimmed(table), row["low"], row["high"], table.mean(), missing)]
    assert shown[1] == str(row["rank"])
    assert shown[2] == f"{told[0]} [{told[1]}, {told[2]}]"
    assert shown[3:5] == told[3:]
    assert shown[5] == f"{np.mean(share):.1%}"


def test_ranks_go_by_score_within_a_division_and_equals_share_one(report):
    by_division = {}
    for row in report["leaderboard"]:
        if row["rank"] is not None:
            by_division.setdefault(row["division"], []).append(row)
    assert set(by_division) == {"closed", "open"}
    assert [row["policy"] for row in by_division["open"]] == ["heu"]
    for members in by_division.values():
        for before, after in pairwise(members):
            assert before["score"] >= after["score"]
        for row in members:
            assert row["rank"] == 1 + sum(other["score"] > row["score"] for other in members)
    found = board(report)
    assert found["ucb"]["rank"] == found["twin"]["rank"]
    assert found["ucb"]["score"] == found["twin"]["score"]
    assert {"random", "oracle"}.isdisjoint(found)


def test_references_are_the_ends_of_the_scale(page):
    ends = {row[0]: row[1] for row in page.table("reference")[0][1:]}
    assert ends == {"oracle": "1.000", "random": "0.000"}


def test_pairs_hold_the_numbers_of_results_csv(report, rows):
    found = {(r["policy"], r["against"]): r for r in read_csv(report["pairwise"])}
    names = ["heu", "ucb", "twin", HOSTILE, ODD, "random"]
    assert set(found) == {(a, b) for a in names for b in names if a != b}
    for (a, b), row in found.items():
        one, other = scores(rows, a), scores(rows, b)
        gap = one - other
        gap[abs(gap) < 1e-9] = 0.0
        better = ((gap > 0) + 0.5 * (gap == 0)).mean()
        assert float(row["p_better"]) == pytest.approx(better)
        assert float(row["p_low"]) <= better <= float(row["p_high"])
        assert float(row["p_low"]) == pytest.approx(1 - float(found[b, a]["p_high"]))
        means = (one - other).mean(axis=1)
        half = T_3 * means.std(ddof=1) / np.sqrt(RUNS)
        assert float(row["difference"]) == pytest.approx(means.mean(), abs=1e-8)
        assert float(row["difference_low"]) == pytest.approx(means.mean() - half, abs=1e-6)
        assert float(row["difference_high"]) == pytest.approx(means.mean() + half, abs=1e-6)
    assert float(found["ucb", "twin"]["p_better"]) == 0.5


def test_rounding_beats_nobody(sweep):
    results = Results(sweep)
    true = results.normalised

    def nearly(market, policy):
        return true(market, "ucb") + 1e-13 if policy == "twin" else true(market, policy)

    results.normalised = nearly
    comparison = Comparison(results)
    assert comparison.improvement["twin", "ucb"].estimate == 0.5
    ranks = {s.policy: s.rank for s in comparison.standings["closed"]}
    assert ranks["twin"] == ranks["ucb"]


def test_verdicts_follow_from_the_paired_differences(report, rows):
    found = board(report)
    closed = [r for r in found.values() if r["division"] == "closed" and r["rank"] is not None]
    leader = scores(rows, closed[0]["policy"]).mean(axis=1)
    assert closed[0]["verdict"] == "best"
    verdicts = set()
    for row in closed[1:]:
        gap = scores(rows, row["policy"]).mean(axis=1) - leader
        above = gap.mean() + T_3 * gap.std(ddof=1) / np.sqrt(RUNS)
        assert row["behind"] == pytest.approx(gap.mean(), abs=1e-8)
        assert row["verdict"] == ("behind" if above < 0 else "not told apart")
        verdicts.add(row["verdict"])
    assert verdicts == {"behind", "not told apart"}


def test_interval_of_the_score_draws_seeds_with_all_their_scenarios(report, sweep):
    comparison = Comparison(Results(sweep))
    table = comparison.scores["ucb"]
    draws = np.random.default_rng(0).integers(RUNS, size=(2000, RUNS))
    means = [trimmed(table[draw]) for draw in draws]
    low, high = np.quantile(means, [0.025, 0.975])
    assert board(report)["ucb"]["low"] == pytest.approx(low, abs=0.01)
    assert board(report)["ucb"]["high"] == pytest.approx(high, abs=0.01)
    # Scenario against scenario the spread of a mean cancels: drawn apart, it would not.
    opposed = np.array([[0.0, 1.0], [1.0, 0.0], [0.2, 0.8], [0.8, 0.2]])
    found = interval(lambda sample: sample.mean(axis=(-2, -1)), opposed)
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_tables_of_a_scenario_hold_mean_and_sd(report, rows, page):
    table = next(t for t in page.table("policy") if t[0][1].startswith("profit"))
    shown = {row[0]: dict(zip(table[0], row, strict=True)) for row in table}["UCB (range)"]
    for head, name, form, scale in (
        ("profit / slot", "profit", "{:.2f}", 25),
        ("regret R(T)", "regret", "{:.0f}", 1),
        ("regret: served elsewhere", "regret_served", "{:.0f}", 1),
        ("Jain index", "jain", "{:.3f}", 1),
        ("tasks rejected", "rejected", "{:.1%}", 1),
        ("tasks moved", "switches", "{:.1%}", 1),
    ):
        values = column(rows, name, "toy", "ucb") / scale
        mean, sd = form.format(values.mean()), form.format(values.std(ddof=1))
        assert shown[head] == f"{mean} ± {sd}"
    parts = [
        column(rows, f"regret_{f}", "toy", "ucb").mean() for f in ("served", "rejected", "idle")
    ]
    assert sum(parts) == pytest.approx(column(rows, "regret", "toy", "ucb").mean())


def test_failures_are_shown_and_not_ranked(report, rows, page):
    failed = {
        scenario: [
            int(r["seed"]) for r in rows if r["status"] == "failed" and r["scenario"] == scenario
        ]
        for scenario in ("toy", ODD_MARKET)
    }
    total = sum(map(len, failed.values()))
    assert 0 < total < 2 * RUNS
    assert report["cells"] == {
        "done": 2 * 8 * RUNS - total,
        "failed": total,
        "missing": 0,
        "damaged": 0,
    }
    error = "RuntimeError: lost <i>the</i> thread | & gave up"
    assert failed["toy"] != failed[ODD_MARKET]  # else they are one group
    groups = {scenario: seeds for scenario, seeds in failed.items() if seeds}
    assert report["failures"] == [
        {
            "policy": "report_outside:Flaky",
            "status": "failed",
            "error": error,
            "seeds": seeds,
            "scenarios": [scenario],
        }
        for scenario, seeds in groups.items()
    ]
    assert page.undone() == [
        [
            "report_outside:Flaky",
            scenario,
            "all" if len(seeds) == RUNS else ranges(seeds),
            str(len(seeds)),
            "failed",
            error,
        ]
        for scenario, seeds in groups.items()
    ]
    assert f"{total} failed, of {2 * 8 * RUNS} cells" in page.text
    why = f"{total} of {2 * RUNS} cells undone: {total} failed: {error}"
    assert page.row("not ranked", "report_outside:Flaky")[2] == why
    assert board(report)["report_outside:Flaky"] == {
        "division": "closed",
        "rank": None,
        "policy": "report_outside:Flaky",
        "why": why,
    }
    told = text(report)
    assert f"not ranked: report_outside:Flaky, {why}" in told
    assert f"{total} failed" in told
    markdown = read(report["summary"])
    assert "## Cells are undone" in markdown
    assert "lost &lt;i&gt;the&lt;/i&gt; thread \\| &amp; gave up" in markdown


def test_a_policy_has_no_averages_where_a_run_is_undone(report, page):
    failed = {group["scenarios"][0]: group["seeds"] for group in report["failures"]}
    tables = [t for t in page.table("policy") if t[0][1].startswith("profit")]
    for scenario, table in zip(("toy", ODD_MARKET), tables, strict=True):
        shown = next(row for row in table if row[0] == "report_outside:Flaky")
        if scenario in failed:
            done = RUNS - len(failed[scenario])
            assert shown[1:] == [f"– {done} of {RUNS} runs", *["–"] * 10]
        else:
            assert "–" not in shown


def test_missing_and_damaged_cells_are_shown_and_not_averaged(sweep, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(sweep, folder)
    plan = Results(folder).plan
    keys = {(c.market, c.policy, c.seed): c.key for c in plan.cells}
    (folder / "cells" / f"{keys['toy', HOSTILE, 1]}.npz").unlink()
    (folder / "cells" / f"{keys['toy', HOSTILE, 2]}.npz").unlink()
    damaged = folder / "cells" / f"{keys[ODD_MARKET, 'heu', 3]}.npz"
    damaged.write_bytes(damaged.read_bytes()[:-100])

    before, after = Comparison(Results(sweep)), Comparison(Results(folder))
    assert after.undone(HOSTILE) == {"done": 6, "failed": 0, "missing": 2, "damaged": 0}
    assert after.unranked[HOSTILE] == "2 of 8 cells undone: 2 missing"
    assert after.unranked["heu"].startswith("1 of 8 cells undone: 1 damaged: ./cells/")
    assert set(after.standings) == {"closed"}  # heu was alone in the open one
    for policy in ("ucb", "twin", ODD):
        assert (after.scores[policy] == before.scores[policy]).all()
    views = {market: MarketView(after, market) for market in ("toy", ODD_MARKET)}
    assert views["toy"].incomplete[HOSTILE] == 2
    assert views[ODD_MARKET].incomplete["heu"] == 3
    assert "heu" in views["toy"].policies
    assert HOSTILE in views[ODD_MARKET].policies

    names = Names(after.results)
    nothing = {market: [] for market in views}
    page = Page(document(after, names, list(views.values()), {}, nothing))
    box = {(row[0], row[4]): row for row in page.undone()}
    assert box[HOSTILE, "missing"][1:] == ["toy", "1, 2", "2", "missing", "–"]
    *place, error = box["HEU", "damaged"]
    assert place[1:] == [ODD_MARKET, "3", "1", "damaged"]
    assert "./cells/" in error
    assert str(folder) not in page.text
    assert "2 missing, 1 damaged" in page.text
    assert "2 missing, 1 damaged" in summary(after, names, list(views.values()), {}, nothing)


def test_what_fails_everywhere_alike_is_told_once(tmp_path):
    markets = ["toy", {"scenario": "paper", "id": "again"}]
    folder = played(tmp_path / "sweep", small([outside("Broken"), "heu"], markets, slots=3))
    keys = {(c.market, c.policy, c.seed): c.key for c in Results(folder).plan.cells}
    (folder / "cells" / f"{keys['again', 'heu', 1]}.npz").unlink()
    names, comparison = Names(Results(folder)), Comparison(Results(folder))
    page = Page(document(comparison, names, [], {}, {}))
    assert page.undone() == [
        ["report_outside:Broken", "all", "all", "4", "failed", "ValueError: cannot start"],
        ["HEU", "again", "1", "1", "missing", "–"],
    ]
    told = text(write_report(folder))
    assert "not ranked: report_outside:Broken, 4 of 4 cells undone: 4 failed: ValueError" in told
    assert "missing: heu on again, seeds 1" in told
    assert told.count("cannot start") == 1


def test_what_was_played_is_told(tmp_path):
    """Changed keys, classes, parameters, and how far the closed division is closed."""
    changes = {"noise.std": 0.3, "market.overload": "share"}
    markets = ["toy", {"scenario": "paper", "id": "loud", "set": changes}]
    slow = {"policy": "distmllm", "id": "slow", "parameters": {"explore_slots": 20}}
    folder = played(tmp_path / "sweep", small([slow, "ucb", outside("Sticky")], markets))
    told = Page(read(write_report(folder)["report"])).text
    assert "Not as in toy: slots = 12." in told
    assert "Not as in paper: slots = 12, market.overload = share, noise.std = 0.3." in told
    assert re.search(
        r"slow: distmllm_agents\.distmllm:DistMLLM, explore_slots = 20, hash [0-9a-f]{12}", told
    )
    assert re.search(r"report_outside:Sticky: hash [0-9a-f]{12}", told)
    assert "ucb: " not in told
    assert told.count("These seeds are public") == 1
    plan = replace(Results(folder).plan, split="salt")
    plan.write(folder)
    assert "These seeds are public" not in Page(read(write_report(folder)["report"])).text


def test_nobody_is_ranked_where_random_play_is_undone(sweep, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(sweep, folder)
    cell = next(c for c in Results(folder).plan.cells if c.policy == "random" and c.market == "toy")
    (folder / "cells" / f"{cell.key}.npz").unlink()
    comparison = Comparison(Results(folder))
    assert comparison.standings == {}
    assert comparison.unranked["heu"] == "1 cells of random, the 0 of the scale, are undone"
    view = MarketView(comparison, "toy")
    page = Page(document(comparison, Names(comparison.results), [view], {}, {"toy": []}))
    assert "Nobody is ranked." in page.text
    table = next(t for t in page.table("policy") if t[0][1].startswith("profit"))
    shown = dict(zip(table[0], next(r for r in table if r[0] == "HEU"), strict=True))
    assert shown["score"] == "–"
    assert shown["regret R(T)"] != "–"


def test_a_scenario_where_random_play_is_best_is_left_out_and_said(tmp_path):
    one = {"scenario": "paper", "id": "one", "set": {"providers": 1, "workers": 1, "capacity": 9}}
    folder = played(tmp_path / "sweep", small(["ucb"], ["toy", one]))
    comparison = Comparison(Results(folder))
    assert comparison.markets == ["toy"]
    assert comparison.left_out == {"one": "random play earns the optimum in 2 of 2 worlds"}
    assert comparison.scores["ucb"].shape == (2, 1)
    views = [MarketView(comparison, market) for market in ("toy", "one")]
    names = Names(comparison.results)
    nothing = {"toy": [], "one": []}
    for told in (
        Page(document(comparison, names, views, {}, nothing)).text,
        summary(comparison, names, views, {}, nothing),
    ):
        assert "one is left out of scores: random play earns the optimum in 2 of 2 worlds" in told


def test_the_same_cells_give_the_same_files(sweep, report, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(sweep, folder)
    again = write_report(folder)
    assert again == json.loads(json.dumps(report).replace(str(sweep), str(folder)))
    files = {path.relative_to(sweep) for path in sweep.rglob("*") if path.is_file()}
    assert files == {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    for name in files:
        assert (folder / name).read_bytes() == (sweep / name).read_bytes(), name
    expected = {"report.html", "summary.md", "results.csv", "timing.csv", "pairwise.csv"}
    expected |= {"leaderboard.tex"}
    assert expected < {str(name) for name in files}


def test_files_are_told_and_have_safe_names(sweep, report):
    json.dumps(report, allow_nan=False)
    for file in report["figures"]:
        assert re.fullmatch(r"[A-Za-z0-9-]+\.(png|svg)", file.rpartition("/")[2])
        assert (sweep / "figures" / file.rpartition("/")[2]).stat().st_size > 1000
    assert {file.rpartition("/")[2] for file in report["figures"]} == {
        f"{name}.{kind}"
        for name in (
            *("leaderboard", "improvement", "profile", "decision-time"),
            *(f"toy-{n}" for n in ("learning", "over-time", "regret-split", "final-regret")),
            *(f"odd-b-name-{n}" for n in ("learning", "over-time", "regret-split", "final-regret")),
        )
        for kind in ("png", "svg")
    }


def test_timing_is_a_table_of_its_own(report, rows):
    timing = read_csv(report["timing"])
    done = [r for r in rows if r["status"] == "done"]
    assert [(r["scenario"], r["policy"], r["seed"]) for r in timing] == [
        (r["scenario"], r["policy"], r["seed"]) for r in done
    ]
    first = [r for r in timing if r["seed"] == "0"]
    assert {r["batch"] for r in first} == {"1"}
    alone = [float(r["decision_us"]) for r in first if r["policy"] == "ucb"]
    assert len(alone) == 2
    assert board(report)["ucb"]["decision_us"] == pytest.approx(np.median(alone), rel=1e-3)
    assert "decision_us" not in read(report["results"]).partition("\n")[0]


def test_page_asks_for_nothing_and_its_ids_are_unique(report, page):
    source = read(report["report"])
    assert re.search(r"content=\"default-src 'none'; style-src 'sha256-[\w+/=]+'\"", source)
    for word in ("://", "<script", "<link", "<img", "@import", "onload", HOSTILE, "<b>"):
        assert word not in source
    assert len(page.ids) == len(set(page.ids))
    assert set(page.refers) <= set(page.ids)
    assert page.refers
    assert len(page.figures) == 4 + 2 * 4
    for figure in page.figures:
        assert figure["role"] == "img"
        assert len(figure["aria-label"]) > 20
    assert HOSTILE in page.text
    assert "distmllm bench small <tag>" in page.text


def test_a_policy_file_that_is_not_there_any_more(sweep, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(sweep, folder)
    plan = Results(folder).plan
    gone = [
        replace(p, id="gone.npz", spec="gone.npz") if p.id == "ucb" else p for p in plan.policies
    ]
    cells = [replace(c, policy="gone.npz") if c.policy == "ucb" else c for c in plan.cells]
    replace(plan, policies=tuple(gone), cells=tuple(cells)).write(folder)
    assert "gone.npz" in board(write_report(folder))


def test_bands_end_where_the_measure_does(sweep):
    names, ax = Names(Results(sweep)), Figure().add_subplot()
    band = Band(np.arange(1, 4), np.array([0.1, 0.5, 0.9]), np.full(3, 0.3))
    drawing.draw_bands(ax, {"heu": band}, names, (0.0, 1.0))
    drawing.draw_bands(ax, {"ucb": band}, names)
    inside, free = (bands.get_paths()[0].vertices[:, 1] for bands in ax.collections)
    assert (inside.min(), inside.max()) == (0.0, 1.0)
    assert (free.min(), free.max()) == pytest.approx((-0.2, 1.2))


def test_latex_holds_the_leaderboard(report):
    written = read(report["latex"])
    lines = written.splitlines()
    assert lines[0] == "% distmllm bench small <tag>: 4 runs"
    boards = re.findall(r"\\begin\{tabular\}\{(\w+)\}\n\\toprule\n(.*?)\\bottomrule", written, re.S)
    assert len(boards) == len({row["division"] for row in report["leaderboard"]})
    rows = []
    for sides, body in boards:
        head, rule, *content = body.splitlines()
        assert sides == "lrrrrrl"
        named = (
            "policy & rank & score (IQM) & mean & optimality gap & of optimum & against the best"
        )
        assert head == rf"{named} \\"
        assert rule == r"\midrule"
        rows += [line.removesuffix(r" \\").split(" & ") for line in content]
    ranked = [row for row in report["leaderboard"] if row["rank"] is not None]
    assert [int(row[1]) for row in rows] == [row["rank"] for row in ranked]
    means = [f"{row['mean']:.3f}".replace("-", "$-$") for row in ranked]
    assert [row[3] for row in rows] == means
    cells = [TableCell("a-1"), TableCell("-0.5", "[-1.0, 2.0]")]
    assert latex._row(cells) == r"a-1 & $-$0.5 [$-$1.0, 2.0] \\"
    assert [len(row) for row in rows] == [7] * len(ranked)
    odd = r"a\textbar{}b*c\_d \$e\$ ''f'', ../"
    assert any(row[0].startswith(odd) for row in rows)
    assert r"\textless{}/script\textgreater{}\textless{}b\textgreater{}x" in written


def test_curves_are_thinned_and_their_bands_are_intervals_of_the_mean(tmp_path):
    folder = played(tmp_path / "sweep", small(["ucb"], runs=4, slots=400))
    results = Results(folder)
    view = MarketView(Comparison(results), "toy")
    curves = np.stack([results.cell("toy", "ucb", seed).curves["rejected"] for seed in range(4)])
    assert view.window == 20
    band = view.rejections("ucb")
    assert len(band.slots) == POINTS
    assert (band.slots[0], band.slots[-1]) == (1, 400)
    for slot, mean, half in zip(band.slots, band.mean, band.half, strict=True):
        recent = curves[:, max(slot - 20, 0) : slot].mean(axis=1) / 4  # two providers, two tasks
        assert mean == pytest.approx(recent.mean())
        assert half == pytest.approx(T_3 * recent.std(ddof=1) / 2, abs=1e-6)
    moved = np.stack([results.cell("toy", "ucb", seed).curves["switches"] for seed in range(4)])
    band = view.switches("ucb")
    assert band.slots[0] == 2
    last = moved[:, 380:].mean(axis=1) / 4
    assert band.mean[-1] == pytest.approx(last.mean())
    share = view.share_curve("ucb")
    profit = np.stack([results.cell("toy", "ucb", seed).curves["profit"] for seed in range(4)])
    assert share.mean[-1] == pytest.approx(profit.sum(axis=1).mean() / (400 * 5.1))
    assert view.curve("regret", "ucb").mean[-1] == pytest.approx(
        view.values("regret", "ucb").mean()
    )


@pytest.mark.parametrize(
    ("policies", "runs", "slots"),
    [
        (["ucb", "heu", "greedy"], 1, 12),  # one run: no interval
        (["ucb", "greedy"], 2, 1),  # one slot
        ([], 2, 2),  # the references alone
        ([outside("Broken")], 1, 4),  # nothing but failures
    ],
)
def test_small_sweeps_have_a_report(tmp_path, policies, runs, slots):
    result = write_report(played(tmp_path / "sweep", small(policies, runs=runs, slots=slots)))
    page = Page(read(result["report"]))
    text(result)
    ranked = [row for row in result["leaderboard"] if row["rank"] is not None]
    assert ("Nobody is ranked" in page.text) == (not ranked)
    assert ("One run: no interval" in page.text) == (runs == 1)
    assert ("too narrow" in page.text) == (runs > 1)
    assert len(page.figures) == (8 if ranked else 4 if not policies or not ranked else 0)
    for row in ranked:
        assert (row["low"] is None) == (runs == 1)
        assert runs > 1 or row["verdict"] in ("best", "one run: not known")
    assert "nan" not in page.text.lower().split()


def test_the_foot_tells_machines_apart(sweep, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(sweep, folder)
    results = Results(folder)
    cell = results.cell("toy", "heu", 0)
    key = next(
        c.key for c in results.plan.cells if (c.market, c.policy, c.seed) == ("toy", "heu", 0)
    )
    about = {**cell.about, "cpu": "A <slow> one", "revision": "0" * 40, "modified": False}
    about |= {"started": "1999-01-01T00:00:00+00:00", "threads": {"OMP_NUM_THREADS": "7"}}
    Store(folder / "cells").put(key, Cell(cell.scores, cell.curves, about))
    done = sum(row["status"] == "done" for row in results.rows)
    told = facts(Results(folder))
    assert len(facts(results)["machine"]) == 1
    assert len(told["machine"]) == 2
    assert told["machine"][0].startswith("A <slow> one")
    assert told["machine"][0].endswith(f": 1 of {done} cells")
    assert told["machine"][1].endswith(f": {done - 1} of {done} cells")
    assert f"{'0' * 40}: 1 of {done} cells" in told["revision"]
    assert f"OMP_NUM_THREADS=7: 1 of {done} cells" in told["threads"]
    assert "first cell started 1999-01-01" in told["played"][0]
    assert told["command"] == ["distmllm bench small <tag>"]
    assert told["seeds"][0].startswith("0 to 3 (development)")


def test_names_for_figures_are_short_different_and_harmless(sweep):
    results = Results(sweep)
    long = "some.package.with.a.long.name:Policy"
    some = (long + "1", long + "2", "_hidden", "a\nb\x00")
    results.policies = dict.fromkeys(some, results.policies["twin"])
    names = Names(results)
    labels = [names.label(policy) for policy in results.policies]
    assert len(set(labels)) == 4
    assert max(map(len, labels)) <= LONGEST + 2
    assert names.title(long + "1") == long + "1"
    assert not names.label("_hidden").startswith("_")
    assert names.label("a\nb\x00") == "a\ufffdb\ufffd"
    # A name of this package given to something else keeps no title of its.
    results.policies = {"ucb": replace(results.policies[long + "1"], spec="my.module:UCB")}
    assert Names(results).title("ucb") == "ucb"


def test_policies_from_outside_look_different():
    many = [f"mine-{i}" for i in range(20)]
    looks = style.looks(["oracle", *many, "ucb"])
    assert looks["oracle"] == style.style("oracle")
    assert looks["ucb"] == style.style("ucb")
    assert len({str(look) for look in looks.values()}) == 22
    for one, other in pairwise(many):
        assert looks[one]["color"] != looks[other]["color"]
        assert looks[one]["linestyle"] != looks[other]["linestyle"]
    assert style.looks(many) == {name: looks[name] for name in many}
    taken = {look["color"] for look in style.STYLES.values()}
    assert taken.isdisjoint(style.FURTHER_COLOURS)


@pytest.mark.parametrize(
    ("seeds", "told"),
    [([3], "3"), ([0, 1, 2, 3], "0 to 3"), ([1, 2], "1, 2"), ([9, 0, 1, 2], "0 to 2, 9")],
)
def test_ranges(seeds, told):
    assert ranges(seeds) == told


def test_inline_svg_keeps_what_is_referred_to_and_no_style():
    svg = b"""<?xml version="1.0"?>
    <svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
         viewBox="0 0 9 9" width="9pt"><metadata><a>x</a></metadata>
      <defs><style type="text/css">*{stroke-linejoin: round}</style>
        <path id="m1" d="M 0 0 \nL 1.23456 -2.000001 \nz" style="stroke: #ff0000"/>
        <clipPath id="p1"><rect x="1.5" y="2"/></clipPath></defs>
      <g id="axes_1"><use xlink:href="#m1" x="3.14159"/>
        <g clip-path="url(#p1)"><text style="font: italic 700 9px 'DejaVu Sans', sans-serif;
          text-anchor: end" transform="rotate(-0 1 2)">1.23456 &lt;b&gt;</text></g></g></svg>"""
    found = inline_svg(svg, "f1", 'a "label" <x>')
    assert found.startswith(
        '<svg viewBox="0 0 9 9" role="img" aria-label="a &quot;label&quot; &lt;x&gt;"'
    )
    assert "http" not in found
    assert "style=" not in found.replace("font-style=", "")
    assert "<style" not in found
    assert "metadata" not in found
    assert "axes_1" not in found
    assert 'd="M0 0L1.23 -2.00z"' in found
    assert 'id="f1-m1"' in found
    assert 'href="#f1-m1"' in found
    assert 'clip-path="url(#f1-p1)"' in found
    assert 'stroke="#ff0000"' in found
    assert 'font-size="9px" font-style="italic" font-weight="700" text-anchor="end"' in found
    assert found.count("font-family") == 1  # on the picture as a whole
    assert ">1.23456 &lt;b&gt;</text>" in found
