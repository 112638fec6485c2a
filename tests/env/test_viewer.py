"""The page of a run without a browser: one file, its policy, its data, what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from distmllm_env import Run, Scenario, Status, play
from distmllm_env.viewer import data as data_module
from distmllm_env.viewer import run_page
from distmllm_env.viewer.data import page_data

BEST = np.array([20.0, 30.0])


class Dice:
    """Places every task anywhere, defers some, and says it explores two slots of five."""

    def __init__(self, phases: bool = True) -> None:
        self.phases = phases

    def reset(self, problem, rng):
        self.rng, self.shape, self.slot = rng, (1, problem.providers, 2), -1
        self.workers = problem.workers

    @property
    def exploring(self):
        return self.slot % 5 >= 3 if self.phases else None

    def act(self, observation):
        self.slot = observation.slot
        return self.rng.integers(self.workers + 1, size=self.shape)

    def update(self, feedback):
        pass


def recorded(scenario="testbed", seeds=(3, 4), phases=True, world_seed=None, **keys) -> Run:
    keys = {"slots": 12} | keys
    scenario = Scenario.load(scenario, **keys)
    return play(scenario, Dice(phases), seeds, world_seed=world_seed)


@pytest.fixture(scope="module")
def run() -> Run:
    return recorded()


class Blocks(HTMLParser):
    """Text of style and script elements, and all attributes of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.blocks: list[tuple[str, dict, str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.inside = tag in ("style", "script", "title")
        if self.inside:
            self.blocks.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            tag, attrs, text = self.blocks[-1]
            self.blocks[-1] = tag, attrs, text + data

    def text(self, tag: str, **wanted: str) -> str:
        (found,) = (
            text
            for name, attrs, text in self.blocks
            if name == tag and all(attrs.get(key) == value for key, value in wanted.items())
        )
        return found


def embedded(text: str) -> dict:
    return json.loads(Blocks(text).text("script", type="application/json"))


class TestPage:
    def test_all_four_fates_of_a_task_are_in_the_record(self, run: Run) -> None:
        assert set(np.unique(run.status[0])) == {int(status) for status in Status}

    def test_equal_runs_give_equal_pages(self, run: Run) -> None:
        assert run_page([run], ["dice"], BEST) == run_page([recorded()], ["dice"], BEST)

    def test_policy_names_the_hashes_of_the_blocks_and_nothing_else(self, run: Run) -> None:
        parsed = Blocks(run_page([run], ["dice"], BEST))
        policy = next(v for t, n, v in parsed.attributes if n == "content" and "default-src" in v)

        def digest(text: str) -> str:
            return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules == {
            "default-src": "'none'",
            "script-src": f"'sha256-{digest(parsed.text('script', type='module'))}'",
            "style-src": f"'sha256-{digest(parsed.text('style'))}'",
            "base-uri": "'none'",
            "form-action": "'none'",
        }

    def test_asks_nobody_for_anything(self, run: Run) -> None:
        text = run_page([run], ["dice"], BEST)
        assert set(re.findall(r"https?:[^\s\"']*", text)) == {"http://www.w3.org/2000/svg"}
        parsed = Blocks(text)
        assert not {name for _, name, _ in parsed.attributes} & {"src", "href", "style", "onclick"}
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "@import", "fetch("):
            assert word not in text

    @pytest.mark.parametrize(
        "name",
        ["</script><img src=x onerror=alert(1)>", "<!--<script>", "{{script}}", "\\u003c & \"'"],
    )
    def test_no_name_leaves_its_place(self, run: Run, name: str) -> None:
        text = run_page([run], [name], BEST)
        assert embedded(text)["runs"][0]["label"] == name
        parsed = Blocks(text)
        assert parsed.text("title") == f"{name} on testbed"
        assert "img" not in parsed.tags
        assert parsed.tags.count("script") == 2


class TestData:
    def test_tables_are_those_of_the_chosen_row(self, run: Run) -> None:
        data = embedded(run_page([run], ["dice"], BEST, row=1))
        (found,), digits = data["runs"], data["digits"]
        assert (data["seed"], data["episode"], data["worldSeed"]) == (4, 0, None)
        assert found["worker"] == run.allocation[1].ravel().tolist()
        assert found["status"] == run.status[1].ravel().tolist()
        for name, table, kind in (
            ("taskProfit", run.profit[1], "task"),
            ("latency", run.latency_s[1], "latency"),
            ("energy", run.energy_j[1], "energy"),
            ("providerProfit", run.profit[1].sum(axis=2), "provider"),
            ("profit", run.profit[1].sum(axis=(1, 2)), "slot"),
        ):
            shown = [f"{value:.{digits[kind]}f}" for value in found[name]]
            assert shown == [f"{value:z.{digits[kind]}f}" for value in table.ravel()], name

    def test_averages_and_regret_count_from_the_first_slot_of_the_run(self, run: Run) -> None:
        data = page_data([run], ["dice"], BEST, slots=(4, 6))
        assert (data["first"], data["slots"], data["horizon"]) == (4, 3, 12)
        for i, t in enumerate((4, 5, 6)):
            average = run.profit[0, :t].sum() / t
            regret = 20.0 * t - run.expected_profit[0, :t].sum()
            assert data["runs"][0]["average"][i] == pytest.approx(average, abs=1e-3)
            assert data["runs"][0]["regret"][i] == pytest.approx(regret, abs=1e-2)
        assert data["runs"][0]["status"] == run.status[0, 3:6].ravel().tolist()
        # Of slots 4 and 5 and of slots 9 and 10, those that explore, only the first two are shown.
        assert data["runs"][0]["exploring"] == [[0, 2]]

    def test_phases(self, run: Run) -> None:
        assert page_data([run], ["dice"], BEST)["runs"][0]["exploring"] == [[3, 2], [8, 2]]
        without = recorded(phases=False)
        assert page_data([without], ["dice"], BEST)["runs"][0]["exploring"] is None

    def test_digits_show_large_and_small_numbers(self, run: Run) -> None:
        digits = page_data([run], ["dice"], BEST)["digits"]
        ran = run.status[0] == Status.ADMITTED
        for name, table in (("latency", run.latency_s[0]), ("energy", run.energy_j[0])):
            smallest = table[ran].min()
            assert 100 <= round(smallest * 10 ** digits[name]) < 1000 or digits[name] == 0
        assert 1000 <= np.abs(run.profit[0]).max() * 10 ** digits["task"] < 10000

    def test_where_nothing_runs(self) -> None:
        class Never(Dice):
            def act(self, observation):
                return np.full(self.shape, self.workers)

        run = play(Scenario.load("toy", slots=2), Never(), [0])
        data = embedded(run_page([run], ["never"], BEST[:1]))
        assert data["runs"][0]["profit"] == [0, 0]
        assert data["runs"][0]["regret"] == [20, 40]

    def test_what_tells_workers_and_providers_apart(self, run: Run) -> None:
        data = page_data([run], ["dice"], BEST)
        assert data["workerNotes"][0] == "jetson-orin-nano-8gb"
        assert data["workerNotes"][5] == "a100-80gb-pcie"
        assert data["providerNotes"][2] == "vit-b16-224, llama-2-7b-q4"
        paper = recorded("paper")
        notes = page_data([paper], ["dice"], BEST, row=1)["workerNotes"]
        speed, price = paper.world.performance[1, 2], paper.world.price[1, 2]
        assert notes[2] == f"p {speed:.2f}, price {price:.3g}"


class TestRefusals:
    @pytest.mark.parametrize("row", [-1, 2])
    def test_a_row_that_is_not_there(self, run: Run, row: int) -> None:
        with pytest.raises(ValueError, match=rf"row .* = {row} .* holds 2 runs, 0 to 1"):
            run_page([run], ["dice"], BEST, row=row)

    def test_the_other_run_is_shorter(self, run: Run) -> None:
        with pytest.raises(ValueError, match="holds one run, row 0"):
            run_page([run, recorded(seeds=(3,))], ["a", "b"], BEST, row=1)

    @pytest.mark.parametrize("slots", [(0, 3), (5, 4), (1, 13)])
    def test_slots_that_are_not_there(self, run: Run, slots: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="1 to 12"):
            run_page([run], ["dice"], BEST, slots=slots)

    def test_no_run_and_three(self, run: Run) -> None:
        for runs in ([], [run] * 3):
            with pytest.raises(ValueError, match=f"number of runs = {len(runs)} .*one, or two"):
                run_page(runs, ["x"] * len(runs), BEST)

    def test_a_label_is_missing(self, run: Run) -> None:
        with pytest.raises(ValueError, match="labels"):
            run_page([run, run], ["a"], BEST)

    @pytest.mark.parametrize(
        ("other", "words"),
        [
            ({"seeds": (5, 4)}, "seed: 3 and 5"),
            ({"slots": 10}, "slots: 12 and 10"),
            ({"scenario": "paper"}, "name: testbed and paper"),
            ({"overrides": {"noise.std": 0.2}}, "noise.std: 0.1 and 0.2"),
            ({"world_seed": 7}, "seed of the world: 3 and 7"),
        ],
    )
    def test_two_markets_on_one_page(self, run: Run, other: dict, words: str) -> None:
        with pytest.raises(ValueError, match=f"differ: .*{words}"):
            run_page([run, recorded(**other)], ["a", "b"], BEST)

    def test_names_only_what_differs(self, run: Run) -> None:
        with pytest.raises(ValueError, match=r"differ: slots: 12 and 10\.$"):
            run_page([run, recorded(slots=10)], ["a", "b"], BEST)

    def test_too_many_tasks(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(data_module, "MAX_TASKS", 12 * 11)  # a slot has 12 tasks
        with pytest.raises(ValueError, match=r"144 tasks.*up to 11 slots.*--slots 1-11"):
            run_page([run], ["dice"], BEST)
        assert embedded(run_page([run], ["dice"], BEST, slots=(2, 12)))["slots"] == 11
        with pytest.raises(ValueError, match="up to 5 slots"):
            run_page([run, run], ["a", "b"], BEST)
