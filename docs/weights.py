"""Put trained policies into the package: ``python docs/weights.py runs/paper runs/testbed``.

Each folder is the ``--out`` of a ``distmllm train --network equivariant``; the file is named after
the scenario that it was trained on.
"""

import shutil
import sys
import tomllib
from pathlib import Path

from distmllm_env.archive import POLICY, describe

FOLDER = Path(__file__).parent.parent / "agents/distmllm_agents/learned/checkpoints"


def main(folders: list[str]) -> None:
    """Copy the policies and write the index anew; the others stay as they are."""
    index = FOLDER / "index.toml"
    entries = tomllib.loads(index.read_text("utf-8"))
    for folder in folders:
        path = Path(folder) / "policy.npz"
        about = describe(path, POLICY)
        name = about["settings"]["scenario"]
        shutil.copyfile(path, FOLDER / f"{name}.npz")
        entries[name] = {"sha256": about["sha256"], "command": about["command"]}
    text = "# What is shipped, and how it was made. Written by docs/weights.py.\n"
    for name, entry in sorted(entries.items()):
        text += f"\n[{name}]\n" + "".join(f'{key} = "{value}"\n' for key, value in entry.items())
    index.write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
