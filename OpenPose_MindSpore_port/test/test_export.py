# SPDX-License-Identifier: Apache-2.0
import sys

from common.cli import UserError
from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port import export, mindspore_checkpoint
from OpenPose_MindSpore_port.export import AllMaps
from OpenPose_MindSpore_port.model import STRIDE
from OpenPose_MindSpore_port.test import narrow as narrow_networks
from OpenPose_MindSpore_port.test.narrow import narrow  # noqa: F401  a fixture

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run_program(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["export.py", *words])
    export.main()


def dimensions(value) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def test_the_published_command_writes_twelve_outputs(tmp_path, monkeypatch, capsys, recwarn) -> None:
    built, source = narrow_networks.network(), tmp_path / "0-6_30000.ckpt"
    mindspore_checkpoint.write(source, {f"network.{name}": tensor for name, tensor in built.state_dict().items()})
    words = ["--file_format", "ONNX", "--device_target", "Ascend", "--device_id", "0", "--file_name"]
    run_program(monkeypatch, f"--ckpt_file={source}", *words, str(tmp_path / "new/folder/openpose"))
    target = tmp_path / "new/folder/openpose.onnx"
    said = capsys.readouterr().out
    assert said.startswith(f"{target}: opset 11, images any x 3 x any x any, ")
    assert float(said.split("PyTorch ")[1].split()[0]) < 1e-5
    assert not recwarn.list
    assert sorted(path.name for path in target.parent.iterdir()) == ["openpose.json", "openpose.onnx"]
    written = onnx.load(target)
    assert [entry.version for entry in written.opset_import] == [11] and written.ir_version <= 8
    (images,) = written.graph.input
    assert (images.name, dimensions(images)) == ("images", ["batch", 3, "height", "width"])
    names = [f"{kind}{stage}" for kind in ("paf", "heatmap") for stage in range(1, 7)]
    assert [output.name for output in written.graph.output] == names
    pafs, heatmaps = (dimensions(written.graph.output[index]) for index in (5, 11))
    assert pafs == ["batch", OPENPOSE.num_pafs, "map_height", "map_width"]
    assert heatmaps == ["batch", OPENPOSE.num_heatmaps, "map_height", "map_width"]


@pytest.mark.parametrize("vgg_with_bn", [False, True])
def test_a_dynamic_file_takes_any_size(tmp_path, vgg_with_bn: bool) -> None:
    built = narrow_networks.network(vgg_with_bn=vgg_with_bn)
    assert export.export_onnx(built, tmp_path / "pose.onnx", 11) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "pose.onnx", providers=["CPUExecutionProvider"])
    for batch, height, width in ((3, 64, 80), (1, 88, 56), (1, 8, 8)):
        images = torch.rand(batch, 3, height, width) - 0.5
        maps = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            for mine, theirs in zip(AllMaps(built)(images), maps, strict=True):
                assert theirs.shape[2:] == (height // STRIDE, width // STRIDE)
                assert np.abs(mine.numpy() - theirs).max() / np.abs(theirs).max() < 1e-5


def test_sizes_can_be_fixed_each_by_itself(tmp_path, monkeypatch) -> None:
    source = narrow_networks.save(narrow_networks.network(), tmp_path / "model.pth")
    target = tmp_path / "pose.onnx"
    sizes = ("--batch_size=2", "--height=64", "--width=96")
    for given, wanted in ((sizes, [2, 3, 64, 96]), (sizes[:1], [2, 3, "height", "width"])):
        run_program(monkeypatch, f"--checkpoint_path={source}", *given, f"--output_name={target}", "--opset=13")
        assert dimensions(onnx.load(target).graph.input[0]) == wanted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--ckpt_file is needed"),
        (("--ckpt_file=nothing.ckpt",), "nothing.ckpt: no such"),
        (("--ckpt_file=x", "--file_format=AIR"), "--file_format=AIR is .*--file_format=ONNX.*atc.*converter_lite"),
        (("--ckpt_file=x", "--width=100"), "--width=100: a multiple of 8, or 0 for any"),
    ],
)
def test_bad_flags(monkeypatch, words, message) -> None:
    with pytest.raises(UserError, match=message):
        run_program(monkeypatch, *words)
