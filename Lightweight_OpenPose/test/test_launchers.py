# SPDX-License-Identifier: Apache-2.0
"""The published commands, from flags to result files."""

import json
from pathlib import Path

import common.train.checkpoint
from common.test.programs import weights
from Lightweight_OpenPose.test.programs import FROM_SCRATCH, SMALL, launcher, trained

import pytest
import torch

RESULT_KEYS = "Network RankSize BatchSize DeviceType CaseName ActualFPS TrainingTime TrainAccuracy ActualLoss "
RESULT_KEYS += "E2ETrainingTime"


def entries(path: Path) -> dict[str, str]:
    return dict(line.split(" = ") for line in path.read_text().splitlines())


def test_performance_on_one_device(tiny_coco: Path, tmp_path: Path) -> None:
    run = launcher("train_performance_1p.sh", f"--data_path={tiny_coco}", f"--output_dir={tmp_path}", *SMALL)
    assert run.returncode == 0, run.stderr
    final = run.stdout[run.stdout.index("---- Final result ----") :].splitlines()
    assert final[1].startswith("Final Performance images/sec : ") and final[2].startswith("E2E Training Duration sec :")
    logs = tmp_path / "test" / "output" / "0"
    result = entries(logs / "openpose_bs4_1p_perf.log")
    assert list(result) == RESULT_KEYS.split()
    assert (result["Network"], result["RankSize"], result["BatchSize"]) == ("openpose", "1", "4")
    assert result["TrainAccuracy"] == "no acc for perf"
    assert float(result["TrainingTime"]) == pytest.approx(4000 / float(result["ActualFPS"]), rel=1e-2)
    losses = (logs / "train_openpose_bs4_1p_perf_loss.txt").read_text().splitlines()
    assert losses[-1] == result["ActualLoss"] and len(losses[-1].split(",")) == 4
    assert "FPS@all" in (logs / "train_0.log").read_text()
    assert (tmp_path / "perf_1p_checkpoints" / "last.pth").is_file()
    assert (tmp_path / "perf_1p_checkpoints" / "0" / "train_0.log").is_file()
    assert "random start" in run.stdout


def test_the_three_steps_follow_each_other_and_are_evaluated(tiny_coco: Path, tmp_path: Path) -> None:
    place = (f"--data_path={tiny_coco}", f"--output_dir={tmp_path}")
    short = ("--epochs=1", "--eval_freq=1")
    for step, folder in ((1, "step_one"), (2, "step_two"), (3, "step_three")):
        start = FROM_SCRATCH if step == 1 else ()
        run = trained(tmp_path, *place, *SMALL, *short, *start, f"--step={step}")
        assert run.returncode == 0, run.stderr
        assert f"TrainAccuracy : {0:.4f}" in run.stdout
        best = common.train.checkpoint.read(tmp_path / f"{folder}_checkpoints" / "model_best.pth")
        assert best["config"]["step"] == step and best["config"]["data_path"] == str(tiny_coco)
    run = launcher("eval.sh", *place, "--step=3", "--base_height=64", "--save_images=2", "--device=cpu")
    assert run.returncode == 0, run.stderr
    assert "EvalAccuracy : 0.0000" in run.stdout
    result = entries(tmp_path / "test" / "output" / "0" / "openpose_1p_eval.log")
    assert list(result) == ["Network", "DeviceType", "CaseName", "EvalAccuracy", "E2ETrainingTime"]
    for name in ("detections.json", "pictures.png", "metrics.jsonl", "0/openpose_1p_eval.log"):
        assert (tmp_path / "eval_step3" / name).is_file()
    assert isinstance(json.loads((tmp_path / "eval_step3" / "detections.json").read_text()), list)


def test_two_ranks_are_one_that_accumulates_the_same_halves(tiny_coco: Path, tmp_path: Path) -> None:
    flags = (f"--data_path={tiny_coco}", *SMALL, *FROM_SCRATCH, "--epochs=1", "--eval_freq=1")
    for ranks, name, extra in ((1, "1p", "--part_size=2"), (2, "8p", "--ranks=2")):
        place = (f"--output_dir={tmp_path / str(ranks)}", "--experiment_name=same")
        run = launcher(f"train_performance_{name}.sh", *flags, *place, extra)
        assert run.returncode == 0, run.stderr
    folders = [tmp_path / ranks / "same_checkpoints" for ranks in "12"]
    one, two = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in folders
    )
    steps = [[record["losses"] for record in records if record["event"] == "step"] for records in (one, two)]
    assert len(steps[0]) == len(steps[1]) > 4
    for alone, together in zip(*steps, strict=True):
        assert together == pytest.approx(alone, rel=1e-5)
    alone, together = map(weights, folders)
    for name, value in alone.items():
        if "running" not in name and "num_batches" not in name:  # the first rank's, of its half only
            assert torch.allclose(value, together[name], atol=1e-5), name
    assert (tmp_path / "2" / "test" / "output" / "0" / "train_1.log").is_file()
    result = entries(tmp_path / "2" / "test" / "output" / "0" / "openpose_bs4_2p_perf.log")
    assert (result["RankSize"], result["BatchSize"]) == ("2", "4")
