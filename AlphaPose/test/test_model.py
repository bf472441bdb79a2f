# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

from AlphaPose.model import STRIDE, FastPose, FastPoseDUC, PoseHighResolutionNet, SimplePose, build
from common.cli import UserError
from common.test import top_down_networks as golden

import pytest
import torch

DCN = (False, True, True, True)
KEYS = {
    "alphapose_fastpose_res50": lambda: FastPose(17),
    "alphapose_fastpose_res101": lambda: FastPose(17, 101),
    "alphapose_fastpose_res152": lambda: FastPose(17, 152),
    "alphapose_fastpose_res50_dcn": lambda: FastPose(17, deformable=DCN),
    "alphapose_fastpose_duc_shuffle_res50": lambda: FastPoseDUC(17),
    "alphapose_fastpose_duc_se_res152": lambda: FastPoseDUC(17, 152),
    "alphapose_simplepose_res50": lambda: SimplePose(17),
    "alphapose_hrnet_w32": lambda: PoseHighResolutionNet(17),
}
OUTPUTS = [
    "alphapose_fastpose_res50",
    "alphapose_simplepose_res50",
    "alphapose_hrnet_w32",
    pytest.param("alphapose_fastpose_duc_se_res152", marks=pytest.mark.slow),
]
SIZE = (192, 256)
needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="deformable convolution is torchvision's"
)


@pytest.mark.parametrize("name", KEYS)
def test_state_dict_keys_are_the_originals(shared: Path, name: str) -> None:
    with torch.device("meta"):
        assert golden.keys_of(KEYS[name]()) == golden.keys(shared, name)


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_the_originals(shared: Path, name: str) -> None:
    """Also as inference runs it: channels last."""
    model = golden.network(shared, KEYS[name])
    wanted, images = golden.outputs(shared, name)["out"], golden.images(shared, SIZE)
    with torch.inference_mode():
        assert golden.error(model(images), wanted) < 2e-5
        assert golden.error(model.to(memory_format=torch.channels_last)(images), wanted) < 1e-4


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("FastPose", {"conv_dim": 256, "deformable": ()}),
        ("FastPose_DUC", {"counts": (1, 1, 1)}),
        ("SimplePose", {"num_layers": 18}),
        ("PoseHighResolutionNet", {"width": 8}),
    ],
)
def test_maps_are_a_quarter_of_the_input(kind: str, options: dict[str, object]) -> None:
    model = build(kind, 5, **options).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 64, 96)).shape == (2, 5, 64 // STRIDE, 96 // STRIDE)


@needs_torchvision
def test_deformable_convolution_begins_as_an_ordinary_one() -> None:
    torch.manual_seed(0)
    model = build("FastPose", 5, deformable=DCN).eval()
    plain = FastPose(5).eval()
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), plain(images), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is here")
def test_deformable_convolution_without_torchvision_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="pip install torchvision"):
        build("FastPose", 17, deformable=DCN)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("FastPoze", {}, "MODEL.TYPE FastPoze: take one of FastPose"),
        ("FastPose", {"num_layers": 18}, "50, 101 or 152"),
        ("FastPose", {"num_layers": 34}, "50, 101 or 152"),
        ("FastPose", {"conv_dim": 64}, "CONV_DIM 64"),
        ("FastPose", {"deformable": (True, False)}, "STAGE_WITH_DCN"),
        ("FastPose_DUC", {"counts": (4, 2)}, "NUM_CONV"),
        ("SimplePose", {"num_layers": 51}, "NUM_LAYERS 51"),
    ],
)
def test_networks_that_do_not_exist(kind: str, options: dict[str, object], words: str, monkeypatch) -> None:
    monkeypatch.setattr("AlphaPose.model.deformable_operation", lambda: None)
    with pytest.raises(UserError, match=words):
        build(kind, 17, **options)
