# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.test.programs import equal
from common.train.checkpoint import CheckpointError
from MIPNet import weights
from MIPNet.config import parse
from MIPNet.model import LAMBDA, GatedNetwork
from MIPNet.test.programs import tiny

import pytest
import torch
from torch import nn


def network(variant: str = "", family: str = "hrnet", width: int = 8, joints: int = 5) -> GatedNetwork:
    channels = {f"stage{n}.num_channels": tuple(width << branch for branch in range(n)) for n in (2, 3, 4)}
    return tiny(f"pose_{family}{variant}", joints, **channels)


def saved(model: nn.Module, path: Path, wrapped: bool = True) -> Path:
    tensors = {("module." if wrapped else "") + name: tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": tensors, "epoch": 3} if wrapped else tensors, path)
    return path


def imagenet(path: Path, family: str) -> Path:
    """A file as its authors publish it: the trunk, a classifier; HRNet's also has all sums of the last module."""
    tensors = network(family=family).state_dict()
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(("final_", "deconv_"))}
    more = ("stage4.0.fuse_layers.1.0.0.0.weight", "classifier.weight", "incre_modules.0.0.conv1.weight")
    torch.save(tensors | {name: torch.zeros(3) for name in (more if family == "hrnet" else ("fc.weight",))}, path)
    return path


def start(model: GatedNetwork, pretrained: object, *words: str) -> str:
    return weights.load_start(model, parse(["MODEL.PRETRAINED", str(pretrained), "TEST.MODEL_FILE", "", *words]))


@pytest.mark.parametrize("variant", ["", LAMBDA])
@pytest.mark.parametrize("family", ["hrnet", "resnet"])
def test_imagenet_weights_go_into_the_trunk(tmp_path: Path, variant: str, family: str) -> None:
    torch.manual_seed(1)
    source, model = imagenet(tmp_path / "imagenet.pth", family), network(variant, family)
    assert str(source) in start(model, source)
    assert torch.equal(model.conv1.weight, torch.load(source)["conv1.weight"])
    assert model.final_layer.weight.std() < 2 * weights.SMALL


@pytest.mark.parametrize("nothing", ["", "none"])
def test_a_random_start_is_reported(nothing: str) -> None:
    model = network(LAMBDA)
    assert "random start" in start(model, nothing)
    assert 0.5 * weights.SMALL < model.conv1.weight.std() < 2 * weights.SMALL and not model.final_layer.bias.any()


def test_a_missing_file_is_named_with_the_cure() -> None:
    with pytest.raises(CheckpointError, match="MODEL.PRETRAINED: models/none.pth: .*'none' in its place begins"):
        start(network(), "models/none.pth")
    with pytest.raises(CheckpointError, match="TEST.MODEL_FILE: b.pth: no such"):
        start(network(), "", "TEST.MODEL_FILE", "b.pth")
    with pytest.raises(CheckpointError, match="--pth_path: c.pth: no such"):
        start(network(), "", "TEST.MODEL_FILE", "b.pth", "--pth_path=c.pth", "--perf=1")
    assert start(network(), "a.pth", "TEST.MODEL_FILE", "b.pth", "--perf=1") == weights.RANDOM_START
    assert start(network(), "a.pth", "TEST.MODEL_FILE", "none") == weights.RANDOM_START
    with pytest.raises(CheckpointError, match="pose_hrnet_w48_384x288.pth is not here .*take it from https"):
        weights.locate_checkpoint("models/pytorch/pose_coco/pose_hrnet_w48_384x288.pth")


def test_a_checkpoint_of_the_same_network(tmp_path: Path) -> None:
    model, fresh = network(LAMBDA), network(LAMBDA)
    report = weights.load_checkpoint(fresh, saved(model, tmp_path / "own.pth"))
    assert equal(model.state_dict(), fresh.state_dict()) and report.count(";") == 0


def test_plain_and_gated_networks_take_the_checkpoints_of_each_other(tmp_path: Path) -> None:
    plain, gated = network(), network(LAMBDA)
    report = weights.load_checkpoint(gated, saved(plain, tmp_path / "plain.pth", wrapped=False))
    assert "initialised, as the file has none of this size: stage3_se, stage4_se" in report
    assert torch.equal(plain.conv1.weight, gated.conv1.weight)
    assert torch.equal(plain.final_layer.weight, gated.final_layer.weight)
    other = network()
    report = weights.load_checkpoint(other, saved(gated, tmp_path / "gated.pth"))
    assert "not in this network, so left out: stage3_se, stage4_se" in report
    assert torch.equal(other.conv2.weight, gated.conv2.weight)


def test_another_number_of_joints_is_a_new_head_in_training_only(tmp_path: Path) -> None:
    source, model = saved(network(joints=7), tmp_path / "seven.pth"), network()
    with pytest.raises(CheckpointError, match=r"another network: .*2 reshaped \(final_layer.weight"):
        weights.load_checkpoint(model, source)
    assert "initialised, as the file has none of this size: final_layer" in start(model, "", f"--pth_path={source}")


@pytest.mark.parametrize("other", [{"width": 16}, {"family": "resnet"}])
@pytest.mark.parametrize("new_head", [False, True])
def test_another_networks_checkpoint_is_refused_in_one_line(tmp_path: Path, other: dict, new_head: bool) -> None:
    source = saved(network(**other), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="other.pth: a checkpoint of another network") as caught:
        weights.load_checkpoint(network(LAMBDA), source, new_head)
    assert "\n" not in str(caught.value)
