"""Keys: whatever could change a result changes its key, and nothing else does."""

import dataclasses
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import distmllm_agents
import distmllm_bench
import distmllm_env
from distmllm_bench.sweep import identity
from distmllm_bench.sweep.identity import cell_key, module_sources, policy_hash, policy_sources
from distmllm_bench.sweep.playing import measured
from distmllm_env import Scenario, devices, registry
from distmllm_env.registry import policy_names, policy_target

POLICY = """
class Mine:
    def reset(self, problem, rng): ...
    def act(self, observation): ...
    def update(self, feedback): ...


class Other(Mine): ...
"""
# What else a policy may be made of: files, the one to edit, and how the policy reaches it.
IMPORTS = {
    "absolute": (["helper.py"], "import helper"),
    "by another name": (["helper.py"], "import helper as h, json"),
    "from": (["helper.py"], "from helper import something"),
    "star": (["helper.py"], "from helper import *"),
    "dotted": (["deep/inner/leaf.py", "deep/__init__.py", "deep/inner/__init__.py"],
               "import deep.inner.leaf"),
    "package of a dotted": (["deep/__init__.py", "deep/inner/__init__.py", "deep/inner/leaf.py"],
                            "import deep.inner.leaf"),
    "submodule": (["deep/inner/leaf.py", "deep/__init__.py", "deep/inner/__init__.py"],
                  "from deep.inner import leaf"),
    "submodule by its package": (["deep/leaf.py", "deep/__init__.py:from . import leaf"],
                                 "import deep"),
    "submodule by a star": (["deep/leaf.py", "deep/__init__.py:__all__ = ['leaf']"],
                            "from deep import *"),
    "no __init__": (["plain/leaf.py"], "import plain.leaf"),
    "no __init__, from": (["plain/leaf.py"], "from plain import leaf"),
    "inside a function": (["helper.py"], "def f():\n    import helper"),
    "if it is there": (["helper.py"], "try:\n    import helper\nexcept ImportError:\n    pass"),
    "by name, dotted": (["deep/leaf.py", "deep/__init__.py"],
                        "import importlib\nimportlib.import_module('deep.leaf')"),
    "by a name kept elsewhere": (["deep/leaf.py", "deep/__init__.py"],
                                 "from importlib import import_module as f\nf(X := 'deep.leaf')"),
    "by name": (["helper.py"], "import importlib\nimportlib.import_module('helper')"),
    "by name alone": (["helper.py"],
                      "from importlib import import_module\nimport_module('helper')"),
    "by the builtin": (["helper.py"], "__import__('helper')"),
    "by a helper": (["leaf.py", "helper.py:def f():\n    from leaf import x"], "import helper"),
    "round in a circle": (["leaf.py", "helper.py:import leaf, mine"], "import helper"),
}  # fmt: skip
RELATIVE = {
    "sibling": (["site/helper.py"], "from . import helper"),
    "from sibling": (["site/helper.py"], "from .helper import something"),
    "above": (["site/helper.py"], "from .. import helper"),
    "from above": (["site/common/helper.py", "site/common/__init__.py"],
                   "from ..common.helper import x"),
    "by name": (["site/helper.py"],
                "import importlib\nimportlib.import_module('.helper', __package__)"),
}  # fmt: skip


def forget():
    """Forget what is remembered of files, as a new process would."""
    importlib.invalidate_caches()
    for kept in vars(identity).values():
        if hasattr(kept, "cache_clear"):
            kept.cache_clear()
    measured.cache_clear()


def write(folder, name, text=""):
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def hashed(spec, parameters=None, named=()):
    """The hash of a policy as it lies on the disk now."""
    target, given = policy_target(spec)[0], parameters or {}
    if not target.startswith("distmllm_"):
        forget()  # nobody edits our own while tests run
    return policy_hash(target, given, policy_sources(spec, given, named))


