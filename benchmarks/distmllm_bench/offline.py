"""Recorded runs as Minari datasets, for offline reinforcement learning."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from distmllm_bench.files import load_run
from distmllm_env import Scenario, schema
from distmllm_env.errors import require_extra
from distmllm_env.runs import Run

if TYPE_CHECKING:
    from minari import MinariDataset

_ENV = "DistMLLM-v0"
_ROOT = "MINARI_DATASETS_PATH"  # where Minari looks for the folder of all datasets
_SEED_END = 1 << 64


def export_run(path: Path, dataset_id: str, folder: Path | None = None) -> dict[str, Any]:
    """Turn a file that :func:`.files.save_run` wrote into a Minari dataset.

    Args:
        path: The file.
        dataset_id: As in :func:`to_minari`.
        folder: As in :func:`to_minari`.

    Returns:
        What was made, as JSON knows it: ``dataset``, ``folder`` of its files, ``env`` (what
        ``gym.make`` takes), ``policy``, ``episodes``, ``steps``, ``mean_return``.

    Raises:
        MissingExtraError: As in :func:`to_minari`.
        ValueError: The file is no recorded run, or as in :func:`to_minari`.
    """
    run, about = load_run(path)
    policy = str(about.get("policy", "unknown"))
    dataset = to_minari(dataset_id, run, algorithm_name=policy, folder=folder)
    return {
        "dataset": dataset_id,
        "folder": str(dataset.storage.data_path),
        "env": {"id": _ENV, **_env_keys(run)},
        "policy": policy,
        "episodes": int(dataset.total_episodes),
        "steps": int(dataset.total_steps),
        "mean_return": float(run.profit.sum(axis=(1, 2, 3)).mean()),
    }


def to_minari(
    dataset_id: str,
    run: Run,
    *,
    algorithm_name: str,
    folder: Path | None = None,
    **about: Any,
) -> MinariDataset:
    """Turn recorded runs into a Minari dataset of ``DistMLLM-v0``, one episode per run.

    The recorded allocations are played again in the environment, and it must pay what was recorded,
    bit for bit. So observations, rewards (welfare) and infos are what a dispatcher would have seen,
    and ``recover_environment()`` gives the environment for policies that learned from them.

    Args:
        dataset_id: Minari's name for it, ``NAME-v0`` or ``GROUP/NAME-v0``.
        run: The record; each row is episode 0 of its seed.
        algorithm_name: The policy that was recorded.
        folder: The folder of all datasets; None: Minari's own, ``$MINARI_DATASETS_PATH`` or
            ``~/.minari/datasets``. Set that variable to read from another.
        **about: More of what ``minari.create_dataset_from_buffers`` takes, e.g. ``author``.

    Returns:
        The dataset.

    Raises:
        MissingExtraError: Minari or h5py is missing.
        ValueError: The name is not allowed or taken, or the environment does not play the record.
    """
    minari = _minari()
    scenario = run.world.scenario
    with _root(folder):
        place, group = _free_place(dataset_id)
        env = gym.make(_ENV, **_env_keys(run))
        buffers = [_episode(env, run, row) for row in range(run.world.batch)]
        about = {
            "algorithm_name": algorithm_name,
            "description": f"{scenario.name}: {scenario.description}",
            "requirements": [f"distmllm-env=={version('distmllm-env')}"],
            "eval_env": env.spec,
            **about,
        }
        # Made elsewhere and renamed, so that the dataset is whole or not there.
        with tempfile.TemporaryDirectory(prefix=".", dir=_folder()) as unfinished:
            with _root(Path(unfinished)), warnings.catch_warnings():
                # They matter to who publishes a dataset, and are parameters here.
                warnings.filterwarnings("ignore", r"`(author|author_email|code_permalink)` is set")
                minari.create_dataset_from_buffers(dataset_id, buffers, env, **about)
            if group is not None and group not in minari.namespace.list_local_namespaces():
                minari.namespace.create_namespace(group)
            Path(unfinished, dataset_id).rename(place)
    return minari.MinariDataset(place / "data")


def _minari() -> Any:
    require_extra("offline", "datasets for offline learning", "minari", "h5py")
    import minari

    return minari


def _folder() -> Path:
    from minari.storage import get_dataset_path

    return Path(get_dataset_path())  # made if it is not there


def _free_place(dataset_id: str) -> tuple[Path, str | None]:
    """Return where a new dataset belongs, and its group."""
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        group, _, _ = parse_dataset_id(dataset_id)
    except (TypeError, ValueError) as error:  # TypeError where there is no version
        raise ValueError(
            f"dataset id {dataset_id!r} is not allowed: NAME-v0 or GROUP/NAME-v0, of letters, "
            f"digits, - and _."
        ) from error
    place = _folder() / dataset_id
    if place.exists():
        raise ValueError(
            f"dataset {dataset_id!r} is there already, in {place}: choose another name or version."
        )
    return place, group


def _env_keys(run: Run) -> dict[str, Any]:
    """Return what makes the environment of a record, as JSON knows it."""
    scenario = run.world.scenario
    base = scenario.name if scenario.name in Scenario.names() else "paper"
    if (Scenario.load(base).testbed is None) != (scenario.testbed is None):
        base = "paper" if scenario.testbed is None else "testbed"
    old, new = schema.to_dict(Scenario.load(base)), schema.to_dict(scenario)
    overrides = dict(_changes(old, new))
    keys: dict[str, Any] = {"scenario": base}
    if overrides:
        keys["overrides"] = overrides
    if run.world_seed is not None:
        keys["world_seed"] = run.world_seed
    return keys


def _changes(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values that make ``old`` into ``new``; both have the same keys."""
    for key, value in new.items():
        if isinstance(value, Mapping) and "kind" not in value:  # a table, not a distribution
            yield from _changes(old[key], value, f"{path}{key}.")
        elif value != old[key]:
            yield path + key, value


