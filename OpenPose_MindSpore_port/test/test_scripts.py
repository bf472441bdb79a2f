# SPDX-License-Identifier: Apache-2.0
"""The scripts of the published commands: POSIX sh, the published arguments, the exit status of the run."""

import json
import shutil
from pathlib import Path

from common.test import programs
from common.test.programs import ROOT, Done, complaint
from OpenPose_MindSpore_port.test.test_rank_table import device, table

import pytest

SCRIPTS = ROOT / "OpenPose_MindSpore_port" / "scripts"
SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]


def script(name: str, *words: str, shell: str = "sh", **more: str) -> Done:
    """Runs scripts/<name> to its end, with the shell of the published commands."""
    return programs.done(shell, str(SCRIPTS / name), *words, **more)


def shown(name: str, *words: str, shell: str = "sh", device_id: str = "") -> str:
    """The command that a script would run."""
    found = script(name, *words, shell=shell, DRY_RUN="1", DEVICE_ID=device_id)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.mark.parametrize("shell", SHELLS)
def test_arguments_become_flags(shell: str, tmp_path: Path) -> None:
    paths = ("img", "a.json", "masks", "vgg.ckpt")
    flags = "--imgpath_train=img --jsonpath_train=a.json --maskpath_train=masks --vgg_path=vgg.ckpt"
    standalone = shown("run_standalone_train.sh", *paths, "3", "--lr=1", shell=shell)
    assert "common.launch --ranks=1" in standalone and "OpenPose_MindSpore_port.train" in standalone
    assert "/test/output/3 " in standalone and standalone.endswith(f"--recipe=full {flags} --lr=1")
    assert shown("run_standalone_train.sh", "--lr=1", shell=shell).endswith("--recipe=full --lr=1")
    two_ranks = tmp_path / "two ranks.json"
    two_ranks.write_text(json.dumps(table(("10.0.0.1", [device(3, 0), device(5, 1)]))))
    distributed = shown("run_distribute_train.sh", str(two_ranks), *paths, shell=shell)
    assert "common.launch --ranks=2" in distributed and distributed.endswith(f"--recipe=full {flags}")
    evaluation = shown("run_eval_ascend.sh", "0-6_30000.ckpt", "val2017", "val.json", "0", shell=shell)
    assert evaluation.endswith("--model_path=0-6_30000.ckpt --imgpath_val=val2017 --ann=val.json")


def test_the_device_of_the_environment_and_the_script_in_the_directory_itself() -> None:
    assert "/test/output/6 " in shown("run_standalone_train.sh", device_id="6")
    evaluation = shown("run_eval_ascend.sh", "--val_images=2", device_id="6")
    assert "/test/output/6 " in evaluation and "OpenPose_MindSpore_port.eval" in evaluation
    here = programs.done("sh", "run_eval_ascend.sh", "--val_images=2", cwd=SCRIPTS.parent, DRY_RUN="1", DEVICE_ID="6")
    assert here.stdout.strip() == evaluation


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


def test_the_exit_status_is_that_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "hccl.json").write_text("{")
    assert "hccl.json" in complaint(script("run_distribute_train.sh", str(tmp_path / "hccl.json")))
    nowhere, output = f"--data_path={tmp_path / 'nowhere'}", f"--output_dir={tmp_path}"
    for name, *model in (("run_standalone_train.sh",), ("run_eval_ascend.sh", "--model_path=none.ckpt")):
        assert complaint(script(name, nowhere, output, "--device=cpu", *model))
