"""Commands about sweeps: bench, report, check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from distmllm_bench.cli.common import AsJson, kept_cells, usage_errors


def bench(
    suite: Annotated[str, typer.Argument(help="smoke, paper, full or a TOML file.")],
    out: Annotated[Path | None, typer.Option(help="Folder of results [runs/bench/SUITE].")] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="One more: name, package.module:Class or trained FILE.npz; repeatable."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="development or official [the suite's].")
    ] = None,
    salt: Annotated[str | None, typer.Option(help="Draw the seeds by this word instead.")] = None,
    division: Annotated[
        str, typer.Option(help="closed: --policy may know legal observations only.")
    ] = "open",
    jobs: Annotated[int, typer.Option(min=1, help="Processes; 1: this one.")] = 2,
    backend: Annotated[str, typer.Option(help="serial, loky, or ray for many machines.")] = "loky",
    ray_address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster, host:port or auto.")
    ] = None,
    shard: Annotated[str | None, typer.Option(help="Only part i of n, as i/n.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Play failed cells again.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that a run of a policy from outside may take.")
    ] = 600.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be played, play nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Play scenarios x policies x seeds; what is there already is not played again."""
    from distmllm_bench import catalogue
    from distmllm_bench.engines import make_engine
    from distmllm_bench.sweep import run as work
    from distmllm_bench.sweep.planning import make_plan
    from distmllm_bench.sweep.suite import Suite

    command = " ".join(["distmllm", *sys.argv[1:]])
    with usage_errors():
        if seeds is not None and salt is not None:
            raise ValueError("--seeds has no effect with --salt: leave one of them out.")
        chosen = Suite.load(suite)
        part = None if shard is None else work.Shard.parse(shard)
        engine = make_engine(backend, jobs, ray_address)
        plan = make_plan(
            chosen, policy or (), split=seeds, salt=salt, division=division, command=command
        )
    folder = out or Path("runs/bench") / chosen.name
    if dry_run:
        rows = work.dry_run(plan, folder, part, retry_failed)
        print(json.dumps(rows, indent=2) if as_json else catalogue.table(rows))
        return
    with kept_cells(folder):
        result = work.bench(
            plan, folder, engine, shard=part, retry_failed=retry_failed, seconds=timeout
        )
    print(json.dumps(result, indent=2) if as_json else work.text(result, folder))
    if result["cells"]["failed"] or result["cells"]["damaged"]:
        raise typer.Exit(1)


def report(
    folder: Annotated[Path, typer.Argument(help="What distmllm bench filled.")],
    as_json: AsJson = False,
) -> None:
    """Write report.html, summary.md, results.csv and figures about a sweep."""
    from distmllm_bench.report.run import text, write_report

    with usage_errors():
        result = write_report(folder)
    print(json.dumps(result, indent=2) if as_json else text(result))
    if any(count for state, count in result["cells"].items() if state != "done"):
        raise typer.Exit(1)


def check(
    folder: Annotated[Path, typer.Argument(help="What distmllm bench filled.")],
    sample: Annotated[int, typer.Option(min=1, help="Cells to play again.")] = 20,
    every: Annotated[bool, typer.Option("--all", help="Play all of them again.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of the sample.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; 1: this one.")] = 2,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that a run of a policy from outside may take.")
    ] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Play a sample of a sweep again, each run alone, and compare bit for bit."""
    from distmllm_bench.engines import make_engine
    from distmllm_bench.sweep import check as work

    with usage_errors():
        engine = make_engine("loky", jobs)
        result = work.check(folder, engine, None if every else sample, seed, timeout)
    print(json.dumps(result, indent=2) if as_json else work.text(result))
    if not result["passed"]:
        raise typer.Exit(1)
