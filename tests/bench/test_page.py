"""The demo page in a browser: no error, no request, the numbers of the table, nothing cut off."""

import shutil
from pathlib import Path

import pytest

from distmllm_bench.demo import run_demo

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    _, numbers = run_demo(folder, 2, 12, ("toy", "testbed"), ("oracle", "distmllm", "ucb"))
    return folder / "report.html", numbers


def test_page_asks_the_network_for_nothing(report):
    text = report[0].read_text()
    assert "default-src 'none'" in text
    for word in ("<script", "<link", "<img", "@import", "url(http"):
        assert word not in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [420, 1100])
def test_page_in_a_browser(report, width):
    playwright = pytest.importorskip("playwright.sync_api")
    page_file, numbers = report
    problems, requests = [], []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(Path(page_file).as_uri())
        cells = page.locator("section").nth(1).locator("tbody tr").nth(2).locator("td")
        shown = cells.nth(2).inner_text()
        pictures = page.locator("figure svg")
        boxes = [pictures.nth(i).bounding_box() for i in range(pictures.count())]
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        browser.close()
    assert problems == []
    assert requests == [Path(page_file).as_uri()]
    ucb = numbers["scenarios"]["testbed"]["ucb"]["regret"]
    assert shown == f"{ucb['mean']:.0f} ± {ucb['sd']:.0f}"
    assert len(boxes) == 2
    for box in boxes:
        assert box is not None
        assert box["width"] > 300
        assert box["x"] + box["width"] <= width
    assert overflow <= 0  # the table scrolls inside its own frame
