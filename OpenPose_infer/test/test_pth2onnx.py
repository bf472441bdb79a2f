# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

from common.cli import UserError
from common.skeleton import OPENPOSE
from Lightweight_OpenPose.model import STRIDE, PoseEstimationWithMobileNet
from OpenPose_infer import OpenPose_pth2onnx
from OpenPose_infer.config import HEIGHT, WIDTH

import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PUBLISHED_OUTPUTS = (
    "stage_0_output_1_heatmaps",
    "stage_0_output_0_pafs",
    "stage_1_output_1_heatmaps",
    "stage_1_output_0_pafs",
)


def run_program(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["OpenPose_pth2onnx.py", *words])
    OpenPose_pth2onnx.main()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch) -> Path:
    """./weights/checkpoint_iter_370000.pth in the current folder, with random weights."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights" / "checkpoint_iter_370000.pth"
    path.parent.mkdir()
    torch.manual_seed(0)
    model = PoseEstimationWithMobileNet(1, OPENPOSE.num_heatmaps, OPENPOSE.num_pafs)
    torch.save({"state_dict": model.state_dict()}, path)
    return path


def dimensions(value) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def test_defaults_are_the_published_ones(weights, monkeypatch, capsys):
    run_program(monkeypatch)
    written = onnx.load("output/human-pose-estimation.onnx")
    assert [entry.version for entry in written.opset_import] == [11]
    (data,) = written.graph.input
    assert (data.name, dimensions(data)) == ("data", ["batch", 3, 368, 640])
    assert tuple(output.name for output in written.graph.output) == PUBLISHED_OUTPUTS
    maps = [HEIGHT // STRIDE, WIDTH // STRIDE]
    assert [dimensions(output) for output in written.graph.output] == [["batch", 19, *maps], ["batch", 38, *maps]] * 2
    assert capsys.readouterr().out.startswith("output/human-pose-estimation.onnx: opset 11, data any x 3 x 368 x 640")


@pytest.mark.parametrize("words", [(), ("--checkpoint_path=weights/checkpoint_iter_370000.pth",)])
def test_published_weights_that_are_nowhere(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(UserError, match=r"checkpoint_iter_370000\.pth is not here and cannot be downloaded"):
        run_program(monkeypatch, *words)
