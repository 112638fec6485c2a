"""What a result hangs on: which source files and packages stand behind a policy.

A stored result may only be used again by the very code that made it. So the source of a policy is
part of its identity: its module, all modules that this one imports, in turn, and the data files
that lie in their packages. Of packages that others publish the version counts.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import platform
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from distmllm_env import Scenario
from distmllm_env.registry import policy_target

_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*")

FORMAT = 1
"""Goes up when files of cells hold something else than before."""

OURS = ("distmllm_env", "distmllm_agents", "distmllm_bench")


@dataclass(frozen=True)
class Sources:
    """What stands behind a module.

    Attributes:
        files: Source and data files, name -> SHA-256. Names are relative to where imports look.
        packages: Published packages -> version; None where one is not installed.
    """

    files: Mapping[str, str]
    packages: Mapping[str, str | None]

    @property
    def digest(self) -> str:
        """One hash of it all."""
        return hash_of([dict(self.files), dict(self.packages)])


def policy_sources(spec: str, parameters: Mapping[str, Any], named: Sequence[str] = ()) -> Sources:
    """Find the sources of a policy.

    Args:
        spec: A name, ``package.module:Class`` or a policy file.
        parameters: What its class is called with; a file that one names counts by its content.
        named: Files that the policy reads, relative to its module: data that lie in no package.

    Raises:
        ValueError: No such policy or file.
    """
    target, file = policy_target(spec)
    module = target.partition(":")[0]
    found = module_sources(module)
    files = dict(found.files)
    if file is not None:
        files["policy file"] = _file_hash(file)
    for name in _texts(parameters):
        if _is_file(name):
            files[f"parameter {name}"] = _file_hash(Path(name))
    where = _locate(module)
    for relative in named:
        path = Path() / relative if where is None else where.parent / relative
        if not path.is_file():
            raise ValueError(f"policy {spec!r} names the file {relative!r}: {path} is not there.")
        files[f"file {relative}"] = _file_hash(path)
    return Sources(files, found.packages)


@cache
def module_sources(module: str) -> Sources:
    """Find the sources of a module: it and all that it imports, anywhere in its text.

    Modules of this project, of the module's own top-level package and those that no published
    package holds are read; the standard library is left out; others count by version. A dotted name
    that is written out as a string counts as imported, one without a dot where it is given to
    ``import_module`` or ``__import__``; one that is computed is not seen.
    """
    files: dict[str, str] = {}
    packages: dict[str, str | None] = {}
    own = (*OURS, module.partition(".")[0])
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if not name or name in seen:
            continue
        seen.add(name)
        top = name.partition(".")[0]
        if _standard(top):
            continue
        if top not in own and _published(top):
            packages |= _versions(top)
            continue
        path = _locate(name)
        if path is None:
            continue  # an attribute, not a module; or a namespace without a file
        files[_label(name, path)] = _file_hash(path)
        parent = name.rpartition(".")[0]
        todo += [parent] if parent else []
        if path.name == "__init__.py":
            for data in _data_files(path.parent):
                files[_label(name, path, data)] = _file_hash(data)
        if path.suffix == ".py":
            todo += _imports(name, path)
    packages["python"] = platform.python_version()
    return Sources(dict(sorted(files.items())), dict(sorted(packages.items())))


def cell_key(scenario: Scenario, policy: str, seed: int, measured: str) -> str:
    """Return the name under which a cell is kept.

    Args:
        scenario: What is played; all of it counts, and the device profiles it reads.
        policy: Hash of the policy: class, parameters and sources.
        seed: Of the run.
        measured: Hash of the sources that play and measure.
    """
    return hash_of([FORMAT, scenario.to_toml(), profiles(scenario), policy, seed, measured])[:32]


def profiles(scenario: Scenario) -> dict[str, str]:
    """Return the device profiles of one's own that a scenario reads, file -> SHA-256."""
    workers = scenario.testbed.workers if scenario.testbed is not None else ()
    return {w.device: _file_hash(Path(w.device)) for w in workers if _is_file(w.device)}


def policy_hash(target: str, parameters: Mapping[str, Any], sources: Sources) -> str:
    """Return one hash of class, parameters and sources."""
    return hash_of([target, dict(parameters), sources.digest])


def hash_of(content: Any) -> str:
    """Return the SHA-256 of something that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _imports(module: str, path: Path) -> Iterator[str]:
    """Yield the names of all modules that a file may import."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parts = package.split(".")
                base = parts[: len(parts) - node.level + 1]
                source = ".".join([*base, *filter(None, [source])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)  # perhaps modules
            if any(alias.name == "*" for alias in node.names):
                yield from _modules_in(source)  # those of its __all__ are loaded
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            yield from filter(_NAME.fullmatch, _constants(node.args))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = package + node.value if node.value.startswith(".") else node.value
            if "." in name and _NAME.fullmatch(name) and _locate(name) is not None:
                yield name


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _constants(nodes: Sequence[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _modules_in(package: str) -> Iterator[str]:
    path = _locate(package)
    if path is not None and path.name == "__init__.py":
        yield from (f"{package}.{found.stem}" for found in sorted(path.parent.glob("*.py")))
        yield from (f"{package}.{found.parent.name}" for found in path.parent.glob("*/__init__.py"))


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long, or not a name that a file can have
        return False


@cache
def _standard(top: str) -> bool:
    """Whether a module comes with Python; one's own file may have the name of one that does."""
    if top not in sys.stdlib_module_names:
        return False
    path = _locate(top)
    return path is None or Path(sysconfig.get_path("stdlib")).resolve() in path.resolve().parents


@cache
def _locate(module: str) -> Path | None:
    """Return the file of a module, without importing it or its parents."""
    top, *rest = module.split(".")
    spec = _spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None
    for root in spec.submodule_search_locations or ():
        base = Path(root, *rest)
        if (base / "__init__.py").is_file():
            return base / "__init__.py"
        found = sorted(base.parent.glob(f"{base.name}.py")) or sorted(
            base.parent.glob(f"{base.name}.*.so")
        )
        if found:
            return found[0]
    return None


def _spec(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except ValueError:  # __main__ of an interactive session has none
        return None


def _data_files(package: Path) -> Iterator[Path]:
    """Yield what lies in a package beside Python files; packages inside it have their own."""
    for path in sorted(package.iterdir()):
        if path.is_dir():
            hidden = path.name.startswith(".") or path.name == "__pycache__"
            if not hidden and not (path / "__init__.py").exists():
                yield from _data_files(path)
        elif path.suffix not in (".py", ".pyc") and not path.name.startswith("."):
            yield path


def _label(module: str, path: Path, data: Path | None = None) -> str:
    """Name a file by module, not by where this machine keeps it."""
    if data is None:
        return f"{module}{path.suffix}"
    return f"{module}/{data.relative_to(path.parent).as_posix()}"


@cache
def _published(top: str) -> bool:
    """Whether a module comes from an installed package; one that is not found counts as such."""
    spec = _spec(top)
    roots = [] if spec is None else [Path(root) for root in spec.submodule_search_locations or ()]
    if not roots and spec is not None and spec.origin:
        roots = [Path(spec.origin)]
    libraries = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    return not roots or any(lib in root.resolve().parents for root in roots for lib in libraries)


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


@cache
def _versions(top: str) -> dict[str, str | None]:
    names = _distributions().get(top, [])
    if not names:
        return {top: None}
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
