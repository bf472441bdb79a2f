# SPDX-License-Identifier: Apache-2.0
"""What belongs to the project: the files that git keeps or would keep, its model directories, its shell launchers."""

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODEL_MARKERS = ("train.py", "modelzoo_level.txt")
BUILDS_ON = {"OpenPose_infer": {"Lightweight_OpenPose"}}  # it deploys that network


def list_files(which: str) -> list[str]:
    """Paths below ROOT that `git ls-files` lists for an option such as -co; [] where this is no git clone."""
    command = ["git", "-c", "safe.directory=*", "ls-files", which, "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return sorted(name for name in listed.split("\0") if name)


@functools.cache
def files() -> tuple[str, ...]:
    """All files that are tracked, or untracked and not ignored, as far as they are there."""
    return tuple(name for name in list_files("-co") if (ROOT / name).is_symlink() or (ROOT / name).is_file())


def model_directories() -> list[str]:
    """Names of the directories that hold a model."""
    return sorted({path.parent.name for marker in MODEL_MARKERS for path in ROOT.glob(f"*/{marker}")})


def launchers() -> list[str]:
    """Paths of the scripts <model>/test/*.sh that call `launch`."""
    scripts = [name for name in files() if name.endswith(".sh") and Path(name).parent.name == "test"]
    return [name for name in scripts if "\nlaunch " in text(name)]


def is_test(name: str) -> bool:
    """Whether a file belongs to the tests and benchmarks, not to the program."""
    return "/test/" in name or Path(name).name.startswith(("test_", "bench_", "conftest"))


def program_sources() -> list[str]:
    """Python files of common/, the model directories and tools/, without their tests."""
    packages = ("common", *model_directories(), "tools")
    return [name for name in files() if name.endswith(".py") and name.split("/")[0] in packages and not is_test(name)]


@functools.cache
def text(name: str) -> str:
    """The content of a file."""
    return (ROOT / name).read_text(encoding="utf-8")


@functools.cache
def tree(name: str) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(text(name), name)


def nodes(name: str, *kinds: type[ast.AST]) -> Iterator[Any]:
    """All nodes of some kinds in a Python file."""
    return (node for node in ast.walk(tree(name)) if isinstance(node, kinds))


def dotted(node: ast.AST) -> str:
    """`torch.cuda.empty_cache` for that expression; "" for one that is no chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def imported(name: str) -> set[str]:
    """Full names of the modules that a Python file imports, and of what it takes from them."""
    modules = {alias.name for node in nodes(name, ast.Import) for alias in node.names}
    for node in nodes(name, ast.ImportFrom):
        modules |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def base_requirements() -> list[str]:
    """The requirements that pyproject.toml names for every installation, in its order."""
    listed = text("pyproject.toml").split("\ndependencies = ")[1]
    requirements: list[str] = ast.literal_eval(listed[: listed.index("]") + 1])
    return requirements
