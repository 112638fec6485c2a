"""The ``distmllm`` command. Heavy imports live inside the commands, so that ``--help`` is quick.

Exit codes: 0 done, 1 something failed, 2 wrong usage. Results go to stdout, progress to stderr.
"""

from __future__ import annotations

import signal
import sys

import typer

from distmllm_bench.cli import learn, measure, play, sweeps, teach

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Build, compare and teach schedulers for multimodal LLM serving at the edge.",
)

app.command()(play.demo)
app.command("list")(play.list_)
app.command()(play.run)
app.command()(play.view)
app.command()(play.export)
app.command()(play.solve)

app.command()(sweeps.bench)
app.command()(sweeps.report)
app.command()(sweeps.check)

app.command()(teach.assignments)
app.command()(teach.grade)
app.command()(teach.leaderboard)

app.command()(learn.train)
app.command()(learn.learning)

app.command()(measure.reproduce)
app.command()(measure.speed)
app.command("mapping-speed")(measure.mapping_speed)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    sys.path.insert(0, "")  # as python -m does, so that --policy finds a module in this folder
    app()
