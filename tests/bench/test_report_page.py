"""The report in a browser: no error, no request, nothing cut off, and it prints."""

import shutil
from pathlib import Path

import pytest
from test_report import HOSTILE, ODD, outside, played, small

from distmllm_bench.report.run import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    hostile = {"policy": "ucb", "id": HOSTILE}
    policies = ["heu", "distmllm", hostile, outside("Flaky", id=ODD)]
    suite = small(policies, runs=2, slots=30)
    return write_report(played(tmp_path_factory.mktemp("page") / "sweep", suite))


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser, report, width):
    """The page, and what it complained about and asked for."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(Path(report["report"]).as_uri())
    return page, problems, requests


@pytest.mark.parametrize("width", [420, 1200])
def test_report_in_a_browser(browser, report, width):
    page, problems, requests = opened(browser, report, width)
    pictures = page.locator("figure svg")
    boxes = [pictures.nth(i).bounding_box() for i in range(pictures.count())]
    frames = page.locator("figure")
    outer = [frames.nth(i).bounding_box() for i in range(frames.count())]
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    style = page.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse")
    names = page.locator("tbody th").all_inner_texts()
    bold = page.locator("b").count()
    box = page.locator(".warning").inner_text()
    text_sizes = page.evaluate(
        """[...document.querySelectorAll('figure text')]
           .map(text => text.getBoundingClientRect().height)"""
    )
    page.close()
    assert problems == []
    assert requests == [Path(report["report"]).as_uri()]
    assert style == "collapse"  # the style sheet is the one that the policy of the page allows
    assert overflow <= 0
    assert len(boxes) == 8
    for picture, frame in zip(boxes, outer, strict=True):
        assert picture["width"] > 300
        assert picture["height"] > 100
        assert frame["x"] + frame["width"] <= width
    assert min(size for size in text_sizes if size > 0) > 5
    assert HOSTILE in names
    assert bold == 0
    assert "lost <i>the</i> thread | & gave up" in box


def test_labels_lie_inside_their_pictures(browser, report):
    page, _, _ = opened(browser, report, 1200)
    outside = page.evaluate(
        """[...document.querySelectorAll('figure svg')].flatMap(svg => {
             const frame = svg.getBoundingClientRect();
             return [...svg.querySelectorAll('text')].filter(t => {
               const box = t.getBoundingClientRect();
               return box.left < frame.left - 2 || box.right > frame.right + 2
                   || box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
             }).map(t => t.textContent);
           })"""
    )
    page.close()
    assert outside == []


def test_report_prints(browser, report, tmp_path):
    page, problems, requests = opened(browser, report, 1200)
    page.emulate_media(media="print")
    # A4 less the margins, at 96 dots per inch.
    page.set_viewport_size({"width": 703, "height": 1000})
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    content = page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=True)
    page.close()
    assert problems == []
    assert len(requests) == 1
    assert overflow <= 0
    assert content.startswith(b"%PDF")
    assert 3 <= content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") <= 12