def _episode(env: gym.Env[Any, Any], run: Run, row: int) -> Any:
    """Play one row again and return what was seen, as Minari's buffer."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    seed, episode, slots = run.seeds[row], run.episodes[row], run.world.scenario.slots
    who = f"run {row} (seed {seed})"
    if episode != 0:
        raise ValueError(f"{who} is episode {episode}: only episode 0 of a seed is allowed.")
    if seed >= _SEED_END:
        raise ValueError(f"{who}: Minari keeps seeds below 2^64.")
    if run.allocation.shape[1] != slots:
        raise ValueError(f"{who} has {run.allocation.shape[1]} slots of {slots}.")
    actions = list(run.allocation[row].reshape(slots, -1).astype(np.int64))
    observation, info = env.reset(seed=seed)
    observations, infos, rewards = [observation], [info], []
    for slot, action in enumerate(actions):
        observation, reward, _, _, info = env.step(action)
        for name in ("profit", "status"):
            if not np.array_equal(info[name], getattr(run, name)[row, slot]):
                raise ValueError(
                    f"{who}: in slot {slot} {_ENV} gives another {name} than was recorded; "
                    f"the record was made by another version."
                )
        observations.append(observation)
        infos.append(info)
        rewards.append(float(reward))
    return EpisodeBuffer(
        seed=seed,
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminations=[False] * slots,
        truncations=[slot == slots - 1 for slot in range(slots)],
        infos={key: np.stack([info[key] for info in infos]) for key in infos[0]},
    )


@contextmanager
def _root(folder: Path | None) -> Iterator[None]:
    """Let Minari work in ``folder``; it asks the environment variable and nothing else."""
    before = os.environ.get(_ROOT)
    root = before if folder is None else folder
    if root is not None:
        os.environ[_ROOT] = str(Path(root).resolve())  # it loses its way in a relative one
    try:
        yield
    finally:
        if before is not None:
            os.environ[_ROOT] = before
        else:
            os.environ.pop(_ROOT, None)
