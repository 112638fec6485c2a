"""Suites: what a TOML file may say, which seeds are whose, and what comes with the package."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distmllm_agents.learned.settings import (
    EVALUATION_SEEDS,
    TRAINING_SEEDS,
    load_settings,
    presets,
)
from distmllm_bench.cli import app
from distmllm_bench.sweep.planning import make_plan
from distmllm_bench.sweep.suite import Entrant, Market, Suite, run_seeds
from distmllm_env import Scenario
from distmllm_env.registry import policy_names

SMALL = """
name = "small"
description = "What it is for."
scenarios = ["toy"]
policies = ["ucb"]
"""


def load(folder, text):
    path = Path(folder) / "mine.toml"
    path.write_text(text)
    return Suite.load(path)


@pytest.mark.parametrize("name", Suite.names())
class TestShipped:
    def test_loads_and_is_told_about(self, name):
        suite = Suite.load(name)
        assert suite.name == name
        assert suite.description.endswith((".", "?"))
        assert suite.seeds == "development"
        assert len(suite.markets()) == len(suite.scenarios)

    def test_a_plan_can_be_made(self, name):
        suite = Suite.load(name)
        plan = make_plan(suite)
        assert plan.suite == name
        assert len(plan.cells) == len(suite.scenarios) * (len(suite.policies) + 2) * suite.runs
        assert len({cell.key for cell in plan.cells}) == len(plan.cells)
        assert plan.seeds == tuple(range(suite.runs))
        assert [policy.id for policy in plan.policies][-2:] == ["random", "oracle"]
        for market in plan.markets:
            assert market.scenario == suite.markets()[market.id]

    def test_opens_with_a_comment(self, name):
        from distmllm_bench import suites

        text = (Path(suites.__path__[0]) / f"{name}.toml").read_text()
        comment = [line for line in text.splitlines() if line.startswith("#")]
        assert text.startswith("#")
        assert len(" ".join(comment).split()) > 20


def test_what_comes_with_the_package():
    assert {"full", "paper", "smoke"} <= {*Suite.names()}
    assert list(Suite.names()) == sorted(Suite.names())
    full = Suite.load("full")
    assert {market.scenario for market in full.scenarios} == set(Scenario.names())
    assert set(full.entrants()) == set(policy_names())
    paper = Suite.load("paper").markets()
    assert (paper["paper-10x30"].providers, paper["paper-10x30"].workers) == (10, 30)
    assert (paper["paper"].providers, paper["paper"].workers) == (5, 5)
    smoke = Suite.load("smoke")
    assert (smoke.runs, smoke.slots) == (4, 100)
    assert {market.slots for market in smoke.markets().values()} == {100}


def test_list_tells_their_sizes():
    rows = json.loads(CliRunner().invoke(app, ["list", "suites", "--json"]).stdout)
    assert [row["name"] for row in rows] == list(Suite.names())
    told = {row["name"]: row["scenarios x policies x runs"] for row in rows}
    right = {"full": "6 x 10 x 20", "paper": "4 x 8 x 20", "smoke": "2 x 5 x 4"}
    assert right.items() <= told.items()


def test_a_file_of_ones_own(tmp_path):
    suite = load(tmp_path, SMALL)
    assert suite == Suite("small", "What it is for.", (Market("toy"),), (Entrant("ucb"),))
    assert (suite.runs, suite.seeds, suite.slots) == (20, "development", None)
    assert suite.markets() == {"toy": Scenario.load("toy")}
    assert list(suite.entrants()) == ["ucb", "random", "oracle"]


def test_a_name_is_a_table_with_nothing_else(tmp_path):
    tables = SMALL.replace('["toy"]', '[{ scenario = "toy" }]').replace(
        '["ucb"]', '[{ policy = "ucb" }]'
    )
    assert load(tmp_path, tables) == load(tmp_path, SMALL)


def test_tables(tmp_path):
    text = """
        name = "small"
        description = "What it is for."
        slots = 7
        runs = 3
        seeds = "official"
        scenarios = [
            "toy",
            { scenario = "toy", id = "loud", set = { noise = { on = "reward", std = 0.5 } } },
            { scenario = "paper", set = { providers = 3 } },
        ]
        policies = [
            "ucb",
            { policy = "distmllm", id = "exact", parameters = { mapping = "exact" } },
            { policy = "distmllm" },
        ]
    """
    suite = load(tmp_path, text)
    markets = suite.markets()
    assert list(markets) == ["toy", "loud", "paper"]
    assert markets["toy"] == Scenario.load("toy", slots=7)
    loud = {"noise.on": "reward", "noise.std": 0.5}
    assert markets["loud"] == Scenario.load("toy", loud, slots=7)
    assert markets["paper"] == Scenario.load("paper", providers=3, slots=7)
    entrants = suite.entrants()
    assert list(entrants) == ["ucb", "exact", "distmllm", "random", "oracle"]
    assert entrants["exact"] == Entrant("distmllm", "exact", {"mapping": "exact"})
    plan = make_plan(suite)
    assert plan.seeds == (2**42, 2**42 + 1, 2**42 + 2)
    assert plan.split == "official"
    assert {policy.id: policy.parameters for policy in plan.policies}["exact"] == {
        "mapping": "exact"
    }
    assert [market.id for market in plan.markets] == ["toy", "loud", "paper"]


@pytest.mark.parametrize("key", ['"noise.std" = 0.5', "noise.std = 0.5", "noise = { std = 0.5 }"])
def test_a_key_to_change_leaves_those_beside_it(tmp_path, key):
    table = f'[{{ scenario = "toy", set = {{ {key} }} }}]'
    suite = load(tmp_path, SMALL.replace('["toy"]', table))
    assert suite.markets()["toy"].noise.std == 0.5
    assert suite.markets()["toy"] == Scenario.load("toy", {"noise.std": 0.5})


def test_a_distribution_is_replaced_as_a_whole(tmp_path):
    table = '[{ scenario = "toy", set = { price = { kind = "uniform", low = 1, high = 2 } } }]'
    suite = load(tmp_path, SMALL.replace('["toy"]', table))
    price = {"kind": "uniform", "low": 1, "high": 2}
    assert suite.markets()["toy"] == Scenario.load("toy", {"price": price})


def test_scenario_files(tmp_path):
    scenario = Scenario.load("toy", name="mine", slots=3)
    (tmp_path / "mine_scenario.toml").write_text(scenario.to_toml())
    path = json.dumps(str(tmp_path / "mine_scenario.toml"))
    assert load(tmp_path, SMALL.replace('"toy"', path)).markets() == {"mine": scenario}


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("policies =", "policy =", "unknown suite key 'policy'. Did you mean 'policies'?"),
        ("name =", "nmae =", "unknown suite key 'nmae'. Did you mean 'name'?"),
        ('name = "small"\n', "", "name: this key is missing"),
        ('scenarios = ["toy"]\n', "", "scenarios: this key is missing"),
        ('policies = ["ucb"]\n', "", "policies: this key is missing"),
        ('["toy"]', "[]", "scenarios = [] is not allowed: at least one."),
        ('["toy"]', '"toy"', "scenarios: expected a list, got 'toy'."),
        ('["toy"]', "[7]", "scenarios[0]: expected a name or a table, got 7."),
        ('["ucb"]', '["ucb", ["heu"]]', "policies[1]: expected a name or a table, got ['heu']."),
        ('["toy"]', '[{ id = "x" }]', "scenarios[0].scenario: this key is missing"),
        ('["ucb"]', '[{ id = "x" }]', "policies[0].policy: this key is missing"),
        ('["toy"]', '[{ scenario = "toy", sett = {} }]', "unknown key in scenarios[0] 'sett'."),
        ('["toy"]', '[{ scenario = "toy", sett = {} }]', "Did you mean 'set'?"),
        ('["ucb"]', '[{ policy = "ucb", set = {} }]', "Allowed: id, parameters, policy."),
        ('["toy"]', "[{ scenario = 7 }]", "scenarios[0].scenario: expected str, got 7."),
        ('["ucb"]', '[{ policy = "ucb", id = 7 }]', "policies[0].id: expected str, got 7."),
        ('["toy"]', '[{ scenario = "toy", set = 7 }]', "scenarios[0].set: expected a table"),
        ('["ucb"]', '[{ policy = "ucb", parameters = [1] }]', "policies[0].parameters: expected a"),
        ('["ucb"]', '[{ policy = "ucb", parameters = { x = nan } }]', "policies[0].parameters: "),
        ('["ucb"]', '[{ policy = "ucb", parameters = { x = 2024-01-01 } }]', "JSON values are"),
        ('["ucb"]', '["ucb"]\nruns = 0', "runs = 0 is not allowed: at least 1."),
        ('["ucb"]', '["ucb"]\nruns = 2.5', "runs: expected int, got 2.5."),
        ('["ucb"]', '["ucb"]\nruns = true', "runs: expected int, got True."),
        ('["ucb"]', '["ucb"]\nslots = "many"', "slots: expected int, got 'many'."),
        ('["ucb"]', '["ucb"]\nseeds = "offical"', "Did you mean 'official'?"),
        ('["ucb"]', '["ucb"]\nseeds = 3', "unknown value of seeds 3."),
        ('["ucb"]', '["ucb"', "not valid TOML"),
    ],
)
def test_what_a_file_may_not_say(tmp_path, old, new, text):
    assert old in SMALL
    with pytest.raises(ValueError, match=re.escape(text)):
        load(tmp_path, SMALL.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('["toy"]', '["tyo"]', "unknown scenario 'tyo'. Did you mean 'toy'?"),
        ('["toy"]', '["no.toml"]', "scenario file 'no.toml' does not exist."),
        ('["toy"]', '[{ scenario = "toy", set = { slost = 3 } }]', "Did you mean 'slots'?"),
        ('["toy"]', '[{ scenario = "toy", set = { noise = { std = -1 } } }]', "noise.std = -1.0"),
        ('["toy"]', '["toy", "toy"]', "scenario 'toy' is there twice"),
        ('["toy"]', '["toy", { scenario = "paper", id = "toy" }]', "'toy' is there twice: give"),
        ('["ucb"]', '["ucb", "ucb"]', "policy 'ucb' is there twice: give one of them another id."),
        ('["ucb"]', '["ucb", { policy = "heu", id = "ucb" }]', "policy 'ucb' is there twice"),
        ('["ucb"]', '["uct"]', "unknown policy 'uct'. Did you mean 'ucb'?"),
        (
            '["ucb"]',
            '[{ policy = "ucb", parameters = { scael = 1 } }]',
            "parameter of policy 'ucb'",
        ),
        ('["ucb"]', '["ucb"]\nslots = 0', "slots = 0 is not allowed: at least 1."),
    ],
)
def test_what_no_plan_can_be_made_of(tmp_path, old, new, text):
    assert old in SMALL
    suite = load(tmp_path, SMALL.replace(old, new))
    with pytest.raises(ValueError, match=re.escape(text)):
        make_plan(suite)


@pytest.mark.parametrize("name", ["random", "oracle"])
def test_the_ends_of_the_scale_keep_their_names(tmp_path, name):
    """Scores are compared between random play and the optimum: nothing else goes by these ids."""
    other = f'[{{ policy = "ucb", id = "{name}" }}]'
    with pytest.raises(ValueError, match=name):
        load(tmp_path, SMALL.replace('["ucb"]', other)).entrants()
    listed = load(tmp_path, SMALL.replace('["ucb"]', f'["{name}", "ucb"]'))
    assert sorted(listed.entrants()) == ["oracle", "random", "ucb"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("smok", "unknown suite 'smok'. Did you mean 'smoke'? Allowed: FILE.toml, "),
        ("no.toml", "suite file 'no.toml' does not exist."),
        ("../smoke", "unknown suite '../smoke'"),
    ],
)
def test_no_such_suite(source, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        Suite.load(source)


def test_more_policies_come_after_the_suites_own_and_each_once(tmp_path):
    suite = load(tmp_path, SMALL.replace('["ucb"]', '["ucb", "oracle"]'))
    assert list(suite.entrants()) == ["ucb", "oracle", "random"]
    more = ("heu", "ucb", "heu", "random", "distmllm")
    assert list(suite.entrants(more)) == ["ucb", "oracle", "heu", "random", "distmllm"]
    assert list(suite.entrants()) == ["ucb", "oracle", "random"]  # it does not remember
    plan = make_plan(suite, more)
    assert [policy.id for policy in plan.policies] == list(suite.entrants(more))


class TestSeeds:
    def test_splits(self):
        assert run_seeds(3) == [0, 1, 2]
        assert run_seeds(3, "development") == [0, 1, 2]
        assert run_seeds(3, "official") == [2**42, 2**42 + 1, 2**42 + 2]

    @pytest.mark.parametrize("preset", presets())
    def test_trainings_and_sweeps_never_meet(self, preset):
        settings = load_settings(preset)
        met = {
            *range(TRAINING_SEEDS, TRAINING_SEEDS + settings.markets),
            *range(EVALUATION_SEEDS, EVALUATION_SEEDS + settings.evaluation_runs),
        }
        assert met
        for how in (("development",), ("official",), ("development", "word")):
            assert not met & {*run_seeds(10**4, *how)}
        # Whatever the settings, between 2^40 and 2^42.
        assert min(met) >= 2**40
        assert max(met) < 2**42 <= min(run_seeds(5, "official") + run_seeds(5, salt="word"))

    def test_a_word_draws_others(self):
        drawn = run_seeds(1000, salt="word")
        assert drawn == run_seeds(1000, salt="word") == run_seeds(1000, "official", "word")
        assert drawn[:10] == run_seeds(10, salt="word")
        others = [run_seeds(1000, salt=salt) for salt in ("Word", "word ", "w", "\0", "0")]
        assert len({*drawn, *(seed for other in others for seed in other)}) == 6000
        assert min(drawn) >= 2**43
        assert max(drawn) < 2**43 + 2**40
        assert not {*drawn} & {*run_seeds(10**5), *run_seeds(10**5, "official")}
        # Spread over all of the range, and neither in order nor next to each other.
        assert max(drawn) - min(drawn) > 0.9 * 2**40
        assert sorted(drawn) != drawn

    def test_the_suite_in_the_guide(self, tmp_path):
        guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text("utf-8")
        (text,) = [b for b in re.findall(r"```toml\n(.*?)```", guide, re.S) if "policies = [" in b]
        (tmp_path / "noisy.toml").write_text(text)
        suite = Suite.load(tmp_path / "noisy.toml")
        loud = suite.markets()["loud"]
        assert (loud.noise.std, loud.providers, loud.slots) == (0.4, 8, 300)
        assert list(suite.entrants()) == ["ucb-sigma", "eps-0.05", "random", "oracle"]

    def test_by_hand(self):
        # printf 'word\0000' | sha256sum
        assert run_seeds(1, salt="word") == [2**43 + 0xFCDC6343A0]

    @pytest.mark.parametrize(
        ("split", "salt", "text"),
        [
            ("offical", None, "unknown seeds 'offical'. Did you mean 'official'?"),
            ("salt", None, "Allowed: development, official."),
            ("development", "", "salt = '' is not allowed: a word."),
        ],
    )
    def test_what_is_refused(self, split, salt, text):
        with pytest.raises(ValueError, match=re.escape(text)):
            run_seeds(3, split, salt)

    def test_a_plan_tells_which(self):
        suite = Suite.load("smoke")
        assert make_plan(suite).split == "development"
        official = make_plan(suite, split="official")
        assert (official.split, official.seeds[0]) == ("official", 2**42)
        drawn = make_plan(suite, salt="word")
        assert (drawn.split, list(drawn.seeds)) == ("salt", run_seeds(4, salt="word"))
        keys = [{cell.key for cell in plan.cells} for plan in (make_plan(suite), official, drawn)]
        assert len(set.union(*keys)) == sum(map(len, keys))
