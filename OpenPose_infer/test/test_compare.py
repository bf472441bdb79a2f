# SPDX-License-Identifier: Apache-2.0
"""One table over all formats: the same people, the differences, and a reason for each format that is not here."""

import json
import sys
from pathlib import Path

from common.cli import UserError
from common.coco import images
from common.coco.evaluate import Detections, no_detections
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet
from OpenPose_infer import compare, formats
from OpenPose_infer.matching import keypoint_distances
from OpenPose_infer.test import blobs

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

ROUNDS = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blobs.write_data(tmp_path_factory.mktemp("blobs") / "coco", images=4)


def checkpoint(folder: Path, loud: tuple[int, ...] = ()) -> Path:
    """A real network that finds blobs."""
    model = PoseEstimationWithMobileNet(1, blobs.COLOURS + 1, 4)
    torch.save({"state_dict": blobs.finder(model, loud).state_dict()}, folder / "blobs.pth")
    return folder / "blobs.pth"


def run(monkeypatch, data: Path, source: Path, *words: str) -> dict[str, dict]:
    """The rows of the program by their formats."""
    folder = source.parent / "compared"
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "compare",
            f"--checkpoint_path={source}",
            f"--data_path={data}",
            f"--skeleton={data / 'blobs.yaml'}",
            f"--output-dir={folder}",
            f"--height={blobs.SIZE}",
            f"--width={blobs.SIZE}",
            f"--rounds={ROUNDS}",
            "--map_images=2",
            "--calibration_images=2",
            "--threads=1",
            "--device=cpu",
            *words,
        ],
    )
    compare.main()
    return {row["format"]: row for row in json.loads((folder / "compare.json").read_text())["formats"]}


def test_every_format_has_a_row(tmp_path, data, monkeypatch):
    """One run: what it measures, the differences, the sizes of the files, and the table."""
    rows, folder = run(monkeypatch, data, checkpoint(tmp_path), "--batch_size=2"), tmp_path / "compared"
    assert list(rows) == list(formats.FORMATS)
    assert rows["OM"]["absent"] == "not here: give --om_path, which convert_om.sh writes"
    for name in rows.keys() - {"OM", "TensorRT float32", "TensorRT float16"}:
        assert "absent" not in rows[name], rows[name]
        assert rows[name]["ap"] > 0.9 and rows[name]["people"] == rows[name]["matched_people"] == 4
        assert rows[name]["latency_ms"] > 0 and rows[name]["batch_size"] == 2 and rows[name]["images_a_second"] > 0
    assert rows["PyTorch float32"]["speed_up"] == 1
    assert rows["PyTorch float32"]["map_difference"] == rows["PyTorch float32"]["keypoint_mean_px"] == 0
    for name in ("ONNX Runtime float32", "OpenVINO float32"):
        assert rows[name]["map_difference"] < 1e-4 and rows[name]["keypoint_mean_px"] == 0
    for name in ("PyTorch bfloat16", "ONNX Runtime int8", "OpenVINO int8"):
        assert 1e-4 < rows[name]["map_difference"] < 0.1 and rows[name]["keypoint_mean_px"] < 2
    files = {"ONNX Runtime float32": "network.onnx", "OpenVINO int8": "network_int8.onnx"}
    for name, file in {**files, "PyTorch bfloat16": "../blobs.pth"}.items():
        assert rows[name]["mb"] == (folder / file).stat().st_size / 1e6
    assert rows["ONNX Runtime int8"]["mb"] < 0.4 * rows["ONNX Runtime float32"]["mb"]
    lines = [line for line in (folder / "compare.md").read_text().splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == list(rows)
    assert {line.count("|") for line in lines} == {12}
    assert "int8 |" in next(line for line in lines if "ONNX Runtime int8" in line)


def test_a_refused_quantization_is_a_row(tmp_path, data, monkeypatch, capsys):
    folder = tmp_path / "compared"
    folder.mkdir()
    (folder / "network_int8.onnx").write_text("of other weights")
    rows = run(monkeypatch, data, checkpoint(tmp_path, tuple(range(12))), "--formats=int8")
    assert list(rows) == ["PyTorch float32", "ONNX Runtime int8", "OpenVINO int8"]
    assert rows["OpenVINO int8"]["absent"].startswith("refused: not written: ")
    assert "| OpenVINO int8 | refused: not written: " in capsys.readouterr().out
    assert not (folder / "network_int8.onnx").exists() and (folder / "network.onnx").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--checkpoint_path is needed"),
        (("--checkpoint_path=x.pth",), "--data_path is needed: .*COCO_HOME or DATA_PATH"),
        (("--checkpoint_path=x.pth", "--data_path=mini", "--rounds=0"), "at least 1"),
        (("--checkpoint_path=x.pth", "--data_path=mini", "--formats=caffe"), "--formats=caffe: in none of the names"),
        (("--checkpoint_path=nothing.pth", "--data_path={data}"), "nothing.pth: no such checkpoint"),
        (("--checkpoint_path={good}", "--data_path={data}", "--calibration_path=nowhere"), "nowhere: no such folder"),
    ],
)
def test_bad_flags(tmp_path, data, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(images, "ROOT", tmp_path / "project")
    filled = [word.format(data=data, good=checkpoint(tmp_path)) for word in words]
    monkeypatch.setattr(sys, "argv", ["compare", f"--skeleton={data / 'blobs.yaml'}", "--output_dir=out", *filled])
    with pytest.raises(UserError, match=message):
        compare.main()


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
    other.keypoints[0, 1] = 0  # one of three in common: nobody can tell
    assert keypoint_distances(one, other).people == 0
