# SPDX-License-Identifier: Apache-2.0
"""eval.py as a user types it, on a small network."""

import json
import shutil
import sys
from pathlib import Path

from AlphaPose import eval as program
from AlphaPose.config import NETWORK
from common.cli import UserError

import pytest

EXPERIMENT = Path("exp") / "exp_test-256x192_res50_lr1e-3_1x.yaml"  # as published


def run_program(monkeypatch: pytest.MonkeyPatch, output: Path, *flags: str) -> Path:
    """Runs eval.py; returns the folder of its results."""
    monkeypatch.setattr(sys, "argv", ["eval.py", "--device=cpu", f"--output_dir={output}", *flags])
    program.main()
    return output / EXPERIMENT


def test_the_program_in_given_boxes(monkeypatch, capsys, tiny_coco, tmp_path, checkpoint) -> None:
    """The published flags, and what the published launcher reads."""
    words = ("--batch", "3", "--gpus=0", "--flip-test", "--save_images=1", "--report")
    place = (f"--data_path={tiny_coco}", f"--checkpoint={checkpoint}")
    folder = run_program(monkeypatch, tmp_path, *place, *words)
    lines = capsys.readouterr().out.splitlines()
    result = next(line for line in lines if "gt box" in line).split()
    assert result[:3] == ["#####", "gt", "box:"] and 0 <= float(result[3]) < 0.5 and result[4:] == ["mAP", "#####"]
    protocol = next(line for line in lines if line.startswith("protocol: boxes given, "))
    assert "flip_test True" in protocol and "network SimplePose" in protocol and str(checkpoint) in protocol
    assert any("Average Precision" in line for line in lines)
    assert " ".join(result) in (folder / "eval.log").read_text()
    people = json.loads((folder / "eval" / "detections.json").read_text())
    assert f"people {len(people)}, images 6, " in protocol
    report = json.loads((folder / "eval" / "report.json").read_text())
    assert report["metrics"]["AP"] == pytest.approx(float(result[3]), abs=1e-4)
    assert (folder / "eval" / "pictures.png").is_file()
    record = json.loads((folder / "eval" / "metrics.jsonl").read_text().splitlines()[-1])
    assert record["metrics"]["AP"] == pytest.approx(float(result[3]), abs=1e-4)
    assert record["protocol"]["boxes"] == "given"
    assert json.loads((tmp_path / "test/output/0/run.json").read_text())["network"] == NETWORK


def test_the_program_in_detected_boxes(monkeypatch, capsys, tiny_coco, tmp_path, checkpoint) -> None:
    """The checkpoint from where training leaves it, the boxes from a file with one that is unusable."""
    place = tmp_path / EXPERIMENT / "model_best.pth"
    place.parent.mkdir(parents=True)
    shutil.copy(checkpoint, place)
    boxes = tmp_path / "boxes.json"
    entry = {"image_id": 500_001, "category_id": 1, "bbox": [5, 5, 60, 90], "score": 0.7}
    boxes.write_text(json.dumps([entry, {**entry, "bbox": [5, 5, 0, 90]}]))
    folder = run_program(monkeypatch, tmp_path, f"--data_path={tiny_coco}", f"--detections={boxes}", "--nms=pose")
    out = capsys.readouterr().out
    assert "##### det box: " in out and f"protocol: boxes {boxes}, people 1, " in out and "nms pose" in out
    assert "1 boxes are left out" in out
    assert len(json.loads((folder / "eval" / "detections.json").read_text())) <= 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--nms=oks",), "--nms and --scores are for detected boxes: add --detections=FILE"),
        (("--detections=x.json", "--data_path=DATA"), "x.json: no such file"),
        (("--data_path=nowhere",), "person_keypoints_val2017.json: no such file or folder; --data_path must be a COCO"),
        (("--data_path=DATA", "--val_images_folder=x"), "x: no such file or folder; .* DATASET.VAL.IMG_PREFIX"),
        (("--data_path=DATA", "--checkpoint=x.pth"), "x.pth: no such checkpoint"),
        (("--data_path=DATA", "--checkpoint="), "--checkpoint is needed: .*model_best.pth is not there"),
        (("--data_path=DATA", "--cfg=x.yaml"), "--cfg=x.yaml: No such file"),
        (("--data_path=DATA", "--skeleton=crowdpose"), "another network|NUM_JOINTS is 17, --skeleton=crowdpose has 14"),
        (("--batch=-1",), "--batch_size=-1: at least 0"),
        (("--num_workers=0",), "--num_workers=0: at least 1"),
    ],
)
def test_what_the_program_refuses(monkeypatch, tiny_coco, tmp_path, checkpoint, flags, message) -> None:
    given = (f"--checkpoint={checkpoint}", *(flag.replace("DATA", str(tiny_coco)) for flag in flags))
    with pytest.raises(UserError, match=message):
        run_program(monkeypatch, tmp_path, *given)
