# SPDX-License-Identifier: Apache-2.0
"""Networks of several inputs and outputs as ONNX; the models' own tests hold the rest."""

from pathlib import Path

from common.cli import UserError
from common.runtime.export import Ports, check_opset, export_onnx

import pytest
import torch
from torch import Tensor, nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

PORTS = Ports(["image", "weights"], ["scaled", "sum"], {name: {0: "batch"} for name in ("image", "weights", "scaled")})


class Weighted(nn.Module):
    """Two inputs, two outputs."""

    def forward(self, images: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        scaled = images * weights[:, :, None]
        return scaled, scaled.sum()


def trials(*batches: int) -> list[tuple[Tensor, ...]]:
    return [(torch.rand(batch, 3, 5), torch.rand(batch, 3)) for batch in batches]


def test_two_inputs_and_two_outputs(tmp_path: Path) -> None:
    assert export_onnx(Weighted(), tmp_path / "new" / "two.onnx", 11, PORTS, trials(2, 4)) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "new" / "two.onnx", providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_inputs()] == ["image", "weights"]
    assert [port.name for port in session.get_outputs()] == ["scaled", "sum"]
    assert session.get_inputs()[1].shape == ["batch", 3]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_length_that_tracing_froze_is_found_by_the_second_trial(tmp_path: Path) -> None:
    class Frozen(nn.Module):
        def forward(self, images: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
            return images * float(images.shape[0]), weights.sum()

    target = tmp_path / "two.onnx"
    target.write_text("the older one")
    with pytest.raises(UserError, match=r"not written, ONNX Runtime differs from PyTorch by \d\.\de"):
        export_onnx(Frozen(), target, 11, PORTS, trials(2, 4))
    assert list(tmp_path.iterdir()) == [target] and target.read_text() == "the older one"


@pytest.mark.parametrize(
    ("name", "why"), [("one.onnx", "--opset=11 cannot express this network"), ("one.v2", "one.v2: must end in .onnx")]
)
def test_an_operation_that_onnx_lacks_and_another_suffix_are_one_line(name: str, why: str, tmp_path: Path) -> None:
    class Unsayable(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.linalg.eigvals(images).real

    with pytest.raises(UserError, match=why):
        export_onnx(Unsayable(), tmp_path / name, 11, Ports(["image"], ["out"]), [(torch.rand(1, 3, 8, 8),)])
    assert not list(tmp_path.iterdir())


def test_operator_sets() -> None:
    check_opset(11)
    with pytest.raises(UserError, match="--opset=21: choose 9 to 20"):
        check_opset(21)
