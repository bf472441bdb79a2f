# SPDX-License-Identifier: Apache-2.0
"""Which layers compute in 8 bits, what the file computes, and which scores are refused."""

import sys
from pathlib import Path

from common.cli import UserError
from common.runtime import quantize
from common.runtime.export import Ports, export_onnx
from common.runtime.quantize import Score
from common.runtime.session import Options, open_network

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


class Network(nn.Module):
    """A gated sum, a normalised convolution, a deconvolution, and two heads that lambda mixes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Conv2d(3, 6, 3, 2, 1), nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        self.normalised = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.up = nn.ConvTranspose2d(6, 5, 4, 2, 1)
        self.head, self.second = nn.Conv2d(5, 2, 1), nn.Conv2d(5, 2, 1)

    def forward(self, images: Tensor, shares: Tensor) -> Tensor:
        features = self.first(images)
        features = (features + features * self.gate(features.mean(dim=(2, 3)))[:, :, None, None]).relu()
        features = self.up(self.normalised(features)).relu()
        share = shares[:, 0, None, None, None]
        return self.head(features) * share + self.second(features) * (1 - share)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    target = tmp_path_factory.mktemp("network") / "network.onnx"
    free = {name: {0: "batch"} for name in ("images", "shares", "maps")}
    trial = (torch.rand(2, 3, 12, 8), torch.rand(2, 2))
    export_onnx(Network().eval(), target, 11, Ports(("images", "shares"), ("maps",), free), [trial])
    return target


def inputs(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.random((count, 3, 12, 8), np.float32), random.random((count, 2), np.float32)


def test_all_convolutions_but_the_heads_compute_in_8_bits(source, tmp_path, capfd):
    target = tmp_path / "int8.onnx"
    layers = quantize.write_int8(source, (inputs(count) for count in (1, 4)), target)
    assert sorted(layers) == ["/head/Conv", "/second/Conv"] and "".join(capfd.readouterr()) == ""
    written = onnx.load(target)
    onnx.checker.check_model(written, full_check=True)
    tensors = {tensor.name: tensor for tensor in written.graph.initializer}
    makers = {name: node for node in written.graph.node for name in node.output}
    seen = set()
    for node in written.graph.node:
        if node.op_type in quantize.CONVOLUTIONS and node.name not in layers:
            weights, scales = (tensors[name] for name in makers[node.input[1]].input[:2])
            channels = weights.dims[node.op_type == "ConvTranspose"]
            assert weights.data_type == onnx.TensorProto.INT8 and list(scales.dims) == [channels]
            seen.add(node.op_type)
    assert seen == set(quantize.CONVOLUTIONS)
    assert "BatchNormalization" not in {node.op_type for node in written.graph.node}
    for provider in ("cpu", "openvino"):
        expected, found = (
            open_network(path, Options("cpu", provider=provider, threads=1), None)(*inputs(3))[0]
            for path in (source, target)
        )
        assert np.abs(expected - found).max() < 0.05 * np.abs(expected).max()


def test_files_that_cannot_be_quantized(tmp_path, source, monkeypatch):
    (tmp_path / "broken.onnx").write_text("no network")
    with pytest.raises(UserError, match="broken.onnx: .*export the network again"):
        quantize.check(tmp_path / "broken.onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "relu.onnx")
    with pytest.raises(UserError, match="relu.onnx: has no convolution"):
        quantize.check(tmp_path / "relu.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="pip install onnx"):
        quantize.check(source)


def test_a_smaller_ap_is_refused():
    def complaint(ap: float, people: int, max_ap_drop: float) -> str:
        return quantize.complaint(Score(0.61, 90), Score(ap, people), max_ap_drop, "OpenVINO")

    assert complaint(0.59, 90, 0.01).startswith("AP falls from 0.6100 to 0.5900, more than --max_ap_drop=0.01")
    assert complaint(0.59, 90, 0.03) == complaint(0.7, 80, 0) == ""
    assert "AP falls" in complaint(float("nan"), 9, 0.9)
    assert complaint(0.61, 0, 0.9).startswith("INT8 finds no people, where float32 finds 90")


def test_calibration_images_are_spread_over_a_folder(tmp_path):
    for number in range(9):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "notes.txt").touch()
    assert [path.name for path in quantize.calibration_images(tmp_path, 3)] == ["0.png", "4.png", "8.png"]
    assert len(quantize.calibration_images(tmp_path, 99)) == 9
