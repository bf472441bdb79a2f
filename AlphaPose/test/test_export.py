# SPDX-License-Identifier: Apache-2.0
"""Exported networks hold the checkpoint's weights, and are kept only where they compute what PyTorch does."""

import subprocess
import sys
from pathlib import Path

from AlphaPose import export, weights
from AlphaPose.model import FastPose, FastPoseDUC, SimplePose
from AlphaPose.scripts import pthtar2onnx
from common.cli import UserError
from common.runtime.export import Ports, export_onnx
from common.skeleton import COCO
from common.train.checkpoint import CheckpointError

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

FOLDER = Path(__file__).parents[1]
SIZE = (64, 48)


def run_program(main, monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *words])
    main()


def dimensions(value) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def maps_of(path: Path, images: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]


def test_the_file_holds_the_trained_weights_and_takes_any_batch(checkpoint, tmp_path, monkeypatch, capsys):
    target = tmp_path / "new" / "pose.onnx"
    run_program(export.main, monkeypatch, f"--checkpoint={checkpoint}", f"--output-name={target}")
    written = onnx.load(target)
    assert [entry.version for entry in written.opset_import] == [11] and written.ir_version <= 8
    (image,), (output,) = written.graph.input, written.graph.output
    assert (image.name, dimensions(image)) == ("image", ["batch", 3, *SIZE])
    assert (output.name, dimensions(output)[:2]) == ("output", ["batch", COCO.num_keypoints])
    images = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(1)) - 0.5
    network = weights.load_network(SimplePose(COCO.num_keypoints, 18), checkpoint)
    with torch.no_grad():
        torch.testing.assert_close(network(images), torch.from_numpy(maps_of(target, images)), atol=1e-5, rtol=1e-4)
    said = capsys.readouterr().out
    assert said.startswith(f"{target}: SimplePose of {checkpoint}, opset 11, image any x 3 x 64 x 48, ")
    assert sorted(path.name for path in target.parent.iterdir()) == ["pose.json", "pose.onnx"]


def test_the_published_script_writes_the_published_names(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cfg = FOLDER / "configs/coco/resnet/256x192_res50_lr1e-3_1x.yaml"
    words = (f"--cfg={cfg}", f"--checkpoint={checkpoint}", "--batch_size=4", "--opset=13", "--device-list=0")
    run_program(pthtar2onnx.main, monkeypatch, *words)
    written = onnx.load("alphapose_fastpose_npu.onnx")
    assert [entry.version for entry in written.opset_import] == [13]
    assert (written.graph.input[0].name, dimensions(written.graph.input[0])) == ("preact.conv1", [4, 3, *SIZE])
    assert (written.graph.output[0].name, dimensions(written.graph.output[0])[0]) == ("conv_out", 4)
    assert "--device_list has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("model", [FastPose, FastPoseDUC])
def test_pixel_shuffles_can_be_said_in_the_default_operator_set(model, tmp_path):
    torch.manual_seed(0)
    trial, ports = (torch.rand(1, 3, 64, 64),), Ports(["image"], ["output"])
    assert export_onnx(model(COCO.num_keypoints), tmp_path / "pose.onnx", 11, ports, [trial]) < 1e-4


def test_bad_input(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"other.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    for words, message in (
        (("--batch_size=-1",), "--batch_size=-1"),
        (("--checkpoint=nothing.pth",), "nothing.pth: no such checkpoint"),
        ((f"--output_dir={tmp_path}",), "--checkpoint is needed: .*exp_test-256x192"),
        (("--checkpoint=other.pth",), "another network"),
        ((f"--checkpoint={checkpoint}", "--skeleton=crowdpose"), "NUM_JOINTS is 17, --skeleton=crowdpose has 14"),
        ((f"--checkpoint={checkpoint}", "--cfg=none.yaml"), "none.yaml"),
    ):
        with pytest.raises((UserError, CheckpointError), match=message):
            run_program(export.main, monkeypatch, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["other.pth"]


def test_the_published_installation_is_answered_by_one_line():
    command = [sys.executable, "-S", "setup.py", "build", "develop"]  # -S: without the packages of this environment
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True, timeout=60, env={})
    assert done.stdout.count("\n") == 1 and "pip install -r requirements.txt" in done.stdout
