"""Commands about single runs and problems: demo, list, run, view, export, solve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from distmllm_bench.cli.common import AsJson, key_value, usage_errors


def demo(
    out: Annotated[Path, typer.Option(help="Folder for table, figures and page.")] = Path(
        "runs/demo"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs per policy.")] = 20,
    slots: Annotated[int | None, typer.Option(min=1, help="Horizon T [scenario's own].")] = None,
    scenario: Annotated[
        list[str] | None, typer.Option(help="Name or TOML file, repeatable [paper, testbed].")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="Name or package.module:Class, repeatable [all of the paper's]."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play DistMLLM, UCB, HEU and the oracle on the paper's world and on real devices."""
    from distmllm_bench import demo as job

    with usage_errors():
        tables, numbers = job.run_demo(
            out, seeds, slots, scenario or job.SCENARIOS, policy or job.POLICIES
        )
    if as_json:
        print(json.dumps(numbers, indent=2))
    else:
        print(f"{tables}\n\nreport:  {out / 'report.html'}\nfigures: {out / 'figures'}")


def list_(
    what: Annotated[str, typer.Argument(help="scenarios, policies, suites, devices or figures")],
    as_json: AsJson = False,
) -> None:
    """List what the package knows by name."""
    from distmllm_bench import catalogue

    with usage_errors():
        rows = catalogue.rows(what)
    print(json.dumps(rows, indent=2) if as_json else catalogue.table(rows))


def run(
    scenario: Annotated[str, typer.Option(help="Name or TOML file.")] = "paper",
    policy: Annotated[str, typer.Option(help="Name or package.module:Class.")] = "distmllm",
    seed: Annotated[int, typer.Option(min=0, help="Fixes the world and all luck.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Save the record here (.npz).")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Horizon T [scenario's own].")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a scenario key, repeatable."),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Give the policy's class this, repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play one policy on one scenario and say what it earned."""
    from importlib.metadata import version

    from distmllm_bench.files import save_run
    from distmllm_bench.metrics import Scores, optimum
    from distmllm_bench.progress import Progress
    from distmllm_env import Scenario, load_policy, play

    with usage_errors():
        if out is not None and out.suffix != ".npz":
            raise ValueError(f"--out {out}: a file name ending in .npz is allowed.")
        chosen = Scenario.load(scenario, dict(map(key_value, set_ or [])), slots=slots)
        player = load_policy(policy, **dict(key_value(p, "--parameter") for p in parameter or []))
        with Progress(chosen.slots, "slot") as progress:
            progress.begin(f"{chosen.name}: {policy}")
            record = play(chosen, player, [seed], progress=progress.step)
    scores = Scores(record, optimum(record.world))
    result = {
        "scenario": chosen.name,
        "policy": policy,
        "seed": seed,
        "slots": chosen.slots,
        "profit": float(scores.profit[0]),
        "regret": float(scores.regret[0]),
        "jain": float(scores.jain[0]),
        "rejected": float(scores.rejected[0]),
        "deferred": float(scores.deferred[0]),
        "optimum_per_slot": float(scores.best.value[0]),
    }
    if out is not None:
        save_run(out, record, {"policy": policy, "version": version("distmllm-env")})
        result["file"] = str(out)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        for key, value in result.items():
            print(f"{key:17}{value:.4f}" if isinstance(value, float) else f"{key:17}{value}")


def view(
    files: Annotated[list[Path], typer.Argument(help="A recorded run (.npz), or two.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write.")] = Path("run.html"),
    row: Annotated[int, typer.Option(min=0, help="Which run of a batch.")] = 0,
    slots: Annotated[
        str | None, typer.Option(help="Only these, as FIRST-LAST, from 1: for long runs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn one recorded run, or two side by side, into a page to step through."""
    from distmllm_bench.viewing import view_files

    with usage_errors():
        result = view_files(files, out, row, None if slots is None else _first_last(slots))
    print(json.dumps(result, indent=2) if as_json else f"page: {out}")


def _first_last(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (dash and first.strip().isdecimal() and last.strip().isdecimal()):
        raise ValueError(f"--slots {text!r} is not allowed: FIRST-LAST, e.g. 1-500.")
    return int(first), int(last)


def export(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A recorded run, .npz.")
    ],
    name: Annotated[str, typer.Option("--id", help="Name of the dataset, e.g. distmllm/ucb-v0.")],
    path: Annotated[Path | None, typer.Option(help="Folder of datasets [Minari's own].")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a recorded run into a Minari dataset for offline learning (extra offline)."""
    from distmllm_bench.offline import export_run

    with usage_errors():
        summary = export_run(file, name, path)
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        for key, value in summary.items():
            print(f"{key:17}{value}")


def solve(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="m n, profits, ...")],
    method: Annotated[str, typer.Option(help="exact, branch-and-bound or sequential.")] = "exact",
    minimise: Annotated[bool, typer.Option("--minimise", help="The file holds costs.")] = False,
    problem: Annotated[int, typer.Option(min=0, help="Which problem of the file, from 0.")] = 0,
    node_limit: Annotated[
        int | None, typer.Option(min=0, help="Stop there; branch-and-bound only [none].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Solve a published generalized assignment problem: every job to exactly one agent.

    The file is of OR-Library's or Yagiura's kind: agents m and jobs n, m rows of n profits or
    costs, m rows of n weights, m capacities; several problems follow their number.
    """
    from distmllm_bench.solving import solve_file

    with usage_errors():
        result = solve_file(file, method, minimise, problem, node_limit)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        for key in ("value", "bound", "gap", "status", "nodes", "seconds"):
            entry = result[key]
            shown = f"{entry:.4f}" if isinstance(entry, float) else entry
            print(f"{key:17}{'none' if entry is None else shown}")
