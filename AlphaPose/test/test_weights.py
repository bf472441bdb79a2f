# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from AlphaPose import weights
from AlphaPose.config import Config
from AlphaPose.model import STEM, FastPose, FastPoseDUC, PoseHighResolutionNet, SimplePose
from common.topdown.resnet import Bottleneck, ResNet
from common.train.checkpoint import RANDOM, CheckpointError

import pytest
import torch
from torch import nn


def imagenet_resnet(path: Path, counts: tuple[int, ...] = (3, 4, 6, 3)) -> Path:
    """A file as torchvision's: the same keys, other values, and a classifier."""
    torch.manual_seed(1)
    tensors = ResNet((Bottleneck,) * 4, counts, STEM).state_dict()
    tensors |= {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize("build", [FastPose, FastPoseDUC, SimplePose])
def test_imagenet_weights_go_into_the_backbone(tmp_path: Path, build: type[nn.Module]) -> None:
    source = imagenet_resnet(tmp_path / "resnet.pth")
    model = build(5)
    report = weights.load_start(model, Config(backbone=str(source)))
    wanted = torch.load(source)
    assert str(source) in report and "tensors matched" in report
    assert torch.equal(model.preact.state_dict()["layer3.1.conv2.weight"], wanted["layer3.1.conv2.weight"])


def test_imagenet_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    source = imagenet_resnet(tmp_path / "resnet101.pth", (3, 4, 8, 3))
    with pytest.raises(CheckpointError, match="resnet101.pth: weights of another network, depth or width"):
        weights.load_start(FastPose(5), Config(backbone=str(source)))


def test_a_random_start_is_reported_and_begins_small_at_the_end() -> None:
    model = FastPose(5)
    assert "random start" in weights.load_start(model, Config(backbone=RANDOM))
    assert model.conv_out.weight.std() < 0.002 and not model.conv_out.bias.any()
    assert model.duc1.conv.weight.std() > 0.005


def test_a_checkpoint_of_the_whole_network_with_a_wrappers_names(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model, path = FastPose(5), tmp_path / "fast.pth"
    torch.save({f"module.{name}": tensor for name, tensor in model.state_dict().items()}, path)
    fresh = FastPose(5)
    weights.load_start(fresh, Config(backbone=RANDOM, opts=("MODEL.PRETRAINED", str(path))))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), fresh.state_dict().values(), strict=True))


def test_try_load_takes_what_fits(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model, path = FastPose(7), tmp_path / "seven.pth"
    torch.save(model.state_dict(), path)
    fresh = FastPose(5)
    report = weights.load_start(fresh, Config(backbone=RANDOM, opts=("MODEL.TRY_LOAD", str(path))))
    assert "2 reshaped (conv_out.weight, conv_out.bias)" in report
    assert torch.equal(model.duc2.conv.weight, fresh.duc2.conv.weight)


@pytest.mark.parametrize("other", [lambda: SimplePose(5, 18), lambda: FastPose(6), lambda: PoseHighResolutionNet(5)])
def test_another_networks_checkpoint_is_refused_in_one_line(tmp_path: Path, other) -> None:
    path = tmp_path / "other.pth"
    torch.save(other().state_dict(), path)
    with pytest.raises(CheckpointError, match="other.pth: a checkpoint of another network") as caught:
        weights.load_network(FastPose(5), path)
    assert "\n" not in str(caught.value)


def test_a_file_that_only_a_browser_can_fetch_names_page_and_folder() -> None:
    with pytest.raises(CheckpointError, match=r"fast_res50_256x192.pth is not here .*take it from https.*put it into"):
        weights.locate_checkpoint("pretrained_models/fast_res50_256x192.pth")


def test_names_of_imagenet_files() -> None:
    assert weights.imagenet_name(Config(opts=("MODEL.NUM_LAYERS", 101))).startswith("resnet101-")
    assert weights.imagenet_name(Config(opts=("MODEL.TYPE", "PoseHighResolutionNet"))).startswith("hrnet_w32-")