def key(scenario="toy", policy="p", seed=0, measured="m", **keys):
    return cell_key(Scenario.load(scenario, keys), policy, seed, measured)


def edits(path, spec="mine:Mine", **given):
    """Whether an edit of a file changes the hash of a policy, and undoing it brings it back."""
    before, text = hashed(spec, **given), path.read_bytes()
    path.write_bytes(text + b"\n# edited\n")
    after = hashed(spec, **given)
    path.write_bytes(text)
    assert hashed(spec, **given) == before
    return before != after


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder where imports look, with a policy in it."""
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, "mine.py", POLICY)
    forget()
    yield tmp_path
    forget()


class TestDifferentPolicies:
    def test_no_two_shipped_ones_are_alike(self):
        found = {name: hashed(name) for name in policy_names()}
        assert len(set(found.values())) == len(found)

    def test_a_name_and_the_class_that_it_names_are_one(self):
        for name, target in policy_names().items():
            assert hashed(name) == hashed(target)

    def test_parameters(self):
        told = [{}, {"mapping": "exact"}, {"mapping": "greedy"}, {"other": "exact"}, {"mapping": 1},
                {"mapping": True}, {"mapping": 1.5}, {"mapping": "1"}, {"mapping": None},
                {"mapping": [1, 2]}, {"mapping": [2, 1]}, {"mapping": {"a": 1}}]  # fmt: skip
        assert len({hashed("distmllm", given) for given in told}) == len(told)
        assert hashed("ucb", {"a": 1, "b": 2}) == hashed("ucb", {"b": 2, "a": 1})

    def test_classes_of_one_module(self, folder):
        assert hashed("mine:Mine") != hashed("mine:Other")

    def test_a_name_that_comes_to_mean_another_class(self, folder, monkeypatch):
        for target in ("mine:Mine", "mine:Other", "distmllm_agents.ucb:UCB"):
            monkeypatch.setattr(registry, "policy_names", lambda target=target: {"my": target})
            assert hashed("my") == hashed(target)

    def test_the_same_text_in_another_module(self, folder):
        write(folder, "yours.py", POLICY)
        assert hashed("mine:Mine") != hashed("yours:Mine")

    def test_policy_files(self, tmp_path):
        one, two, copy = (tmp_path / name for name in ("one.npz", "two.npz", "three.npz"))
        one.write_bytes(b"weights")
        two.write_bytes(b"other weights")
        shutil.copy(one, copy)
        assert hashed(str(one)) == hashed(str(copy))
        assert hashed(str(one)) != hashed(str(two))
        assert edits(one, str(one))
        with pytest.raises(ValueError, match=r"policy file '.*absent\.npz' does not exist"):
            hashed(str(tmp_path / "absent.npz"))


class TestEdits:
    def test_of_the_module(self, folder):
        assert edits(folder / "mine.py")

    @pytest.mark.parametrize("how", IMPORTS)
    def test_of_what_it_imports(self, folder, how):
        (edited, *others), line = IMPORTS[how]
        for name in (edited, *others):
            name, _, text = name.partition(":")
            write(folder, name, f"{text}\n")
        write(folder, "mine.py", f"{line}\n{POLICY}")
        assert edits(folder / edited.partition(":")[0])

    @pytest.mark.parametrize("how", RELATIVE)
    def test_of_what_a_module_of_a_package_imports(self, folder, how):
        (edited, *others), line = RELATIVE[how]
        inner = "above" in how
        for name in ("site/__init__.py", "site/inner/__init__.py", edited, *others):
            write(folder, f"my{name}")
        module = "mysite/inner/policy.py" if inner else "mysite/policy.py"
        write(folder, module, f"{line}\n{POLICY}")
        spec = module[:-3].replace("/", ".") + ":Mine"
        assert edits(folder / f"my{edited}", spec)
        assert edits(folder / "mysite/__init__.py", spec)
        assert edits(folder / "mysite/inner/__init__.py", spec) == inner

    @pytest.mark.parametrize("name", ["weights.bin", "data/table.csv", "data/deep/x.json", "c.so"])
    def test_of_data_in_its_package(self, folder, name):
        write(folder, "mysite/__init__.py")
        write(folder, "mysite/policy.py", POLICY)
        before = hashed("mysite.policy:Mine")
        path = write(folder, f"mysite/{name}", "1 2 3")
        assert hashed("mysite.policy:Mine") != before
        assert edits(path, "mysite.policy:Mine")
        assert not edits(path, "mine:Mine")

    def test_of_data_in_a_package_that_it_imports(self, folder):
        write(folder, "deep/__init__.py")
        write(folder, "mine.py", f"import deep\n{POLICY}")
        assert edits(write(folder, "deep/weights.bin", "1 2 3"))

    def test_of_files_that_it_names(self, folder):
        path = write(folder, "data/weights.bin", "1 2 3")
        assert not edits(path)
        assert edits(path, named=("data/weights.bin",))
        assert hashed("mine:Mine", named=("data/weights.bin",)) != hashed("mine:Mine")
        with pytest.raises(
            ValueError, match=r"'mine:Mine' names the file 'absent\.bin'.*not there"
        ):
            hashed("mine:Mine", named=("absent.bin",))

    def test_of_files_that_a_module_of_a_package_names(self, folder):
        write(folder, "plain/policy.py", POLICY)  # no __init__, so what lies there is no one's
        path = write(folder, "plain/weights.bin", "1 2 3")
        assert not edits(path, "plain.policy:Mine")
        assert edits(path, "plain.policy:Mine", named=("weights.bin",))

    def test_of_a_file_that_a_parameter_names(self, folder, monkeypatch):
        path = write(folder, "elsewhere/weights.bin", "1 2 3")
        assert not edits(path)
        assert edits(path, parameters={"weights": str(path)})
        assert edits(path, parameters={"weights": {"both": [str(path), 3]}})
        monkeypatch.chdir(path.parent)
        assert edits(path, parameters={"weights": path.name})

    @pytest.mark.parametrize("text", ["a word", "", "x" * 5000, "a\0b", "\udcff", "no/such/file"])
    def test_parameters_that_name_no_file(self, folder, text):
        assert hashed("mine:Mine", {"text": text}) != hashed("mine:Mine", {"text": "another"})

    @pytest.mark.parametrize("name", ["test", "profile", "code"])
    def test_of_modules_that_are_called_like_one_of_pythons_own(self, folder, monkeypatch, name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        path = write(folder, f"{name}.py", POLICY)
        assert edits(path, f"{name}:Mine")
        write(folder, "mine.py", f"import {name}\n{POLICY}")
        assert edits(path, "mine:Mine")

    def test_of_this_project(self):
        """Names and hashes only: nothing here is written."""
        ours = policy_sources("ucb", {}).files
        assert {"distmllm_agents.ucb.py", "distmllm_agents.__init__.py"} & {*ours}
        assert "distmllm_env.luck.py" in ours
        assert "distmllm_env/profiles/models.toml" in ours
        assert "distmllm_agents.heu.py" not in ours
        learned = policy_sources("ppo", {})
        assert "distmllm_agents.learned/checkpoints/paper.npz" in learned.files
        assert learned.packages["torch"] is not None


class TestWhatLeavesKeysAsTheyAre:
    def test_other_files_in_the_folder(self, folder):
        before = hashed("mine:Mine")
        write(folder, "another.py", "x = 1")
        write(folder, "runs/bench/results.csv", "1, 2")
        write(folder, "runs/bench/cells/0.npz", "1, 2")
        write(folder, "weights.bin", "1 2 3")
        write(folder, "test_mine.py", "import mine")
        assert hashed("mine:Mine") == before

    def test_other_modules_of_its_package(self, folder):
        for name in ("__init__", "policy", "other", "A_first"):
            write(folder, f"mysite/{name}.py", POLICY)
        write(folder, "mysite/inner/__init__.py")
        write(folder, "mysite/star.py", f"from mysite.policy import *\n{POLICY}")
        for path in ("other.py", "A_first.py", "inner/__init__.py"):
            assert not edits(folder / "mysite" / path, "mysite.policy:Mine")
            assert not edits(folder / "mysite" / path, "mysite.star:Mine")

    def test_what_python_and_editors_leave_in_a_package(self, folder):
        write(folder, "mysite/__init__.py")
        write(folder, "mysite/policy.py", POLICY)
        before = hashed("mysite.policy:Mine")
        for name in ("__pycache__/policy.cpython-311.pyc", "data/__pycache__/x.pyc", ".DS_Store",
                     ".ipynb_checkpoints/policy-checkpoint.ipynb", ".cache/x.bin"):  # fmt: skip
            write(folder, f"mysite/{name}", "x")
        assert hashed("mysite.policy:Mine") == before

    def test_files_that_are_called_like_a_word_of_the_source(self, folder):
        """Here ``world`` and ``rewards`` are no modules, whatever lies in the folder."""
        before = measured(), hashed("oracle")
        for word in ("world", "rewards", "policy", "profit", "setup", "__main__"):
            write(folder, f"{word}.py", "x = 1")
        forget()
        assert (measured(), hashed("oracle")) == before

    def test_when_files_were_written(self, folder):
        before = hashed("mine:Mine")
        os.utime(folder / "mine.py", (0, 0))
        assert hashed("mine:Mine") == before

    def test_where_the_folder_lies_and_where_one_stands(
        self, folder, tmp_path_factory, monkeypatch
    ):
        write(folder, "helper.py", "x = 1")
        write(folder, "mysite/__init__.py")
        write(folder, "mysite/data/x.bin", "1 2 3")
        write(folder, "mine.py", f"import helper, mysite\n{POLICY}")
        before = hashed("mine:Mine", named=("helper.py",)), policy_sources("mine:Mine", {}).files
        assert sorted(before[1]) == ["helper.py", "mine.py", "mysite.py", "mysite/data/x.bin"]
        other = tmp_path_factory.mktemp("other") / "copy"
        shutil.copytree(folder, other)
        monkeypatch.chdir(other / "mysite")
        assert hashed("mine:Mine", named=("helper.py",)) == before[0]
        monkeypatch.setattr(sys, "path", [str(other), *(p for p in sys.path if p != str(folder))])
        forget()
        assert str(identity._locate("mine")).startswith(str(other))
        assert hashed("mine:Mine", named=("helper.py",)) == before[0]
        assert policy_sources("mine:Mine", {}).files == before[1]


class TestPackages:
    def test_of_others_count_by_version(self, folder, monkeypatch):
        write(
            folder, "mine.py", f"import numpy.random, json, torch\nimport not_installed\n{POLICY}"
        )
        found = policy_sources("mine:Mine", {})
        assert list(found.files) == ["mine.py"]
        assert found.packages["numpy"] == np.__version__
        assert found.packages["python"] == sys.version.split()[0]
        assert found.packages["not_installed"] is None
        assert set(found.packages) == {"numpy", "python", "torch", "not_installed"}
        before, version = hashed("mine:Mine"), identity.version

        for changed in ("numpy", "torch"):

            def another(name, changed=changed):
                return "99.0" if name == changed else version(name)

            monkeypatch.setattr(identity, "version", another)
            assert hashed("mine:Mine") != before
        monkeypatch.setattr(identity, "version", version)
        monkeypatch.setattr(identity.platform, "python_version", lambda: "3.99.0")
        assert hashed("mine:Mine") != before

    def test_that_play_count_for_every_cell(self, monkeypatch):
        forget()
        before, version = measured(), identity.version
        assert "ortools" in module_sources("distmllm_bench.sweep.playing").packages

        def another(name):
            return "99.0" if name == "ortools" else version(name)

        monkeypatch.setattr(identity, "version", another)
        forget()
        assert measured() != before
        monkeypatch.undo()
        forget()
        assert measured() == before

    def test_that_is_gone(self, folder, monkeypatch):
        write(folder, "mine.py", f"import numpy\n{POLICY}")
        before = hashed("mine:Mine")

        def absent(name):
            raise identity.PackageNotFoundError(name)

        monkeypatch.setattr(identity, "version", absent)
        assert hashed("mine:Mine") != before
        assert policy_sources("mine:Mine", {}).packages["numpy"] is None


class TestCells:
    def test_all_that_a_cell_is_made_of(self, monkeypatch):
        keys = [
            key(),
            key(policy="q"),
            key(seed=1),
            key(seed=2**42),
            key(measured="n"),
            key("paper"),
            key(slots=21),
        ]
        assert len(set(keys)) == len(keys)
        assert key() == keys[0]
        assert all(len(one) == 32 and int(one, 16) >= 0 for one in keys)
        monkeypatch.setattr(identity, "FORMAT", 0)
        assert key() not in keys

    def test_every_key_of_a_scenario(self):
        """Each field of each table, one at a time."""
        paper = Scenario.load("paper")
        other = {
            "name": "another",
            "description": "Another.",
            "slots": 501,
            "providers": 6,
            "workers": 6,
            "reward.shape": "deadline",
            "market.overload": "share",
            "market.capacity": "per_stage",
            "noise.on": "none",
            "noise.distribution": "lognormal",
        }
        only_if = {
            "reward.curvature_per_s2": {"reward.shape": "quadratic"},
            "reward.deadline_s": {"reward.shape": "deadline"},
        }
        paths = []
        for field in dataclasses.fields(Scenario):
            value = getattr(paper, field.name)
            table = dataclasses.is_dataclass(value) and not hasattr(value, "from_value")
            names = [inner.name for inner in dataclasses.fields(value)] if table else []
            paths += [f"{field.name}.{name}" for name in names] or [field.name]
        paths.remove("testbed")
        for path in paths:
            base = only_if.get(path, {})
            old = paper
            for name in path.split("."):
                old = getattr(old, name)
            new = other.get(path, old + 0.125 if isinstance(old, float) else 2.0)
            assert key("paper", **base) != key("paper", **base, **{path: new}), path
        assert len(paths) == 5 + 6 + 4 + 3 + 7 + 3 + 3

    def test_every_key_of_a_testbed(self):
        bed = Scenario.load("testbed")
        table = dataclasses.asdict(bed.testbed)
        seen = {key("testbed")}
        for part in ("apps", "workers"):
            names = list(table[part][0])
            for name in names:
                rows = [dict(row) for row in table[part]]
                old = rows[0][name]
                rows[0][name] = f"{old}-other" if isinstance(old, str) else old + 1
                seen.add(key("testbed", **{f"testbed.{part}": rows}))
        for name in ("data_scale", "output_scale"):
            seen.add(key("testbed", **{f"testbed.{name}": 1.125}))
        assert len(seen) == 1 + len(table["apps"][0]) + len(table["workers"][0]) + 2

    def test_a_device_profile_of_ones_own(self, tmp_path):
        path = write(tmp_path, "board.toml", "decode_rate = 12.5")
        workers = [dataclasses.asdict(w) for w in Scenario.load("testbed").testbed.workers]
        workers[1]["device"] = str(path)
        before = key("testbed", **{"testbed.workers": workers})
        path.write_text("decode_rate = 25")
        assert key("testbed", **{"testbed.workers": workers}) != before
        path.write_text("decode_rate = 12.5")
        assert key("testbed", **{"testbed.workers": workers}) == before

    def test_a_device_profile_of_the_package(self):
        files = module_sources("distmllm_bench.sweep.playing").files
        for name in (*devices.devices(), "models", "links"):
            assert f"distmllm_env/profiles/{name}.toml" in files


def test_what_plays_and_measures_is_read_and_what_shows_is_not():
    files = module_sources("distmllm_bench.sweep.playing").files
    for name in ("distmllm_env.slot", "distmllm_env.luck", "distmllm_env._kernel",
                 "distmllm_env.world", "distmllm_agents.oracle", "distmllm_bench.metrics",
                 "distmllm_bench.sweep.cells", "distmllm_bench.sweep.playing"):  # fmt: skip
        assert f"{name}.py" in files
    for name in ("distmllm_bench.cli", "distmllm_bench.statistics", "distmllm_bench.style",
                 "distmllm_bench.engines", "distmllm_bench.sweep.run", "distmllm_bench.sweep.suite",
                 "distmllm_agents.ucb"):  # fmt: skip
        assert f"{name}.py" not in files


PLAYED = """
import json, sys
from distmllm_bench.sweep.identity import module_sources
from distmllm_bench.sweep.planning import make_plan
from distmllm_bench.sweep.playing import play_job
from distmllm_bench.sweep.suite import Entrant, Market, Suite

