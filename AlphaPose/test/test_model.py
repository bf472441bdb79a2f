# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

from AlphaPose.config import Config
from AlphaPose.model import FastPose, FastPoseDUC, PoseHighResolutionNet, SimplePose, build
from common.cli import UserError
from common.test import top_down_networks as golden

import pytest
import torch
from torch import nn

DCN = (False, True, True, True)
KEYS = {
    "alphapose_fastpose_res50": lambda: FastPose(17),
    "alphapose_fastpose_res101": lambda: FastPose(17, 101),
    "alphapose_fastpose_res152": lambda: FastPose(17, 152),
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
TORCHVISION = importlib.util.find_spec("torchvision") is not None


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


def built(num_joints: int, *opts: object) -> nn.Module:
    """The network of a yaml config with these keys of MODEL."""
    words = [f"MODEL.{word}" if place % 2 == 0 else word for place, word in enumerate(opts)]
    return build(Config(opts=tuple(words)).yaml.MODEL, num_joints)


@pytest.mark.parametrize(
    "opts",
    [
        ("CONV_DIM", 256),
        ("TYPE", "FastPose_DUC"),
        ("TYPE", "SimplePose", "NUM_LAYERS", 18),
        ("TYPE", "PoseHighResolutionNet"),
    ],
)
def test_maps_are_a_quarter_of_the_input(opts: tuple[object, ...]) -> None:
    with torch.inference_mode():
        assert built(5, *opts).eval()(torch.zeros(2, 3, 64, 96)).shape == (2, 5, 16, 24)


@pytest.mark.skipif(not TORCHVISION, reason="deformable convolution is torchvision's")
def test_deformable_convolution_begins_as_an_ordinary_one(shared: Path) -> None:
    torch.manual_seed(0)
    model = built(17, "STAGE_WITH_DCN", DCN).eval()
    assert golden.keys_of(model) == golden.keys(shared, "alphapose_fastpose_res50_dcn")
    plain = FastPose(17).eval()
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), plain(images), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(TORCHVISION, reason="torchvision is here")
def test_deformable_convolution_without_torchvision_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="pip install torchvision"):
        built(17, "STAGE_WITH_DCN", DCN)


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (("TYPE", "FastPoze"), "MODEL.TYPE is FastPoze, only FastPose"),
        (("NUM_LAYERS", 34), "50, 101 or 152"),
        (("CONV_DIM", 64), "MODEL.CONV_DIM is 64, only 128 or 256"),
        (("STAGE_WITH_DCN", (True, False)), "STAGE_WITH_DCN"),
        (("TYPE", "SimplePose", "NUM_LAYERS", 51), "MODEL.NUM_LAYERS is 51, only 50"),
    ],
)
def test_networks_that_do_not_exist(opts: tuple[object, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        built(17, *opts)
