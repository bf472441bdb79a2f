# SPDX-License-Identifier: Apache-2.0
"""The scripts of the published commands: POSIX sh, the published arguments, the exit status of the run."""

import json
import shutil
from pathlib import Path

from common.test.programs import complaint, done
from OpenPose_MindSpore_port.test.programs import SCRIPTS, script
from OpenPose_MindSpore_port.test.test_rank_table import EIGHT, device, table

import pytest

NAMES = ("run_standalone_train.sh", "run_distribute_train.sh", "run_eval_ascend.sh")
SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox") if shutil.which(shell)]
DRY = {"DRY_RUN": "1", "DEVICE_ID": ""}


def shown(name: str, *words: str, shell: str = "sh", **more: str) -> str:
    """The command that a script would run."""
    found = script(name, *words, shell=shell, **{**DRY, **more})
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.fixture
def two_ranks(tmp_path: Path) -> Path:
    path = tmp_path / "two ranks.json"
    path.write_text(json.dumps(table(("10.0.0.1", [device(3, 0), device(5, 1)]))))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_posix(name: str) -> None:
    text = (SCRIPTS / name).read_text()
    assert text.startswith("#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n")
    if shutil.which("shellcheck"):
        found = done("shellcheck", "--shell=sh", str(SCRIPTS / name))
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_standalone(shell: str) -> None:
    if shell == "busybox":
        pytest.skip("its shell is `busybox sh`")
    command = shown("run_standalone_train.sh", "--lr=1", shell=shell)
    assert "common.launch --ranks=1" in command and "OpenPose_MindSpore_port.train" in command
    assert command.endswith("--recipe=full --lr=1")


def test_standalone_with_paths_and_a_device() -> None:
    command = shown("run_standalone_train.sh", "img", "a.json", "masks", "vgg.ckpt", "3", "--lr=1")
    assert command.endswith(
        "--recipe=full --imgpath_train=img --jsonpath_train=a.json --maskpath_train=masks --vgg_path=vgg.ckpt --lr=1"
    )
    assert "/test/output/3 " in command


def test_the_evaluation_can_be_typed_in_the_directory_itself() -> None:
    here = done("sh", "run_eval_ascend.sh", "--val_images=2", cwd=SCRIPTS.parent, **DRY)
    assert here.stdout.strip() == shown("run_eval_ascend.sh", "--val_images=2")


def test_the_device_of_the_environment() -> None:
    assert "/test/output/6 " in shown("run_standalone_train.sh", DEVICE_ID="6")
    assert "/test/output/6 " in shown("run_eval_ascend.sh", DEVICE_ID="6")


def test_evaluation() -> None:
    assert "OpenPose_MindSpore_port.eval" in shown("run_eval_ascend.sh")
    command = shown("run_eval_ascend.sh", "0-6_30000.ckpt", "val2017", "val.json", "0")
    assert command.endswith("--model_path=0-6_30000.ckpt --imgpath_val=val2017 --ann=val.json")


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox"])
def test_as_many_ranks_as_the_table_names(two_ranks: Path, shell: str) -> None:
    command = shown("run_distribute_train.sh", str(two_ranks), "--lr=1", shell=shell)
    assert "common.launch --ranks=2" in command and command.endswith("--recipe=full --lr=1")
    command = shown("run_distribute_train.sh", str(two_ranks), "img", "a.json", "masks", "vgg.ckpt", shell=shell)
    assert command.endswith("--imgpath_train=img --jsonpath_train=a.json --maskpath_train=masks --vgg_path=vgg.ckpt")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run_distribute_train.sh", ()),
        ("run_distribute_train.sh", ("--lr=1",)),
        ("run_distribute_train.sh", ("table.json", "img", "a.json")),
        ("run_standalone_train.sh", ("img", "a.json", "masks")),
        ("run_eval_ascend.sh", ("0-6_30000.ckpt",)),
    ],
)
def test_too_few_arguments(name: str, words: tuple[str, ...]) -> None:
    assert f"usage: sh scripts/{name}" in complaint(script(name, *words))


def test_a_table_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "hccl.json"
    path.write_text("{")
    assert str(path) in complaint(script("run_distribute_train.sh", str(path)))
    path.write_text(json.dumps(table(("10.0.0.1", [{**one, "rank_id": "0"} for one in EIGHT]))))
    assert "twice" in complaint(script("run_distribute_train.sh", str(path)))
    path.write_text(json.dumps(table(("10.0.0.1", [device(number, number) for number in range(4096)]))))
    assert "names 4096 devices" in complaint(script("run_distribute_train.sh", str(path)))


def test_the_exit_status_is_that_of_the_run(tmp_path: Path) -> None:
    nowhere, output = f"--data_path={tmp_path / 'nowhere'}", f"--output_dir={tmp_path}"
    for name in ("run_standalone_train.sh", "run_eval_ascend.sh"):
        model = () if name.endswith("train.sh") else ("--model_path=none.ckpt",)
        assert complaint(script(name, nowhere, output, "--device=cpu", *model, cwd=tmp_path))