names = json.loads(sys.argv[1])
suite = Suite("all", "", (Market("toy"),), tuple(map(Entrant, names)), runs=1, slots=3)
plan = make_plan(suite)
read = set(module_sources("distmllm_bench.sweep.playing").files)
for policy in plan.policies:
    read |= set(policy.about.files)
for job in plan.jobs({cell.key for cell in plan.cells}, 1, None):
    (row,) = play_job(job)
    assert hasattr(row, "scores"), row
loaded = {name for name in sys.modules if name.startswith("distmllm_")}
only_planning = {f"distmllm_bench.sweep.{name}" for name in ("planning", "suite")}
print(json.dumps(sorted(name for name in loaded - only_planning if f"{name}.py" not in read)))
"""


def test_no_module_that_is_loaded_to_play_is_left_out():
    names = [name for name in policy_names() if name != "ppo"]
    done = subprocess.run(
        [sys.executable, "-c", PLAYED, json.dumps(names)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


PLANNED = """
import json, sys
import distmllm_env
from distmllm_bench.sweep.planning import make_plan
from distmllm_bench.sweep.suite import Suite

plan = make_plan(Suite.load(sys.argv[1]), ["mine:Mine"])
print(json.dumps([distmllm_env.__file__, [cell.key for cell in plan.cells]]))
"""


def test_keys_are_the_same_in_every_process_and_at_every_place(folder, tmp_path_factory):
    """Another order of sets, another folder to stand in, another checkout, another start."""
    write(folder, "helper.py", "x = 1")
    write(folder, "mine.py", f"import helper, numpy\n{POLICY}")
    suite = write(folder, "small.toml", """
        name = "small"
        description = "Small."
        scenarios = ["toy", "testbed"]
        policies = ["ucb"]
        runs = 2
    """)  # fmt: skip
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(folder, other / "mine")
    for package in (distmllm_env, distmllm_agents, distmllm_bench):
        source = Path(package.__file__).parent
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, other / "checkout" / source.name, ignore=ignore)

    write(folder, "planned.py", PLANNED)

    def keys(start, hashes, cwd, *paths):
        env = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(
            [sys.executable, *start, str(suite)],
            capture_output=True,
            text=True,
            env=env,
            cwd=cwd,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    here = os.pathsep.join(path for path in sys.path if path)
    package, first = keys(("-c", PLANNED), "1", folder, here)
    assert len(set(first)) == 2 * 4 * 2
    elsewhere = (str(other / "checkout"), str(other / "mine"), here)
    moved, again = keys(("-m", "planned"), "2", other, *elsewhere)
    assert again == first
    assert package == distmllm_env.__file__
    assert moved == str(other / "checkout" / "distmllm_env" / "__init__.py")
