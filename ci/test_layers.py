# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""Arrows point down only: tools, models, the packages of common/; and a training imports no more than it must."""

import ast
import functools

import project
import pytest

# The core of common/ is level 0.
LEVELS = {"launch": 1, "train": 1, "runtime": 1, "coco": 2, "topdown": 3, "bottomup": 3, "media": 3}
MODEL_LEVEL, TOOLS_LEVEL = 4, 5
MOST_CORE_FILES, MOST_CORE_LINES = 10, 1350
# Files and lines that a training may import, without what it evaluates with: about today's (the design: 40, 5,000).
MOST = {
    "AlphaPose": (36, 4550),
    "Lightweight_OpenPose": (31, 4000),
    "MIPNet": (36, 4640),
    "OpenPose_MindSpore_port": (33, 4500),
}
MOST_SHARED_DECODER_LINES, MOST_DECODER_LINES = 300, 150
# Lines of each package: about today's. Lower them when they fall.
MOST_OF_PACKAGE = {
    "bottomup": 580,
    "coco": 2155,
    "launch": 440,
    "media": 1515,
    "runtime": 1165,
    "topdown": 1245,
    "train": 1335,
}


@functools.cache
def modules() -> dict[str, str]:
    """Dotted names of our modules, and their files."""
    return {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in project.program_sources()
    }


def imported_at_once(name: str) -> set[str]:
    """Our modules that a file imports when it is imported itself, with the packages that they lie in."""
    taken: set[str] = set()
    for node in project.tree(name).body:
        if isinstance(node, ast.Import):
            taken |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            taken |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [word.split(".") for word in taken]
    names = {".".join(words[:length]) for words in parts for length in range(1, len(words) + 1)}
    return names & set(modules())


def package(module: str) -> str:
    words = module.split(".")
    if words[0] != "common":
        return words[0]
    return words[1] if len(words) > 1 and words[1] in LEVELS else "core"


def level(module: str) -> int:
    above = {"tools": TOOLS_LEVEL}.get(package(module), MODEL_LEVEL)
    return LEVELS.get(package(module), 0) if module.startswith("common") else above


def test_arrows_point_down() -> None:
    up = [
        f"{module} -> {target}"
        for module, name in modules().items()
        for target in imported_at_once(name)
        if package(module) != package(target) and level(target) >= level(module) and level(target) != MODEL_LEVEL
    ]
    assert not up


def test_nobody_imports_in_a_circle() -> None:
    arrows = {
        module: {target for target in imported_at_once(name) - {module} if not module.startswith(f"{target}.")}
        for module, name in modules().items()
    }
    while leaves := [module for module, targets in arrows.items() if not targets & set(arrows)]:
        for leaf in leaves:
            del arrows[leaf]
    assert not arrows


def closure(module: str) -> set[str]:
    """All modules that come with one."""
    found, waiting = set[str](), [module]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += imported_at_once(modules()[name])
    return found


@pytest.mark.parametrize("model", [name for name in project.model_directories() if f"{name}.train" in modules()])
def test_a_training_imports_no_more_than_it_must(model: str) -> None:
    found = closure(f"{model}.train")
    most_files, most_lines = MOST[model]
    assert len(found) <= most_files
    assert sum(project.text(modules()[name]).count("\n") for name in found) <= most_lines


def test_the_core_is_small() -> None:
    core = [module for module in modules() if module.split(".")[0] == "common" and package(module) == "core"]
    assert len(core) <= MOST_CORE_FILES
    assert sum(project.text(modules()[name]).count("\n") for name in core) <= MOST_CORE_LINES


@pytest.mark.parametrize("name", MOST_OF_PACKAGE)
def test_packages_do_not_grow(name: str) -> None:
    files = [file for module, file in modules().items() if module.startswith(f"common.{name}")]
    assert sum(project.text(file).count("\n") for file in files) <= MOST_OF_PACKAGE[name]


def test_the_decoder_of_both_openposes_is_short() -> None:
    shared = [modules()[f"common.bottomup.{name}"] for name in ("maps", "assembly")]
    own = [f"{model}/decode.py" for model in ("Lightweight_OpenPose", "OpenPose_MindSpore_port")]
    assert sum(project.text(file).count("\n") for file in shared) <= MOST_SHARED_DECODER_LINES
    assert max(project.text(file).count("\n") for file in own) <= MOST_DECODER_LINES
