# SPDX-License-Identifier: Apache-2.0
"""Networks as quantisation needs them: which layers, what they cost, and deconvolutions as convolutions."""

from collections import Counter
from pathlib import Path

from common import deconvolutions, qdq
from common.cli import UserError
from common.runtime.export import Ports, export_onnx

import numpy as np
import pytest
import torch
from torch import Tensor, nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


class Network(nn.Module):
    """A gated sum, deconvolutions with and without bias and ReLU, and two heads that lambda mixes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Conv2d(3, 6, 3, 2, 1), nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        self.up, self.bare = nn.ConvTranspose2d(6, 4, 4, 2, 1), nn.ConvTranspose2d(4, 5, 4, 2, 1, bias=False)
        self.other = nn.ConvTranspose2d(5, 5, 3, 2, 1, 1)
        self.head, self.second = nn.Conv2d(5, 2, 1), nn.Conv2d(5, 2, 1)

    def forward(self, images: Tensor, shares: Tensor) -> Tensor:
        features = self.first(images)
        features = (features + features * self.gate(features.mean(dim=(2, 3)))[:, :, None, None]).relu()
        features = self.other(self.bare(self.up(features).relu()))
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


def maps(path: Path, count: int) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(("images", "shares"), inputs(count), strict=True)))[0]


def test_deconvolutions_as_convolutions_compute_the_same(source, tmp_path):
    network = qdq.prepare(source, tmp_path / "prepared.onnx")
    onnx.checker.check_model(network, full_check=True)
    kinds = Counter(node.op_type for node in network.graph.node)
    assert (kinds["ConvTranspose"], kinds["DepthToSpace"]) == (1, 2)  # one is of another kind
    np.testing.assert_allclose(maps(tmp_path / "prepared.onnx", 3), maps(source, 3), atol=1e-6)
    names = [node.name for node in network.graph.node]
    assert names.index("/Relu_1") == names.index("/up/ConvTranspose") + 1  # in front of what puts cells in place


def test_a_network_without_deconvolutions_stays_as_it_is():
    node = onnx.helper.make_node("ConvTranspose", ["x", "w"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    network = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [], []))
    before = network.SerializeToString()
    assert deconvolutions.as_convolutions(network).SerializeToString() == before


def test_what_can_compute_in_8_bits(source, tmp_path):
    network = qdq.prepare(source, tmp_path / "prepared.onnx")
    able = set(qdq.everything_but_heads(network))
    assert able == {"/first/Conv", "/Add", "/Relu", "/up/ConvTranspose", "/Relu_1", "/bare/ConvTranspose"}
    assert {"/head/Conv", "/second/Conv"} <= set(qdq.heads(network))
    ranges = qdq.measure_ranges(tmp_path / "prepared.onnx", [inputs(1), inputs(4)], "minmax", tmp_path)
    qdq.quantise(network, ranges, able, tmp_path / "int8.onnx", narrow_weights=False)
    written = qdq.load(tmp_path / "int8.onnx")
    assert set(qdq.float_convolutions(written)) == {"/other/ConvTranspose", "/head/Conv", "/second/Conv"}
    wanted = maps(source, 2)
    assert np.abs(maps(tmp_path / "int8.onnx", 2) - wanted).max() < 0.05 * np.abs(wanted).max()


def test_multiplications(source, tmp_path):
    counts = qdq.multiplications(qdq.load(source), inputs(2))
    assert counts["/first/Conv"] == 2 * 3 * 6 * 9 * 6 * 4  # a batch of 2, maps of 6 x 4 cells
    assert counts["/up/ConvTranspose"] == 2 * 6 * 4 * 16 * 6 * 4
    assert counts["/head/Conv"] == 2 * 5 * 2 * 48 * 32
    prepared = qdq.multiplications(qdq.prepare(source, tmp_path / "prepared.onnx"), inputs(2))
    assert prepared["/up/ConvTranspose"] == 2 * 6 * 4 * 16 * 7 * 5  # with a border


def test_files_that_cannot_be_quantised(tmp_path):
    (tmp_path / "broken.onnx").write_text("no network")
    with pytest.raises(UserError, match="broken.onnx: .*export the network again"):
        qdq.check(tmp_path / "broken.onnx")
    with pytest.raises(UserError, match="absent.onnx: .*No such file"):
        qdq.check(tmp_path / "absent.onnx")
    relu = onnx.helper.make_node("Relu", ["x"], ["y"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([relu], "g", [], [])), tmp_path / "relu.onnx")
    with pytest.raises(UserError, match="relu.onnx: has no convolution"):
        qdq.check(tmp_path / "relu.onnx")
