"""The ``distmllm`` command. Heavy imports live inside the commands, so that ``--help`` is quick.

Exit codes: 0 done, 1 something failed, 2 wrong usage. Results go to stdout, progress to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Build, compare and teach schedulers for multimodal LLM serving at the edge.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.command()
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


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="scenarios, policies, suites, devices or figures")],
    as_json: AsJson = False,
) -> None:
    """List what the package knows by name."""
    from distmllm_bench import catalogue

    with usage_errors():
        rows = catalogue.rows(what)
    print(json.dumps(rows, indent=2) if as_json else catalogue.table(rows))


@app.command()
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
        chosen = Scenario.load(scenario, dict(map(_key_value, set_ or [])), slots=slots)
        player = load_policy(policy)
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


@app.command()
def train(
    algo: Annotated[str, typer.Option(help="ppo, a2c, dqn or maskable_ppo.")] = "ppo",
    scenario: Annotated[str | None, typer.Option(help="Name or TOML file [paper].")] = None,
    mode: Annotated[
        str | None, typer.Option(help="central, shared or independent [the algorithm's].")
    ] = None,
    network: Annotated[str, typer.Option(help="mlp or equivariant.")] = "mlp",
    observation: Annotated[
        str | None, typer.Option(help="last (slot) or statistics of every pair.")
    ] = None,
    world: Annotated[str | None, typer.Option(help="fixed, or redrawn for every episode.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Market slots to train for.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes everything.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for policy, curve and log.")] = Path(
        "runs/train"
    ),
    settings: Annotated[
        str | None, typer.Option(help="TOML file with all settings, instead of the shipped ones.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting, e.g. algorithm.gamma=0.9."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a policy with Stable-Baselines3 (extra rl)."""
    from distmllm_bench.training import run_training

    preset = settings or (f"{algo}-{network}" if network != "mlp" else algo)
    named = {
        "scenario": scenario,
        "mode": mode,
        "observation": observation,
        "world": world,
        "slots": slots,
        "seed": seed,
    }
    with usage_errors():
        overrides = {key: value for key, value in named.items() if value is not None}
        overrides |= dict(map(_key_value, set_ or []))
        command = " ".join(["distmllm", *sys.argv[1:]])
        text, numbers = run_training(out, preset, overrides, resume, command)
    print(json.dumps(numbers, indent=2) if as_json else text)


