# SPDX-License-Identifier: Apache-2.0
import json
import sys

from common.cli import UserError
from common.skeleton import OPENPOSE
from Lightweight_OpenPose import eval as evaluation
from Lightweight_OpenPose import export
from Lightweight_OpenPose.model import STRIDE, PoseEstimationWithMobileNet
from Lightweight_OpenPose.predict import InputRule, PoseEstimator
from Lightweight_OpenPose.test.programs import save_network

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

PUBLISHED_OUTPUTS = ["stage_0_output_1_heatmaps", "stage_0_output_0_pafs"]
PUBLISHED_OUTPUTS += ["stage_1_output_1_heatmaps", "stage_1_output_0_pafs"]
FIVE_POINTS = """
keypoints: [head, left_hand, right_hand, left_foot, right_foot]
flip_pairs: [[left_hand, right_hand], [left_foot, right_foot]]
limbs: [[head, left_hand], [head, right_hand], [head, left_foot], [head, right_foot]]
"""


def run_program(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["export", *words])
    export.main()


def dimensions(value) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def test_program_writes_the_published_network(tmp_path, monkeypatch, capsys, recwarn):
    source, target = save_network(tmp_path / "model.pth"), tmp_path / "new/folder/pose.onnx"
    run_program(monkeypatch, f"--checkpoint_path={source}", f"--output-name={target}")
    said = capsys.readouterr().out
    assert said.startswith(f"{target}: opset 11, data any x 3 x any x any, ")
    assert float(said.split("PyTorch ")[1].split()[0]) < 1e-5
    assert not recwarn.list
    assert sorted(path.name for path in target.parent.iterdir()) == ["pose.json", "pose.onnx"]
    written = onnx.load(target)
    assert [entry.version for entry in written.opset_import] == [11]
    assert written.ir_version <= 8
    (data,) = written.graph.input
    assert (data.name, dimensions(data)) == ("data", ["batch", 3, "height", "width"])
    assert [output.name for output in written.graph.output] == PUBLISHED_OUTPUTS
    heatmaps, pafs = (dimensions(output) for output in written.graph.output[-2:])
    assert heatmaps == ["batch", OPENPOSE.num_heatmaps, "map_height", "map_width"]
    assert pafs == ["batch", OPENPOSE.num_pafs, "map_height", "map_width"]


def test_a_file_takes_any_size_or_a_fixed_one(tmp_path):
    model = PoseEstimationWithMobileNet(1, OPENPOSE.num_heatmaps, OPENPOSE.num_pafs, num_channels=32).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)  # as training leaves them
    assert export.export_onnx(model, tmp_path / "pose.onnx", 11) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "pose.onnx", providers=["CPUExecutionProvider"])
    for batch, height, width in ((3, 64, 80), (1, 100, 75), (1, 8, 8)):
        images = torch.rand(batch, 3, height, width) - 0.5
        maps = session.run(None, {"data": images.numpy()})
        with torch.no_grad():
            for mine, theirs in zip(model(images), maps, strict=True):
                assert theirs.shape[2:] == (-(-height // STRIDE), -(-width // STRIDE))
                torch.testing.assert_close(mine, torch.from_numpy(theirs), atol=1e-5, rtol=1e-4)
    assert export.export_onnx(model, tmp_path / "fixed.onnx", 13, (2, 64, 96)) < 1e-5
    written = onnx.load(tmp_path / "fixed.onnx")
    assert [entry.version for entry in written.opset_import] == [13]
    assert dimensions(written.graph.input[0]) == [2, 3, 64, 96]
    assert dimensions(written.graph.output[0]) == [2, OPENPOSE.num_heatmaps, 64 // STRIDE, 96 // STRIDE]


def test_three_refinement_stages_and_a_skeleton_of_your_own(tmp_path, monkeypatch):
    (tmp_path / "five.yaml").write_text(FIVE_POINTS)
    state = PoseEstimationWithMobileNet(3, num_heatmaps=6, num_pafs=8).state_dict()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "model.pth")
    target = tmp_path / "five.onnx"
    words = (f"--checkpoint_path={tmp_path / 'model.pth'}", f"--output_name={target}", "--batch_size=2")
    run_program(monkeypatch, *words, f"--skeleton={tmp_path / 'five.yaml'}")
    written = onnx.load(target).graph
    assert dimensions(written.input[0]) == [2, 3, "height", "width"]
    assert written.output[-1].name == "stage_3_output_0_pafs"
    assert [dimensions(output)[1] for output in written.output] == [6, 8] * 4


@pytest.mark.parametrize(
    ("words", "size", "rule"),
    [
        ((), {"height": 256, "multiple": 8}, InputRule(256)),
        (("--height=64",), {"height": 64, "multiple": 8}, InputRule(64)),
        (("--height=64", "--width=96"), {"height": 64, "width": 96}, InputRule(64, (64, 96))),
    ],
)
def test_a_file_says_how_an_image_becomes_its_input(tmp_path, monkeypatch, words, size, rule):
    source, target = save_network(tmp_path / "model.pth", 0), tmp_path / "pose.onnx"
    run_program(monkeypatch, f"--checkpoint_path={source}", f"--output_name={target}", *words)
    said = json.loads(target.with_suffix(".json").read_text())["input"]
    assert {name: said.get(name) for name in ("height", "width", "multiple") if name in said} == size
    estimator = PoseEstimator(target, "cpu")
    assert estimator.input_rule == rule and len(estimator(np.zeros((50, 70, 3), np.uint8))) >= 0


def test_a_network_of_one_size_is_not_evaluated_at_several_scales(tiny_coco, tmp_path, monkeypatch):
    source, target = save_network(tmp_path / "model.pth", 0), tmp_path / "pose.onnx"
    run_program(monkeypatch, f"--checkpoint_path={source}", f"--output_name={target}", "--height=64", "--width=96")
    place = (f"--data_path={tiny_coco}", f"--output_dir={tmp_path}", "--device=cpu", f"--checkpoint_path={target}")
    monkeypatch.setattr(sys, "argv", ["eval", *place, "--multiscale"])
    with pytest.raises(UserError, match="--multiscale: .*pose.onnx takes images of one size"):
        evaluation.main()
    monkeypatch.setattr(sys, "argv", ["eval", *place])
    evaluation.main()
    (record,) = (json.loads(line) for line in (tmp_path / "eval_step1" / "metrics.jsonl").read_text().splitlines())
    assert record["protocol"]["input"] == "64x96"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--checkpoint_path is needed"),
        (("--checkpoint_path=nothing.pth",), "nothing.pth: no such checkpoint"),
        (("--checkpoint_path=x", "--height=-8"), "--height=-8: at least 0"),
    ],
)
def test_bad_flags(monkeypatch, words, message):
    with pytest.raises(UserError, match=message):
        run_program(monkeypatch, *words)
