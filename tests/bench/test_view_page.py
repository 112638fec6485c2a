"""The page of a run in a browser: it shows what the file holds, and every control moves it."""

import re
import shutil
import time
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest

from distmllm_bench.files import save_run
from distmllm_bench.metrics import optimum
from distmllm_bench.viewing import view_files
from distmllm_env import Scenario, Status, draw_world, play

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SLOTS, SEEDS = 40, (3, 4)
HOSTILE = "</script><img src=x onerror=alert(1)>"
WORDS = ("deferred", "served", "rejected", "infeasible")


class Dice:
    """Places every task anywhere, defers some, and says it explores three slots of seven."""

    exploring = False

    def __init__(self, sides=None):
        self.sides = sides

    def reset(self, problem, rng):
        self.rng, self.shape = rng, (1, problem.providers, 2)
        self.workers = self.sides or problem.workers + 1

    def act(self, observation):
        self.exploring = observation.slot % 7 < 3
        return self.rng.integers(self.workers, size=self.shape)

    def update(self, feedback):
        pass


class Steady(Dice):
    """As Dice, without phases, and on the first workers only."""

    exploring = None

    def __init__(self):
        super().__init__(3)

    def act(self, observation):
        return self.rng.integers(self.workers, size=self.shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    scenario = Scenario.load("testbed", slots=SLOTS)
    for name, policy in (("dice", Dice()), ("steady", Steady())):
        save_run(folder / f"{name}.npz", play(scenario, policy, SEEDS), {"policy": name})
    toy = play(Scenario.load("toy", slots=5), Dice(), [0])
    save_run(folder / "hostile.npz", toy, {"policy": HOSTILE})
    staged = Scenario.load("paper", {"market.capacity": "per_stage"}, slots=3, providers=12)
    save_run(folder / "staged.npz", play(staged, Steady(), [0]), {"policy": "steady"})
    return folder


class Record:
    """What a file says, read with NumPy alone."""

    def __init__(self, path, row=0):
        with np.load(path) as data:
            for name in ("allocation", "status", "profit", "expected_profit", "load"):
                setattr(self, name, data[name][row])
            self.latency, self.energy = data["latency_s"][row], data["energy_j"][row]
            self.exploring = data["exploring"][row] if "exploring" in data else None
        self.best = optimum(draw_world(Scenario.load("testbed"), SEEDS)).value[row]

    def measures(self, t):
        """Numbers of the readout in slot t, counted from 1."""
        counts = {word: int((self.status[t - 1] == k).sum()) for k, word in enumerate(WORDS)}
        return {
            "profit": self.profit[t - 1].sum(),
            "average": self.profit[:t].sum() / t,
            "regret": t * self.best - self.expected_profit[:t].sum(),
            **counts,
        }


class Tab:
    """One browser tab for all tests, which keeps what the page complains about and asks for."""

    def __init__(self, page):
        self.page, self.problems, self.requests = page, [], []
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def show(self, folder, *names, width=1200, motion="no-preference", **view):
        """Make the page of the named records and open it."""
        file = folder / f"{'-'.join(names)}.html"
        view_files([folder / f"{name}.npz" for name in names], file, **view)
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(media="screen", reduced_motion=motion)
        self.page.mouse.move(0, 0)
        self.problems.clear()
        self.requests.clear()
        self.page.goto(file.as_uri())
        return file.as_uri()


@pytest.fixture(scope="module")
def tab():
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Tab(browser.new_page())
        browser.close()


@contextmanager
def opened(tab, folder, *names, **options):
    """A page of the named records. Whatever it complains about or asks for is an error."""
    address = tab.show(folder, *names, **options)
    yield tab.page
    assert tab.problems == []
    assert tab.requests == [address]


def go(page, t):
    """Move the slider to slot t of a page that begins at slot 1."""
    page.locator("#slider").fill(str(t - 1))


def slot(page):
    return int(page.locator("#slot").inner_text().split(" / ")[0])


def cell(page, measure, run=0):
    return page.locator(f'td[data-measure="{measure}"][data-run="{run}"]').inner_text()


def number(text):
    return float(text.replace("−", "-"))


def same(text, value):
    """Whether the text is the value, to the digits that the text has."""
    digits = len(text.partition(".")[2])
    return text.replace("−", "-") == f"{value:z.{digits}f}"


def texts(locator):
    return [" ".join(text.split()) for text in locator.all_text_contents()]


@pytest.mark.parametrize("width", [420, 1200])
@pytest.mark.parametrize("names", [("dice",), ("dice", "steady"), ("hostile",), ("staged",)])
def test_is_quiet_and_fits(tab, folder, names, width):
    with opened(tab, folder, *names, width=width) as page:
        page.locator("summary").click()
        overflow = "document.documentElement.scrollWidth - window.innerWidth"
        assert page.evaluate(overflow) <= 0
        # No text of a picture is cut off by its frame. Two pools per worker need more room than a
        # telephone has: there the frame scrolls.
        edges = """[...document.querySelectorAll('svg text:not(.gone)')].map(text => {
            const box = text.getBoundingClientRect();
            const frame = (text.closest('.frame') ?? document.body).getBoundingClientRect();
            return [box.left - frame.left, frame.right - box.right]; })"""
        ends = page.evaluate(edges)
        assert len(ends) > 20
        assert min(left for left, _ in ends) >= 0
        scrolls = page.evaluate(
            "(({scrollWidth, clientWidth}) => scrollWidth > clientWidth)"
            "(document.querySelector('.frame'))"
        )
        assert scrolls == (names == ("staged",) and width == 420)
        if not scrolls:
            assert min(right for _, right in ends) >= 0
        for picture in page.locator("svg.market, svg.timeline").all():
            assert picture.bounding_box()["width"] > 250
        assert page.locator("#controls").is_visible()
        page.emulate_media(media="print")
        assert not page.locator("#controls").is_visible()
        assert not page.locator("#help").is_visible()
        assert page.locator("svg.timeline").is_visible()


@pytest.mark.parametrize("row", [0, 1])
def test_readout_is_that_of_the_file(tab, folder, row):
    record = Record(folder / "dice.npz", row)
    with opened(tab, folder, "dice", row=row) as page:
        assert f"seed {SEEDS[row]}" in page.locator("#facts").inner_text()
        for t in (1, 3, 4, 17, SLOTS):  # slots 1 to 3 explore
            go(page, t)
            assert slot(page) == t
            for name, value in record.measures(t).items():
                assert same(cell(page, name), value), (t, name)
            assert cell(page, "phase") == ("explore" if (t - 1) % 7 < 3 else "exploit")
        assert cell(page, "profit").count(".") == 1  # digits are shown at all
        legend = page.locator("#curve-legend").inner_text()
        assert same(re.search(r"V\* = (\S+)", legend)[1], record.best)


def test_table_is_that_of_the_file(tab, folder):
    record = Record(folder / "dice.npz")
    with opened(tab, folder, "dice") as page:
        page.locator("summary").click()
        for t in (1, 23):
            go(page, t)
            assert page.locator("caption").inner_text() == f"dice, slot {t}"
            rows = page.locator("table.tasks tbody tr").all()
            assert len(rows) == record.status[0].size
            for i, row in enumerate(rows):
                at = (t - 1, *divmod(i, 2))
                provider, stage, worker, status, profit, latency, energy = row.locator(
                    "th, td"
                ).all_inner_texts()
                assert (provider, stage) == (f"P{i // 2}", ("ENC", "LLM")[i % 2])
                assert status == WORDS[record.status[at]]
                placed = record.status[at] != Status.DEFERRED
                assert worker == (f"W{record.allocation[at]}" if placed else "–")
                assert same(profit, record.profit[at])
                if record.status[at] == Status.ADMITTED:
                    assert same(latency, record.latency[at])
                    assert same(energy, record.energy[at])
                else:
                    assert (latency, energy) == ("–", "–")


def test_market_is_that_of_the_file(tab, folder):
    record = Record(folder / "dice.npz")
    world = draw_world(Scenario.load("testbed"), SEEDS)
    seen = set()
    with opened(tab, folder, "dice") as page:
        market = page.locator("svg.market")
        for t in (1, 8, 20, SLOTS):
            go(page, t)
            status, chosen = record.status[t - 1], record.allocation[t - 1]
            seen |= set(status.ravel().tolist())
            assert market.locator(".edge").count() == (status != Status.DEFERRED).sum()
            assert market.locator(".cross").count() == (status == Status.REJECTED).sum()
            assert market.locator(".barred").count() == (status == Status.INFEASIBLE).sum()
            assert market.locator(".held").count() == (status == Status.DEFERRED).sum()
            assert market.locator(".edge.enc").count() == (status[:, 0] != Status.DEFERRED).sum()
            loads = texts(market.locator(".load"))
            asked = texts(market.locator(".asked"))
            for n, (load, capacity) in enumerate(
                zip(record.load[t - 1], world.capacity[0, :-1], strict=True)
            ):
                assert loads[n] == f"{load:g} / {capacity:g}"
                tried = np.isin(status, (Status.ADMITTED, Status.REJECTED)) & (chosen == n)
                wanted = (world.demand[0][:, None] * tried).sum()
                assert asked[n] == (f"asked {wanted:g}" if wanted > capacity else "")
                parts = market.locator(f'.part.served[data-worker="{n}"]')
                assert parts.count() == (tried & (status == Status.ADMITTED)).sum()
            for m, text in enumerate(texts(market.locator(".profit"))):
                assert same(text.removeprefix("+"), record.profit[t - 1, m].sum())
        # The stages differ in colour and in dash.
        look = "(e) => { const s = getComputedStyle(e); return [s.stroke, s.strokeDasharray]; }"
        enc = page.locator(".market .edge.enc.served").first.evaluate(look)
        llm = page.locator(".market .edge.llm.served").first.evaluate(look)
        assert enc == ["rgb(0, 114, 178)", "none"]
        assert llm[0] == "rgb(213, 94, 0)"
        assert llm[1] != "none"
    assert seen == {0, 1, 2, 3}


def test_a_pool_per_stage(tab, folder):
    with np.load(folder / "staged.npz") as data:
        status, chosen, load = (data[name][0, 0] for name in ("status", "allocation", "load"))
    world = draw_world(Scenario.load("paper", providers=12), [0])
    with opened(tab, folder, "staged") as page:
        for n, text in enumerate(texts(page.locator(".market .load"))):
            runs = (status == Status.ADMITTED) & (chosen == n)
            enc, llm = (world.demand[0][:, None] * runs).sum(axis=0)
            assert enc + llm == load[n]
            assert text == f"{enc:g} + {llm:g} / {world.capacity[0, n]:g} each"
        assert page.locator(".market .room").count() == 10


def test_keys(tab, folder):
    with opened(tab, folder, "dice") as page:
        for key, want in (
            *(("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 1), ("Shift+ArrowRight", 11)),
            *(("ArrowRight", 12), ("Shift+ArrowLeft", 2), ("End", SLOTS), ("ArrowRight", SLOTS)),
            *(("Shift+ArrowLeft", SLOTS - 10), ("Home", 1)),
        ):
            page.keyboard.press(key)
            assert slot(page) == want, key
        page.locator("#slider").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowRight")
        assert slot(page) == 12  # the slider's own steps do not come on top
        page.locator("#speed").focus()
        page.keyboard.press("End")
        assert slot(page) == 12  # chooses a speed
        page.keyboard.press("Control+Home")


def test_buttons(tab, folder):
    with opened(tab, folder, "dice") as page:
        for name, want in (
            *(("Next slot", 2), ("Next slot", 3), ("Previous slot", 2), ("Last slot", SLOTS)),
            ("First slot", 1),
        ):
            page.get_by_role("button", name=name).click()
            assert slot(page) == want
        assert page.get_by_role("slider", name="Slot").count() == 1
        assert page.get_by_role("combobox", name="Speed").count() == 1


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_plays_to_the_end_and_stops(tab, folder, motion):
    with opened(tab, folder, "dice", motion=motion) as page:
        page.locator("#speed").select_option("50")
        page.evaluate("""() => {
            window.told = 0;
            new MutationObserver(() => { window.told += 1; })
              .observe(document.getElementById("live"), {childList: true, subtree: true}); }""")
        go(page, 20)
        began = time.perf_counter()
        page.locator("body").press("Space")
        assert page.get_by_role("button", name="Pause").count() == 1
        page.get_by_role("button", name="Play").wait_for(timeout=5000)
        assert time.perf_counter() - began > 19 / 50  # from slot 20 to 40, but for rounding
        assert slot(page) == SLOTS
        page.locator("#live:not(:empty)").wait_for(state="attached", timeout=2000)
        page.wait_for_timeout(100)
        assert page.evaluate("window.told") == 1  # not once per slot
        assert page.locator("#live").inner_text().startswith(f"Slot {SLOTS}. dice: profit")
        duration = "(e) => getComputedStyle(e).transitionDuration"
        shown = page.locator(".market .edge").first.evaluate(duration)
        assert (shown == "0s") == (motion == "reduce")


def test_space_pauses_or_presses_the_button_in_focus(tab, folder):
    with opened(tab, folder, "dice") as page:
        name = "(e) => e.getAttribute('aria-label')"
        play_button = page.locator("#play")
        page.locator("body").press("Space")
        assert play_button.evaluate(name) == "Pause"
        page.locator("body").press("Space")
        assert play_button.evaluate(name) == "Play"
        play_button.press("Space")
        assert play_button.evaluate(name) == "Pause"
        page.locator("body").press("ArrowRight")  # whoever steps does not want to be moved
        assert play_button.evaluate(name) == "Play"
        at = slot(page)
        page.wait_for_timeout(300)
        assert slot(page) == at
        page.locator("#next").press("Space")
        assert slot(page) == at + 1
        assert play_button.evaluate(name) == "Play"


def test_nothing_is_read_out_while_playing(tab, folder):
    with opened(tab, folder, "dice") as page:
        page.locator("#speed").select_option("2")
        page.locator("#play").click()
        page.locator("#slot", has_text=re.compile(r"^3 /")).wait_for()
        assert page.locator("#live").inner_text() == ""
        page.locator("#play").click()
        page.locator("#live", has_text=re.compile(r"^Slot \d+\. dice: profit")).wait_for()


def test_clicking_the_curves_moves(tab, folder):
    with opened(tab, folder, "dice") as page:
        box = page.locator("svg.timeline").bounding_box()
        cursor = page.locator("svg.timeline .cursor")
        left, right = 52, 20  # margins of the plot
        wide = box["width"] - left - right
        for t in (1, 13, 33, SLOTS):
            x = left + wide * (t - 0.5) / SLOTS
            page.locator("svg.timeline").click(position={"x": x, "y": 70})
            assert slot(page) == t
            assert float(cursor.get_attribute("x1")) == pytest.approx(x, abs=1)
        page.locator("svg.timeline").click(position={"x": 10, "y": 70})
        assert slot(page) == 1  # left of the plot is its first slot
        page.mouse.down()
        page.mouse.move(box["x"] + left + wide * 0.5, box["y"] + 70, steps=3)
        page.mouse.up()
        assert abs(slot(page) - SLOTS / 2) <= 1  # dragging follows the pointer
        page.mouse.move(box["x"] + left, box["y"] + 70)
        assert abs(slot(page) - SLOTS / 2) <= 1


def points(path):
    """Coordinates of a curve, (?, 2)."""
    return np.array([float(x) for x in re.findall(r"-?[\d.]+", path)]).reshape(-1, 2)


def test_curves_are_those_of_the_file(tab, folder):
    record = Record(folder / "dice.npz")
    t = np.arange(1, SLOTS + 1)
    profit = record.profit.sum(axis=(1, 2))
    average = profit.cumsum() / t
    regret = t * record.best - record.expected_profit.sum(axis=(1, 2)).cumsum()
    with opened(tab, folder, "dice") as page:
        own = page.locator(".timeline .curve.run0")
        drawn = [points(own.nth(k).get_attribute("d")) for k in range(2)]
        each = points(page.locator(".timeline .curve.each").get_attribute("d"))
        level = page.locator(".timeline .curve.best").get_attribute("d")
        spikes = page.locator(".timeline .spikes").get_attribute("d")
    for (x, y), values in zip((d.T for d in drawn), (average, regret), strict=True):
        assert np.ptp(np.diff(x)) < 0.21  # even steps
        slope, start = np.polyfit(values, y, 1)
        assert slope < 0
        assert np.abs(slope * values + start - y).max() < 0.15
    # On the axis of the averages lie also the single slots and the optimum.
    slope, start = np.polyfit(average, drawn[0][:, 1], 1)
    assert np.abs(slope * profit + start - each[:, 1]).max() < 1
    assert abs(slope * record.best + start - float(level.split()[1].split("h")[0])) < 1
    rejected = (record.status == Status.REJECTED).sum(axis=(1, 2))
    high = -np.array([float(v) for v in re.findall(r"v(-[\d.]+)", spikes)])
    np.testing.assert_allclose(high, 30 * rejected[rejected > 0] / rejected.max(), atol=0.06)


def test_phase_band(tab, folder):
    record = Record(folder / "dice.npz")
    wanted, t = [], 0
    while t < SLOTS:
        end = t
        while end < SLOTS and record.exploring[end]:
            end += 1
        if end > t:
            wanted.append((t + 1, end - t))
        t = end + 1
    with opened(tab, folder, "dice", "steady") as page:
        bands = page.locator(".timeline .phases")
        assert bands.count() == 1  # the other run has no phases
        assert bands.get_attribute("data-run") == "0"
        spans = bands.locator(".explore").all()
        told = [
            (int(s.get_attribute("data-from")), int(s.get_attribute("data-length"))) for s in spans
        ]
        assert told == wanted
        ground = bands.locator(".exploit")
        left, wide = (float(ground.get_attribute(name)) for name in ("x", "width"))
        for span, (first, length) in zip(spans, wanted, strict=True):
            x, width = (float(span.get_attribute(name)) for name in ("x", "width"))
            assert x == pytest.approx(left + wide * (first - 1) / SLOTS, abs=0.1)
            assert width == pytest.approx(wide * length / SLOTS, abs=0.1)
        assert "explore" in page.locator("#curve-legend").inner_text()
    with opened(tab, folder, "steady") as page:
        assert page.locator(".phases").count() == 0
        assert page.locator('td[data-measure="phase"]').count() == 0
        assert "explore" not in page.locator("#curve-legend").inner_text()


def lit(page):
    found = page.locator(".market .edge.lit").all()
    return {int(edge.get_attribute("data-provider")) for edge in found}


def test_following_a_provider(tab, folder):
    with opened(tab, folder, "dice", "steady") as page:
        go(page, 4)
        third = page.locator('.market .provider[data-provider="3"]').first
        first = page.locator('.market .provider[data-provider="1"]').first
        assert lit(page) == set()
        third.hover()
        assert lit(page) == {3}
        assert page.locator(".market .edge:not(.dim)").count() == page.locator(".edge.lit").count()
        assert page.locator("svg.market").nth(1).locator(".edge.lit").count() == 2  # there, too
        page.mouse.move(5, 5)
        assert lit(page) == set()
        third.click()
        page.mouse.move(5, 5)
        assert lit(page) == {3}
        assert third.get_attribute("aria-pressed") == "true"
        page.keyboard.press("ArrowRight")
        assert lit(page) == {3}  # stays with the provider
        first.hover()
        assert lit(page) == {1}
        page.mouse.move(5, 5)
        third.click()
        page.mouse.move(5, 5)
        assert lit(page) == set()
        first.focus()
        assert lit(page) == {1}
        at = slot(page)
        page.keyboard.press("Space")
        assert first.get_attribute("aria-pressed") == "true"
        page.wait_for_timeout(300)
        assert slot(page) == at  # the key followed the provider and did not play
        page.locator("#next").focus()
        assert lit(page) == {1}
        assert re.match(
            r"Provider 1: demand 1, profit .*; ENC .*, LLM ", first.get_attribute("aria-label")
        )


def test_two_runs_side_by_side(tab, folder):
    records = [Record(folder / f"{name}.npz") for name in ("dice", "steady")]
    with opened(tab, folder, "dice", "steady") as page:
        go(page, 30)
        both = [record.measures(30) for record in records]
        for name in both[0]:
            shown = [cell(page, name, run) for run in (0, 1, "difference")]
            assert same(shown[0], both[0][name])
            assert same(shown[1], both[1][name])
            a, b, difference = map(number, shown)
            assert difference == pytest.approx(a - b, abs=1e-9)
        for k, record in enumerate(records):
            status = record.status[29]
            edges = page.locator("svg.market").nth(k).locator(".edge")
            assert edges.count() == (status != Status.DEFERRED).sum()
        look = "(e) => { const s = getComputedStyle(e); return [s.stroke, s.strokeDasharray]; }"
        one, other = (page.locator(f".timeline .curve.run{k}").first.evaluate(look) for k in (0, 1))
        assert one[0] != other[0]
        assert one[1] != other[1]
        one, other = (market.bounding_box() for market in page.locator("svg.market").all())
        assert one["y"] == pytest.approx(other["y"], abs=1)
        assert texts(page.locator("caption")) == ["A: dice, slot 30", "B: steady, slot 30"]
        page.set_viewport_size({"width": 880, "height": 900})
        one, other = (market.bounding_box() for market in page.locator("svg.market").all())
        assert other["y"] > one["y"] + one["height"]


def test_text_keeps_its_size_when_the_window_changes(tab, folder):
    with opened(tab, folder, "dice") as page:
        for width in (1200, 420, 700):
            page.set_viewport_size({"width": width, "height": 900})
            for picture in page.locator("svg.market, svg.timeline").all():
                box = picture.bounding_box()
                drawn = float(picture.get_attribute("viewBox").split()[2])
                assert box["width"] == pytest.approx(drawn, abs=1)


def test_hostile_names_are_text(tab, folder):
    with opened(tab, folder, "hostile") as page:
        assert page.locator("h1").inner_text() == f"{HOSTILE} on toy"
        assert page.title() == f"{HOSTILE} on toy"
        assert page.locator("h2").inner_text().startswith(HOSTILE)
        assert page.locator("img").count() == 0


def test_policy_is_in_force(tab, folder):
    tab.show(folder, "dice")
    page = tab.page
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.intruder = true";
        document.body.append(script);
        document.body.setAttribute("style", "color: red"); }""")
    assert page.evaluate("window.intruder") is None
    assert page.evaluate("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"
    assert len(tab.problems) == 2


def test_some_slots_of_a_long_run(tab, folder):
    record = Record(folder / "dice.npz")
    with opened(tab, folder, "dice", slots=(11, 20)) as page:
        assert page.locator("#slot").inner_text() == f"11 / {SLOTS}"
        assert "11 to 20" in page.locator("#facts").inner_text()
        page.keyboard.press("End")
        assert slot(page) == 20
        for name, value in record.measures(20).items():
            assert same(cell(page, name), value), name
        ticks = texts(page.locator(".timeline .tick.middle"))
        assert ticks[0] == "11"
        assert ticks[-1] == "20"
    with opened(tab, folder, "dice", width=420, slots=(9, SLOTS)) as page:
        ticks = page.locator(".timeline .tick.middle")
        assert texts(ticks)[0] == "9"
        boxes = [tick.bounding_box() for tick in ticks.all()]
        for one, other in pairwise(boxes):
            assert one["x"] + one["width"] < other["x"]


def test_summary_of_what_was_made(folder):
    out = folder / "sub" / "page.html"
    summary = view_files([folder / "dice.npz", folder / "steady.npz"], out, row=1)
    records = [Record(folder / f"{name}.npz", 1) for name in ("dice", "steady")]
    assert summary.pop("regret") == pytest.approx(
        [record.measures(SLOTS)["regret"] for record in records]
    )
    assert summary.pop("profit") == pytest.approx([record.profit.sum() for record in records])
    assert summary == {
        "page": str(out),
        "bytes": out.stat().st_size,
        "scenario": "testbed",
        "seed": 4,
        "slots": [1, SLOTS],
        "policies": ["dice", "steady"],
    }


def test_what_cannot_be_viewed(folder):
    out = folder / "never.html"
    one, other = folder / "dice.npz", folder / "hostile.npz"
    with pytest.raises(ValueError, match=r"differ: .*name: testbed and toy"):
        view_files([one, other], out)
    with pytest.raises(ValueError, match=r"holds 2 runs, 0 to 1"):
        view_files([one], out, row=2)
    with pytest.raises(ValueError, match="no file"):
        view_files([], out)
    with pytest.raises(ValueError, match=r"never\.html"):
        view_files([out], out)
    assert not out.exists()


def test_size_of_the_paper_s_page(tmp_path):
    run = play(Scenario.load("paper"), Dice(), [0])
    save_run(tmp_path / "run.npz", run, {"policy": "dice"})
    assert view_files([tmp_path / "run.npz"], tmp_path / "run.html")["bytes"] < 1_000_000
