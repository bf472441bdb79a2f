# SPDX-License-Identifier: Apache-2.0
"""One table over all formats: the same people, and a reason for each format that is not here."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import UserError
from common.coco.evaluate import Detections, no_detections
from common.test.programs import complaint, module
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet
from OpenPose_infer.test import blobs
from tools import compare, runs
from tools.matching import keypoint_distances

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")


def called(config: compare.Config, program: str, words: Sequence[str]) -> None:
    """As compare.called, in a process that starts faster."""
    done = module(program, *words)
    if done.returncode:
        raise runs.FailedError(runs.reason(done.stderr, done.returncode))


def test_every_format_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    data, out = blobs.write_data(tmp_path / "coco", images=4), tmp_path / "out"
    model = blobs.finder(PoseEstimationWithMobileNet(1, blobs.COLOURS + 1, 4))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "blobs.pth")
    skeleton = f"--skeleton={data / 'blobs.yaml'}"
    words = [
        *("--network=Lightweight_OpenPose", f"--checkpoint_path={tmp_path / 'blobs.pth'}", f"--data_path={data}"),
        *(f"--output_dir={out}", "--rounds=1", "--formats=onnx,openvino int8,tensorrt float16,om"),
        *(f"--export_words={skeleton}", f"--eval_words={skeleton} --base_height={blobs.SIZE} --num_workers=1"),
        f"--quantize_words={skeleton} --height={blobs.SIZE} --width={blobs.SIZE} --calibration_images=2 --threads=1",
    ]
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    monkeypatch.setattr(compare, "called", called)
    compare.main()
    rows = {row["format"]: row for row in json.loads((out / "compare.json").read_text())}
    runtimes = ["ONNX Runtime float32", "ONNX Runtime int8", "OpenVINO int8"]
    assert list(rows) == ["PyTorch float32", *runtimes, "TensorRT float16", "OM"]
    assert rows["OM"]["absent"] == "not here: give --om_path"
    assert rows["TensorRT float16"]["absent"].startswith("not here: --")
    expected = rows["PyTorch float32"]
    assert expected["ap"] > 0.5 and expected["mean_px"] == 0 and expected["people"] >= 4
    for name in runtimes:
        row = rows[name]
        assert row["ap"] == pytest.approx(expected["ap"], abs=0.05) and row["matched"] == expected["people"]
        assert row["mean_px"] < 1.5 and row["network_ms"] > 0 and row["items_per_s"] > 0 and row["mb"] > 1
    assert rows["ONNX Runtime int8"]["mb"] < 0.5 * rows["ONNX Runtime float32"]["mb"]
    said = capsys.readouterr().out
    assert (out / "Lightweight_OpenPose" / "ONNX_Runtime_float32").is_dir()  # another network has folders of its own
    assert said == (out / "compare.md").read_text() and said.count("\n|") == 2 + len(rows)


def test_a_network_that_cannot_be_exported(tmp_path: Path) -> None:
    config = compare.Config("MIPNet", str(tmp_path / "no.pth"), "mini", str(tmp_path / "out"))
    reason = compare.make(config, {compare.INT8})
    assert set(reason) == {compare.FLOAT, compare.INT8, compare.ASCEND} and "no.pth" in reason[compare.INT8]
    assert "no.pth" in (tmp_path / "out" / "MIPNet.export.txt").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--checkpoint_path and --data_path are needed"),
        (("--checkpoint_path=a.pth", "--data_path=mini", "--formats=tflite"), "--formats=tflite: in none of the names"),
        (("--network=YOLO",), "YOLO"),
    ],
)
def test_bad_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    with pytest.raises(UserError, match=message):
        compare.main()
    assert not list(tmp_path.iterdir())


def test_the_earlier_name_says_the_new_one() -> None:
    assert "python -m tools.compare --network=OpenPose_infer" in complaint(
        module("OpenPose_infer.compare", "--checkpoint_path=a.pth", "--data_path=mini")
    )


def test_an_evaluation_that_finds_nobody(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has left no people"):
        compare.people_in(tmp_path)
    (tmp_path / "detections.json").write_text("[]")
    assert len(compare.people_in(tmp_path)) == 0


def found(*people: np.ndarray, image: int = 1) -> Detections:
    keypoints = np.array([np.pad(points, ((0, 0), (0, 1)), constant_values=1) for points in people], np.float64)
    return Detections(np.full(len(people), image), keypoints, np.ones(len(people)))


def test_keypoint_distances_of_matched_people():
    near, far = np.array([[0, 0], [30, 40.0], [0, 50]]), np.array([[200, 0], [230, 40.0], [200, 50]])
    moved = near + np.array([[3, 4], [0, 0], [0, 0]])
    result = keypoint_distances(found(near, far), found(far, moved))
    assert (result.people, result.median) == (2, 0) and result.mean == pytest.approx(5 / 6)
    assert keypoint_distances(found(near), found(far)).people == 0
    assert keypoint_distances(found(near), found(near, image=2)).mean is None
    assert keypoint_distances(found(near), no_detections(3)).people == 0


def test_a_keypoint_that_one_lacks_does_not_count():
    one, other = found(np.array([[0, 0], [30, 40.0], [0, 50]])), found(np.array([[0, 1], [30, 40.0], [99, 99]]))
    other.keypoints[0, 2] = 0
    result = keypoint_distances(one, other)
    assert (result.people, result.mean) == (1, 0.5)
    other.keypoints[0, 1] = 0  # one of three in common: undecidable
    assert keypoint_distances(one, other).people == 0
