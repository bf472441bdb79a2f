# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""The house rules of CONTRIBUTING.md that a program can check."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import frozen
import project
import pytest

MODELS = project.model_directories()
PYTHON = [name for name in project.files() if name.endswith(".py")]
PROGRAM = project.program_sources()
# The top-down models share encoder and decoder, both in common/topdown.
SAME_NAMES = ("config", "model", "data", "loss", "train", "eval", "export", "demo")
MOST_LINES, MOST_TRAIN_LINES, MOST_FUNCTION_LINES, MOST_LAUNCHER_LINES = 396, 194, 57, 6
HEADINGS = "Results, Set up, Train, Evaluate, Export and infer, Differences from the original, Sources and licence"
EMPTY_NAME = re.compile(r"(^|_)(utils?|misc|helpers?|common_?utils|v\d+|new|old|final)(_|$)")

# Numbers of keypoints, limbs and channels belong to common/skeleton.py. These lines have such a number and mean
# something else: a piece of the line, and what it is.
KEYPOINT_NUMBERS = {17, 18, 19, 38}
OTHER_MEANINGS = {
    "common/topdown/resnet.py": {"18: (BasicBlock": "ResNet-18"},
    "AlphaPose/weights.py": {'18: "resnet18': "ResNet-18"},
    "AlphaPose/keys.py": {'"MODEL.NUM_LAYERS"': "ResNet-18"},
    "Lightweight_OpenPose/labels.py": {"MIN_KEYPOINTS_OF = 17": "the rule `5 of 17` of the original, scaled to others"},
}


def outside(names: list[str], allowed: str) -> list[str]:
    return [name for name in names if name != allowed]


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Dotted name of what is called, and the call."""
    return ((project.dotted(node.func), node) for node in project.nodes(name, ast.Call))


def keyword(call: ast.Call, name: str) -> object:
    """The constant that a call gives for a keyword; None where it gives none."""
    values = [word.value for word in call.keywords if word.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


@pytest.mark.parametrize("model", MODELS)
def test_the_same_file_names_everywhere(model: str) -> None:
    if f"{model}/train.py" in PYTHON:
        assert not [name for name in SAME_NAMES if f"{model}/{name}.py" not in PYTHON]


def test_names_say_what_is_inside() -> None:
    assert not [name for name in project.files() if EMPTY_NAME.search(Path(name).stem)]


def test_sizes() -> None:
    lines = {name: project.text(name).count("\n") for name in project.files() if name.endswith((".py", ".sh"))}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES}
    assert not {name: n for name, n in lines.items() if name.endswith("/train.py") and n > MOST_TRAIN_LINES}
    assert not {name: lines[name] for name in project.launchers() if lines[name] > MOST_LAUNCHER_LINES}


def test_functions_are_short() -> None:
    lengths = {
        f"{name}:{node.name}": node.end_lineno - node.lineno + 1
        for name in PYTHON
        for node in project.nodes(name, ast.FunctionDef, ast.AsyncFunctionDef)
    }
    assert not {function: lines for function, lines in lengths.items() if lines > MOST_FUNCTION_LINES}


def test_devices_are_a_detail_of_one_file() -> None:
    found = []
    for name in outside(PROGRAM, "common/device.py"):
        if "torch_npu" in {module.split(".")[0] for module in project.imported(name)}:
            found.append(f"{name}: import torch_npu")
        attributes = {project.dotted(node) for node in project.nodes(name, ast.Attribute)}
        found += [f"{name}: {word}" for word in attributes if re.match(r"torch\.(cuda|npu)\.", word)]
        found += [f"{name}: .{word.rsplit('.')[-1]}()" for word, _ in calls(name) if re.search(r"\.(cuda|npu)$", word)]
    assert not found


def test_models_do_not_import_each_other() -> None:
    for name in [name for name in PROGRAM if not name.startswith("tools/")]:
        owner = name.split("/")[0]
        others = {module.split(".")[0] for module in project.imported(name)} & set(MODELS) - {owner}
        assert others <= project.BUILDS_ON.get(owner, set()), name


def test_one_file_alone_edits_the_import_path() -> None:
    attributes = {name: {project.dotted(node) for node in project.nodes(name, ast.Attribute)} for name in PROGRAM}
    assert {Path(name).name for name, words in attributes.items() if "sys.path" in words} == {"common.py"}


def test_every_folder_with_programs_finds_common() -> None:
    """`python train.py` after `pip install -r requirements.txt` alone: the folder's common.py leads to the package."""
    programs = [name for name in frozen.programs() if name.split("/")[0] in MODELS]
    beside = {str(Path(name).parent / "common.py") for name in programs}
    assert len({project.text(name) for name in beside if name in PYTHON}) == 1 and beside <= set(PYTHON)
    ours = {"common", *MODELS}
    for name in programs:
        imports = [node for node in project.tree(name).body if isinstance(node, ast.Import | ast.ImportFrom)]
        roots = [(getattr(node, "module", None) or node.names[0].name).split(".")[0] for node in imports]
        first = next((root for root in roots if root in ours), "common")
        assert first == "common", f"{name} imports {first} before common"


def test_nothing_from_a_file_is_executed() -> None:
    found = []
    for name in PROGRAM:
        taken = project.imported(name)
        found += [
            f"{name}: {word}" for word in ("pickle.load", "pickle.loads", "yaml.load", "torch.load") if word in taken
        ]
        for word, call in calls(name):
            forbidden = word in (
                "eval",
                "exec",
                "pickle.load",
                "pickle.loads",
                "pickle.Unpickler",
                "yaml.load",
                "os.system",
            )
            unsafe_load = word == "torch.load" and keyword(call, "weights_only") is not True
            if forbidden or unsafe_load or keyword(call, "allow_pickle") or keyword(call, "shell"):
                found.append(f"{name}:{call.lineno}: {word}")
    assert not found


def test_no_bare_numbers_of_keypoints() -> None:
    found = []
    for name in outside(PROGRAM, "common/skeleton.py"):
        lines = project.text(name).splitlines()
        for node in project.nodes(name, ast.Constant):
            if type(node.value) is int and node.value in KEYPOINT_NUMBERS:
                line = lines[node.lineno - 1]
                if not any(piece in line for piece in OTHER_MEANINGS.get(name, ())):
                    found.append(f"{name}:{node.lineno}: {line.strip()}")
    assert not found


def test_no_exception_outlives_its_line() -> None:
    for name, pieces in OTHER_MEANINGS.items():
        assert not [piece for piece in pieces if piece not in project.text(name)], name


@pytest.mark.parametrize("model", MODELS)
def test_readmes_have_the_same_headings(model: str) -> None:
    found = re.findall(r"^## (.*\S)\s*$", project.text(f"{model}/README.md"), re.MULTILINE)
    assert found == HEADINGS.split(", ")