@app.command()
def learning(
    only: Annotated[
        list[str] | None,
        typer.Option(help="table, elsewhere, fixed or networks; repeatable [all]."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Runs of table and elsewhere.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path(
        "runs/learning"
    ),
    jobs: Annotated[int, typer.Option(min=1, help="Trainings side by side.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="A twentieth of the training.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what training buys: shipped policies, other markets, fixed worlds, networks."""
    from distmllm_bench.learning import run_learning

    with usage_errors():
        tables = run_learning(out, only or (), range(seeds), jobs, quick)
    if as_json:
        print(json.dumps(tables, indent=2))
    else:
        print("\n".join(f"{name}\n\n{table}" for name, table in tables.items()), end="")
        print(f"\nfiles: {out}")


@app.command()
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
    backend: Annotated[str, typer.Option(help="loky, or ray for many machines.")] = "loky",
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def grade(
    file: Annotated[Path, typer.Argument(help="What was handed in: .py or .ipynb.")],
    tests: Annotated[
        Path | None, typer.Option(help="Its pytest file [test_NAME.py beside it].")
    ] = None,
    assignment: Annotated[
        Path | None, typer.Option(help="Source of the assignment instead, hidden tests included.")
    ] = None,
    seed_salt: Annotated[
        str | None, typer.Option(help="Word that makes the hidden tests, with --assignment.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Grade a submission with plain pytest; its code runs in a process of its own (extra teach)."""
    from distmllm_bench.teaching import grading
    from distmllm_bench.teaching.source import SALT

    with usage_errors():
        if assignment is None and seed_salt is not None:
            raise ValueError("--seed-salt has no effect without --assignment: leave it out.")
        result = grading.grade(file, tests, assignment, seed_salt or SALT)
    print(json.dumps(result, indent=2) if as_json else grading.text(result))


@app.command()
def assignments(
    sources: Annotated[list[Path], typer.Argument(help="Percent-format files.")],
    out: Annotated[Path, typer.Option(help="Folder.")] = Path("runs/assignments"),
    seed_salt: Annotated[
        str | None, typer.Option(help="Word that makes the hidden tests; keep it to yourself.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build student and instructor versions of assignments (extra teach)."""
    from distmllm_bench import catalogue
    from distmllm_bench.teaching.building import build
    from distmllm_bench.teaching.source import SALT

    with usage_errors():
        rows = build(sources, out, seed_salt or SALT)
    print(json.dumps(rows, indent=2) if as_json else f"{catalogue.table(rows)}\nfiles: {out}")


@app.command()
def leaderboard(
    folder: Annotated[Path, typer.Argument(help="One .py or .ipynb per submission.")],
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("runs/leaderboard"),
    suite: Annotated[str, typer.Option(help="Name or TOML file.")] = "course",
    seed_salt: Annotated[str | None, typer.Option(help="Draw the seeds by this word.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; 1: this one.")] = 2,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that a submission may take for a run.")
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Compare the schedulers that a class handed in, in the closed division, on one page."""
    from distmllm_bench.engines import make_engine
    from distmllm_bench.report.run import text
    from distmllm_bench.sweep.suite import Suite
    from distmllm_bench.teaching import leaderboard as work

    command = " ".join(["distmllm", *sys.argv[1:]])
    with usage_errors(), kept_cells(out):
        result = work.leaderboard(
            folder,
            out,
            Suite.load(suite),
            make_engine("loky", jobs),
            salt=seed_salt,
            seconds=timeout,
            command=command,
        )
    print(json.dumps(result, indent=2) if as_json else text(result))


@app.command()
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


@app.command("mapping-speed")
def mapping_speed(
    out: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path(
        "runs/mapping"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, five instances.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the instances.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Time the solvers of the mapping problem side by side."""
    from distmllm_bench.mapping_measure import QUICK, SIZES
    from distmllm_bench.mapping_speed import run_mapping_speed

    text, numbers = run_mapping_speed(out, seed, QUICK if quick else SIZES)
    if as_json:
        print(json.dumps(numbers, indent=2))
    else:
        print(f"{text}\n\nfiles: {out}")


@app.command()
def speed(
    out: Annotated[Path, typer.Option(help="Folder for tables and figure.")] = Path("runs/speed"),
    quick: Annotated[bool, typer.Option("--quick", help="Short windows, few rounds.")] = False,
    providers: Annotated[int, typer.Option(min=1, help="M of the market that is timed.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="N of the market that is timed.")] = 30,
    seconds: Annotated[
        float | None, typer.Option(min=0.001, help="Length of a timed window [0.2; quick 0.03].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time the environments beside a bare kernel, empty environments and other people's."""
    from dataclasses import replace

    from distmllm_bench.speed.run import run_speed
    from distmllm_bench.speed.setting import FULL, QUICK

    setting = QUICK if quick else FULL
    setting = replace(setting, providers=providers, workers=workers)
    if seconds is not None:
        setting = replace(setting, window_s=seconds)
    with usage_errors():
        text, numbers = run_speed(out, setting)
    if as_json:
        print(json.dumps(numbers, indent=2))
    else:
        print(f"{text}\n\nfiles: {out}")


@app.command()
def reproduce(
    only: Annotated[
        list[str] | None, typer.Option(help="Figure or group, e.g. 4a or theory; repeatable [all].")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Number of runs.")] = 20,
    base_seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0,
    band: Annotated[
        str, typer.Option(help="sd, as in the paper, or ci (95 % of the mean).")
    ] = "sd",
    out: Annotated[Path, typer.Option(help="Folder; a second call goes on from there.")] = Path(
        "runs/reproduce"
    ),
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Draw the unprinted constants at random instead.")
    ] = False,
    draws: Annotated[int, typer.Option(min=1, help="How often, with --robustness.")] = 200,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, with --robustness.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Redraw the paper's figures and tables and judge its claims."""
    from distmllm_bench.reproduce import run as work

    with usage_errors():
        if robustness and (only or band != "sd"):
            raise ValueError("--only and --band have no effect with --robustness: leave them out.")
        if robustness:
            result = work.robust(out, range(base_seed, base_seed + seeds), draws, jobs)
        else:
            result = work.reproduce(
                out,
                range(base_seed, base_seed + seeds),
                only or (),
                band,
                f"distmllm reproduce --seeds {seeds} --base-seed {base_seed}"
                + "".join(f" --only {name}" for name in only or ()),
            )
    print(json.dumps(result, indent=2) if as_json else work.text(result))


@app.command()
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


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn an error about what the user asked for into a message and exit code 2."""
    from distmllm_env.errors import MissingExtraError

    try:
        yield
    except (ValueError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


@contextmanager
def kept_cells(folder: Path) -> Iterator[None]:
    """Say what is left when a sweep stops: everything that was finished."""
    again = f"{folder} keeps all cells that were finished; the same command goes on from there."
    try:
        yield
    except KeyboardInterrupt:
        print(f"\ninterrupted: {again}", file=sys.stderr)
        raise typer.Exit(130) from None
    except OSError as error:
        print(f"error: {error}. {again}", file=sys.stderr)
        raise typer.Exit(1) from None


def _key_value(text: str) -> tuple[str, Any]:
    import tomllib

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"--set {text!r} is not allowed: KEY=VALUE, e.g. noise.std=0.2.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()  # a bare word, e.g. market.overload=share


def _first_last(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (dash and first.strip().isdecimal() and last.strip().isdecimal()):
        raise ValueError(f"--slots {text!r} is not allowed: FIRST-LAST, e.g. 1-500.")
    return int(first), int(last)


def main() -> None:
    """Run the command line."""
    sys.path.insert(0, "")  # as python -m does, so that --policy finds a module in this folder
    app()
