"""``distmllm train``: trains a policy, says how far it is, draws its learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distmllm_bench import style
from distmllm_bench.progress import Progress
from distmllm_env.errors import require_extra
from distmllm_env.files import write_atomic


def run_training(
    out: Path, preset: str, overrides: Mapping[str, Any], resume: bool, command: str
) -> tuple[str, dict[str, Any]]:
    """Train and save under ``out``.

    Args:
        out: Folder of the results.
        preset: Name of shipped settings, or a TOML file.
        overrides: Settings to change.
        resume: Go on with what is in the folder.
        command: What the user typed, for the record.

    Returns:
        What to print, and the same numbers as a JSON-ready dict.

    Raises:
        MissingExtraError: The extra ``rl`` is not installed.
        ValueError: A setting is not allowed, or the folder holds another training.
    """
    require_extra("rl", "training", "torch", "stable_baselines3", "sb3_contrib", "tensorboard")
    from distmllm_agents.learned.settings import load_settings
    from distmllm_agents.learned.training import Evaluation, Training

    settings = load_settings(preset, overrides)
    if not resume and (out / "state.npz").exists():
        raise ValueError(f"{out} holds a training: go on with --resume, or take another --out.")
    what = f"{settings.algo} ({settings.mode}, {settings.network}) on {settings.scenario}"
    with Progress(settings.slots, "slot") as progress:
        progress.begin(what)
        done = 0

        def tell(slots: int, evaluation: Evaluation | None) -> None:
            nonlocal done
            progress.step(slots - done)
            done = slots
            if evaluation is not None:
                progress.begin(f"{what}, {slots} slots: {_percent(evaluation.share)} of optimum")

        training = Training(settings, out, command, tell)
        if resume:
            training.resume()
            tell(training.slots, None)
        training.run()
    last = training.curve[-1]
    write_atomic(out / "curve.png", curve_figure({what: training.curve}, settings.scenario))
    learner = 1.0 - training.market_seconds / training.seconds if training.seconds else 0.0
    numbers = {
        "policy": str(out / "policy.npz"),
        "slots": training.slots,
        "seconds": round(training.seconds, 1),
        "slots_per_second": round(training.slots / training.seconds),
        "learner_share_of_time": round(learner, 3),
        "share_of_optimum": last.share,
        "sd": last.sd,
        "runs": settings.evaluation_runs,
        "heu_share_of_optimum": last.heu,
    }
    text = (
        f"{what}: {training.slots} slots in {training.seconds:.0f} s, "
        f"{learner:.0%} of it in the learner\n"
        f"  {_percent(last.share)} ± {_percent(last.sd)} of the optimum "
        f"(HEU {_percent(last.heu)}), {settings.evaluation_runs} runs that were not trained on\n"
        f"policy: {out / 'policy.npz'}   (distmllm run --policy {out / 'policy.npz'})\n"
        f"curve:  {out / 'curve.png'}, TensorBoard: tensorboard --logdir {out / 'log'}"
    )
    return text, numbers


def curve_figure(curves: Mapping[str, Any], scenario: str) -> bytes:
    """Draw shares of the optimum against slots of training, PNG.

    Args:
        curves: Label -> evaluations.
        scenario: Its name, for the title.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with mpl.rc_context(style.RC):
        fig = Figure(figsize=(6.4, 3.6), layout="constrained")
        FigureCanvasAgg(fig)
        ax = fig.subplots()
        for label, points in curves.items():
            slots = [p.slots for p in points]
            low = [p.share - p.sd for p in points]
            high = [p.share + p.sd for p in points]
            (line,) = ax.plot(slots, [p.share for p in points], marker="o", label=label)
            ax.fill_between(slots, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        heu = next(iter(curves.values()))[-1].heu
        ax.axhline(heu, color="0.45", linestyle="--", linewidth=1.2, label="HEU")
        ax.axhline(1.0, color="0.2", linewidth=0.8)
        ax.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        ax.set_xlabel("slots of training")
        ax.set_ylabel("profit, share of the optimum")
        ax.set_xlim(left=0)
        ax.set_title(f"{scenario}: mean and standard deviation over the runs", fontsize=10)
        ax.legend(loc="best")
        return style.rendered(fig, 160)["png"]


def _percent(share: float) -> str:
    return f"{share:.1%}"
