"""What an import costs, and that the arrows between the rooms of the project point one way."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import distmllm_agents
import distmllm_bench
import distmllm_env

HEAVY = ("torch", "ortools", "matplotlib", "pandas", "pygame")
PACKAGES = {
    package.__name__: package for package in (distmllm_env, distmllm_agents, distmllm_bench)
}

MEASURE = """
import json, sys, time
start = time.process_time()
import gymnasium, numpy, pettingzoo
between = time.process_time()
import distmllm_env
end = time.process_time()
print(json.dumps([between - start, end - between, sorted(sys.modules)]))
"""


def measured() -> tuple[float, float, set[str]]:
    """Import the package in a fresh process.

    Returns seconds of the processor for what it needs and for itself, and the modules loaded then.
    """
    run = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    needed, own, modules = json.loads(run.stdout)
    return needed, own, set(modules)


class TestCost:
    def test_loads_nothing_heavy(self) -> None:
        *_, modules = measured()
        assert "distmllm_env.slot" in modules
        # numba comes with the first market.
        assert not {module for module in modules if module.split(".")[0] in (*HEAVY, "numba")}

    def test_costs_less_than_half_of_what_it_needs(self) -> None:
        """About a fifth when this was written. As a ratio: seconds hang on the machine."""
        times = [measured()[:2] for _ in range(5)]
        assert min(own / needed for needed, own in times) < 0.5


def sources() -> dict[str, ast.Module]:
    """Parse every module of the three packages, by dotted name."""
    trees = {}
    for name, package in PACKAGES.items():
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            parts = (name, *path.relative_to(root).with_suffix("").parts)
            dotted = ".".join(part for part in parts if part != "__init__")
            trees[dotted] = ast.parse(path.read_text("utf-8"), str(path))
    return trees


SOURCES = sources()


def imported(module: str) -> set[str]:
    """All that ``module`` imports anywhere in it, also inside functions and for types only."""
    found: set[str] = set()
    for node in ast.walk(SOURCES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import, which this test cannot follow"
            source = str(node.module)
            # `from package import name` imports a module if there is one of that name
            names = {f"{source}.{alias.name}" for alias in node.names}
            found |= {name for name in names if name in SOURCES} or {source}
    return found


def reached(module: str) -> set[str]:
    """All that ``module`` imports, directly or through others of our modules."""
    seen, todo = set[str](), [module]
    while todo:
        for name in imported(todo.pop()) - seen:
            seen.add(name)
            if name in SOURCES:
                todo.append(name)
    return seen


def tops(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


class TestRooms:
    @pytest.mark.parametrize(
        "module", [name for name in SOURCES if name.startswith("distmllm_env")]
    )
    def test_the_world_knows_neither_agents_nor_benchmarks(self, module: str) -> None:
        assert not tops(imported(module)) & {"distmllm_agents", "distmllm_bench"}

    @pytest.mark.parametrize(
        "module", [name for name in SOURCES if name.startswith("distmllm_agents")]
    )
    def test_agents_do_not_know_the_benchmarks(self, module: str) -> None:
        assert "distmllm_bench" not in tops(imported(module))


CORE = ("equations", "scenario", "layout", "world", "slot", "compiled", "market", "luck")

# In this order: a module may import those before it, never those behind it.
LAYERS = (
    *("errors", "schema", "scenario", "equations", "layout", "luck", "devices"),
    *("testbed", "world", "slot", "compiled", "market", "policy"),
)


class TestInsideTheWorld:
    @pytest.mark.parametrize("name", CORE)
    def test_the_core_does_not_know_the_interfaces(self, name: str) -> None:
        names = reached(f"distmllm_env.{name}")
        assert "distmllm_env" not in names, "the package itself imports the environments"
        assert not [other for other in names if other.startswith("distmllm_env.envs")]
        assert not tops(names) & {"gymnasium", "pettingzoo", *HEAVY}

    @pytest.mark.parametrize("name", LAYERS)
    def test_no_module_imports_one_behind_it(self, name: str) -> None:
        behind = {f"distmllm_env.{other}" for other in LAYERS[LAYERS.index(name) :]}
        assert not imported(f"distmllm_env.{name}") & behind

    def test_this_file_can_see_imports(self) -> None:
        assert "distmllm_env.world" in imported("distmllm_env.slot")
        assert "distmllm_env.equations" in reached("distmllm_env.market")
        assert {"gymnasium", "pettingzoo"} <= tops(imported("distmllm_env.envs.registration"))
        # inside a function
        assert "distmllm_env.envs.parallel" in imported("distmllm_env")
