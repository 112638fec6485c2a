"""Make the pictures of README and the reference copy of the reproduction.

``.venv/bin/python docs/pictures.py`` takes some minutes. With ``--robustness`` it also plays the
200 draws of the constants, which takes some minutes more.
"""

from __future__ import annotations

import csv
import io
import shutil
import sys
import tempfile
from pathlib import Path

import gymnasium as gym
import matplotlib.image

import distmllm_env
from distmllm_bench import style
from distmllm_bench.demo import POLICIES, figure, play_all
from distmllm_bench.engines import make_engine
from distmllm_bench.files import save_run
from distmllm_bench.report.run import write_report
from distmllm_bench.reproduce import fig4, fig5, fig6, fig7
from distmllm_bench.reproduce.lab import Lab
from distmllm_bench.reproduce.run import reproduce, robust
from distmllm_bench.sweep.planning import make_plan
from distmllm_bench.sweep.run import bench
from distmllm_bench.sweep.suite import Suite
from distmllm_bench.viewing import view_files

HERE = Path(__file__).parent
REFERENCE = HERE / "reproduced"
SMALL = 5000
"""Tables above this many bytes, one line a slot, are not kept here; the command writes them."""


def market(slot: int = 120) -> None:
    """DistMLLM on the testbed: a recorded run, replayed in the environment up to ``slot``."""
    scenario = distmllm_env.Scenario.load("testbed")
    run = distmllm_env.play(scenario, distmllm_env.load_policy("distmllm"), [0])
    env = gym.make("DistMLLM-v0", scenario="testbed", render_mode="rgb_array")
    env.reset(seed=0)
    for allocation in run.allocation[0, :slot]:
        env.step(allocation.ravel())
    matplotlib.image.imsave(HERE / "market.png", env.render())


def demo() -> None:
    """The figures of ``distmllm demo``."""
    scenarios = [distmllm_env.Scenario.load(name) for name in ("paper", "testbed")]
    results = play_all(scenarios, POLICIES, range(20))
    for scenario in scenarios:
        files = figure(scenario, results[scenario.name])
        (HERE / f"demo-{scenario.name}.png").write_bytes(files["png"])


def leaderboard(folder: Path) -> None:
    """The official leaderboard: ``distmllm bench full --seeds official`` and its report."""
    plan = make_plan(Suite.load("full"), split="official")
    bench(plan, folder, make_engine("loky", 2))
    about = {policy.id: policy.about for policy in plan.policies}
    rows = []
    for row in write_report(folder)["leaderboard"]:
        told = about[row["policy"]]
        kept = {name: row[name] for name in ("division", "rank", "policy")}
        kept |= {name: getattr(told, name) for name in ("knows", "pretrained", "coordinates")}
        numbers = {name: round(row[name], 5) for name in ("score", "low", "high", "of_optimum")}
        rows.append({**kept, **numbers, "verdict": row["verdict"]})
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (HERE / "leaderboard.csv").write_text(out.getvalue(), encoding="utf-8")
    (HERE / "leaderboard.png").write_bytes((folder / "figures" / "leaderboard.png").read_bytes())


def viewer() -> None:
    """The page of two recorded runs, as a browser shows it; needs chromium."""
    from playwright.sync_api import sync_playwright

    scenario = distmllm_env.Scenario.load("testbed")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as p:
        folder = Path(name)
        files = []
        for policy in ("distmllm", "ucb-sigma"):
            files.append(folder / f"{policy}.npz")
            run = distmllm_env.play(scenario, distmllm_env.load_policy(policy), [0])
            save_run(files[-1], run, {"policy": policy})
        view_files(files, folder / "run.html")
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1110})
        page.goto((folder / "run.html").as_uri())
        for _ in range(12):
            page.keyboard.press("Shift+ArrowRight")
        page.screenshot(path=HERE / "viewer.png")
        browser.close()


def figures() -> None:
    """Figures 4 to 7 of the paper on one page."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lab = Lab(range(20))
    panels = [p for module in (fig4, fig5, fig6, fig7) for p in module.panels(lab, "sd")]
    with mpl.rc_context(style.RC):
        page = Figure(figsize=(13.0, 5.4), layout="constrained")
        FigureCanvasAgg(page)
        lines = {}
        for ax, panel in zip(page.subplots(2, 5).ravel(), panels, strict=True):
            panel.draw(ax)
            ax.set_title(panel.id, loc="left", fontweight="bold")
            ax.get_legend().remove()  # one legend for the page
            if not panel.id.startswith(("5", "6", "7a")):
                lines |= {line.get_label(): line for line in ax.get_lines()}
        lines |= {"Figure 5: one line per provider": mpl.lines.Line2D([], [], linestyle="none")}
        page.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=5)
        (HERE / "reproduced.png").write_bytes(style.rendered(page, dpi=110)["png"])


def reference() -> None:
    """The ledger of claims and the small tables of ``distmllm reproduce``."""
    with tempfile.TemporaryDirectory() as folder:
        result = reproduce(
            Path(folder), range(20), command="distmllm reproduce --seeds 20 --base-seed 0"
        )
        REFERENCE.mkdir(exist_ok=True)
        for path in (Path(folder) / "claims.md", Path(folder) / "claims.json"):
            (REFERENCE / path.name).write_bytes(path.read_bytes())
        for path in map(Path, result["files"]):
            if path.suffix == ".csv" and path.stat().st_size < SMALL:
                (REFERENCE / path.name).write_bytes(path.read_bytes())


def robustness() -> None:
    """``distmllm reproduce --robustness --seeds 10``: table and figure."""
    with tempfile.TemporaryDirectory() as folder:
        robust(Path(folder), range(10), 200, 2)
        for kind in ("csv", "png"):
            made = Path(folder) / "figures" / f"robustness.{kind}"
            (REFERENCE / made.name).write_bytes(made.read_bytes())


if __name__ == "__main__":
    market()
    demo()
    viewer()
    figures()
    reference()
    with tempfile.TemporaryDirectory() as cells:
        leaderboard(Path(cells))
    if "--robustness" in sys.argv:
        robustness()
