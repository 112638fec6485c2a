"""Policies by name, by ``package.module:Class``, or as they are."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path, PurePath
from typing import Any, cast

from distmllm_env.errors import unknown_name
from distmllm_env.policy import Policy, require_policy

GROUP = "distmllm_env.policies"
"""Entry-point group in which packages name their policies."""

FILES = "distmllm_env.policy_files"
"""Entry-point group that names for each file suffix what reads a policy from such a file."""


def load_policy(spec: str | Policy | type, **parameters: Any) -> Policy:
    """Find a policy by name, by ``package.module:Class``, or take it as it is.

    Args:
        spec: A name in the entry-point group ``distmllm_env.policies``, a class as
            ``package.module:Class``, a file such as ``runs/train/policy.npz``, a class, or a policy
            instance.
        **parameters: Passed to the class.

    Returns:
        A policy instance.

    Raises:
        ValueError: No such name, module or class, parameters unknown or missing, or no policy.
    """
    if not isinstance(spec, (str, type)):
        if parameters:
            raise ValueError(f"parameters {sorted(parameters)} need a policy class, not {spec!r}.")
        require_policy(spec)
        return spec
    cls = find_policy(spec) if isinstance(spec, str) else spec
    signature = inspect.signature(cls)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for key in parameters:
        if key not in signature.parameters and not takes_all:
            allowed = signature.parameters or ("(no parameters)",)
            raise unknown_name(f"parameter of policy {spec!r}", key, allowed)
    try:
        signature.bind(**parameters)
    except TypeError as error:
        raise ValueError(f"policy {spec!r}: {error}.") from error
    policy = cls(**parameters)
    require_policy(policy)
    return cast(Policy, policy)


@cache
def policy_names() -> Mapping[str, str]:
    """Return the installed policies: name -> ``package.module:Class``."""
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    return {point.name: point.value for point in sorted(entry_points(group=GROUP))}


@cache
def _readers() -> Mapping[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=FILES)}


def policy_target(spec: str) -> tuple[str, Path | None]:
    """Return the ``package.module:Class`` behind a name or itself, and the file it is read from.

    Nothing is imported.

    Raises:
        ValueError: No such name or file, or no full module name.
    """
    readers = _readers()
    suffix = PurePath(spec).suffix.removeprefix(".")
    if suffix in readers:
        if not Path(spec).is_file():
            raise ValueError(f"policy file {spec!r} does not exist.")
        return readers[suffix], Path(spec)
    if ":" in spec:
        target = spec
    else:
        names = policy_names()
        if suffix == "py":
            word = f"{PurePath(spec).stem}:ClassName"
            raise ValueError(
                f"policy {spec!r}: for a class in that file write {word}, in its folder."
            )
        if spec not in names:
            raise unknown_name("policy", spec, [*names, "package.module:Class", "FILE.npz"])
        target = names[spec]
    module = target.partition(":")[0]
    if not module or module.startswith("."):
        raise ValueError(f"policy {spec!r}: package.module:Class is allowed, the package in full.")
    return target, None


def find_policy(spec: str) -> Any:
    """Return the class behind a name or ``package.module:Class``, or what reads a file.

    Raises:
        ValueError: No such name, module or class.
    """
    target, file = policy_target(spec)
    module, _, attribute = target.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"policy {spec!r}: cannot import {module!r} ({error}).") from error
    if not hasattr(found, attribute):
        public = [name for name in vars(found) if not name.startswith("_")]
        raise unknown_name(f"class in {module}", attribute, public)
    cls = getattr(found, attribute)
    if not callable(cls):
        raise ValueError(f"policy {spec!r}: {attribute} is {cls!r}, not a class.")
    return partial(cls, spec) if file is not None else cls
