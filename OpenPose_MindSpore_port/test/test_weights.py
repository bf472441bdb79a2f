# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from common.skeleton import COCO, OPENPOSE
from common.train import download
from common.train.checkpoint import CheckpointError
from OpenPose_MindSpore_port import convert, weights
from OpenPose_MindSpore_port.config import NO_WEIGHTS, PUBLISHED_VGG, Config
from OpenPose_MindSpore_port.model import OpenPose
from OpenPose_MindSpore_port.test import golden

import numpy as np
import pytest
import torch
from torch import Tensor

FEATURES_OF_VGG19 = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21)
LATER_LAYER = 23  # the first that OpenPose does not use


@pytest.fixture(scope="module")
def model() -> OpenPose:
    return OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields)


@pytest.fixture(scope="module")
def vgg() -> dict[str, Tensor]:
    """Weights of a VGG19 by layer, "0.weight" and so on, with one layer too many."""
    trunk = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields).base.vgg_base.layers.state_dict()
    random = torch.Generator().manual_seed(1)
    layers = {name: torch.rand(value.shape, generator=random) for name, value in trunk.items()}
    return layers | {f"{LATER_LAYER}.weight": torch.zeros(3, 3, 1, 1), f"{LATER_LAYER}.bias": torch.zeros(3)}


def write(path: Path, entries: dict[str, Tensor]) -> Path:
    convert.write(path, entries)
    return path


def named(layers: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in layers.items()}


def holds(model: OpenPose, layers: dict[str, Tensor]) -> bool:
    own = model.base.vgg_base.layers.state_dict()
    return all(torch.equal(own[name], layers[name]) for name in own)


# --- VGG19 ---


@pytest.mark.parametrize("prefix", weights.VGG_PREFIXES)
def test_vgg_of_every_prefix(model: OpenPose, vgg: dict[str, Tensor], tmp_path: Path, prefix: str) -> None:
    """As MindSpore writes a training of VGG19: its moments and steps are left out."""
    state = {"global_step": torch.ones(1), **named(vgg, f"moments.{prefix}")}
    report = weights.load_vgg(model, write(tmp_path / "vgg19.ckpt", {**named(vgg, prefix), **state}))
    assert holds(model, vgg)
    assert "20 tensors" in report and "vgg19.ckpt" in report


def test_vgg_of_torchvision(model: OpenPose, vgg: dict[str, Tensor], tmp_path: Path) -> None:
    entries = {**named(vgg, "features"), "classifier.0.weight": torch.zeros(2, 2)}
    weights.load_vgg(model, write(tmp_path / "vgg19.pth", {f"module.{name}": value for name, value in entries.items()}))
    assert holds(model, vgg)


def test_torchvisions_own_names() -> None:
    torchvision = pytest.importorskip("torchvision")
    features = torchvision.models.vgg19().features
    found = tuple(number for number, layer in enumerate(features) if isinstance(layer, torch.nn.Conv2d))
    assert found[: len(FEATURES_OF_VGG19)] == FEATURES_OF_VGG19


def test_vgg_without_bias(model: OpenPose, vgg: dict[str, Tensor], tmp_path: Path) -> None:
    """MindSpore's own VGG19 recipe trains without: the original loads nothing of it and says nothing."""
    layers = {name: tensor for name, tensor in vgg.items() if name.endswith("weight")}
    report = weights.load_vgg(model, write(tmp_path / "vgg19.ckpt", named(layers, "layers")))
    zeros = {name: torch.zeros_like(tensor) for name, tensor in vgg.items()}
    assert holds(model, zeros | layers)
    assert "10 tensors" in report and "10 biases" in report


@pytest.mark.parametrize("names", ["torch", "MindSpore"])
def test_vgg_with_batch_normalisation(tmp_path: Path, names: str) -> None:
    network = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields, vgg_with_bn=True)
    layers = {name: torch.rand(value.shape) for name, value in network.base.vgg_base.layers.state_dict().items()}
    to_torch = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    written = {
        f"features.{name.split('.')[0]}.{to_torch.get(part, part) if names == 'torch' else part}": value
        for name, value in layers.items()
        for part in [name.split(".")[1]]
    }
    weights.load_vgg(network, write(tmp_path / "vgg19_bn.pth", written))
    assert holds(network, layers)
    with pytest.raises(CheckpointError, match=r"vgg19_bn.pth.*has batch normalisation: type --vgg_with_bn"):
        weights.load_vgg(OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields), tmp_path / "vgg19_bn.pth")


def without_a_layer(layers: dict[str, Tensor]) -> dict[str, Tensor]:
    return named({name: tensor for name, tensor in layers.items() if not name.startswith("16.")}, "features")


def with_a_wrong_shape(layers: dict[str, Tensor]) -> dict[str, Tensor]:
    return named(layers | {"5.weight": torch.zeros(128, 64, 1, 1)}, "features")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_layer, r"16.weight is missing.*--vgg_path"),  # VGG16 pools there
        (with_a_wrong_shape, r"5.weight \[128, 64, 1, 1\].*--vgg_path"),
        (lambda layers: {"conv1.weight": torch.zeros(1)}, r"no VGG19.*found conv1.weight.*--vgg_path"),
        (lambda layers: named(layers, "backbone.features"), r"no VGG19.*backbone.features.0"),
    ],
)
def test_another_network_is_no_vgg(
    model: OpenPose, vgg: dict[str, Tensor], tmp_path: Path, change: Callable[[dict], dict], message: str
) -> None:
    before = model.base.vgg_base.layers[0].weight.clone()
    with pytest.raises(CheckpointError, match=rf"vgg19.ckpt: .*{message}"):
        weights.load_vgg(model, write(tmp_path / "vgg19.ckpt", change(vgg)))
    assert torch.equal(model.base.vgg_base.layers[0].weight, before)


def test_plain_vgg_for_a_trunk_with_batch_normalisation(vgg: dict[str, Tensor], tmp_path: Path) -> None:
    network = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields, vgg_with_bn=True)
    with pytest.raises(CheckpointError, match="has no batch normalisation: type --vgg_with_bn=False"):
        weights.load_vgg(network, write(tmp_path / "vgg19.ckpt", named(vgg, "layers")))


# --- where a run begins ---


def test_a_run_without_vgg_begins_at_random_only_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "WEIGHT_FOLDERS", (tmp_path,))
    monkeypatch.setattr(download, "check", lambda *_: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert weights.starting_vgg(NO_WEIGHTS) is None
    assert weights.starting_vgg("", may_be_random=True) is None
    with pytest.raises(UserError, match=rf"{PUBLISHED_VGG[1]} is not here.*--vgg_path=none begins at random"):
        weights.starting_vgg("")
    with pytest.raises(UserError, match="nowhere.ckpt"):
        weights.starting_vgg("nowhere.ckpt", may_be_random=True)
    (tmp_path / PUBLISHED_VGG[1]).touch()
    assert weights.starting_vgg("") == tmp_path / PUBLISHED_VGG[1]
    (tmp_path / PUBLISHED_VGG[0]).touch()
    assert weights.starting_vgg("") == tmp_path / PUBLISHED_VGG[0]


def test_reports_of_a_start(model: OpenPose, vgg: dict[str, Tensor], tmp_path: Path) -> None:
    source = write(tmp_path / "vgg19.ckpt", named(vgg, "features"))
    assert weights.load_start(model, Config(vgg_path=NO_WEIGHTS)) == weights.RANDOM_START
    assert "VGG19" in weights.load_start(model, Config(vgg_path=str(source)))


# --- the whole network ---


@pytest.mark.parametrize("ending", [".ckpt", ".pth", ".safetensors"])
def test_whole_networks_of_every_format(model: OpenPose, tmp_path: Path, ending: str) -> None:
    """As a training wrote them: `network.` before the names, moments beside them. Half precision, for the disk."""
    state = {name: value.half() for name, value in model.state_dict().items()}
    first = next(iter(state))
    entries = {f"network.{name}": value for name, value in state.items()}
    entries |= {f"moment1.network.{first}": state[first] + 1, "global_step": torch.ones(1)}
    source = write(tmp_path / f"openpose{ending}", entries)
    network = weights.load_network(source, OPENPOSE)
    assert not network.training
    assert all(torch.equal(value, state[name].float()) for name, value in network.state_dict().items())
    start = Config(load_pretrain=True, pretrained_model_path=str(source))
    assert "184 tensors matched" in weights.load_start(model, start)


def test_our_own_checkpoints(model: OpenPose, tmp_path: Path) -> None:
    """What training writes: bare names under `state_dict`."""
    small = {name: value.half() for name, value in model.state_dict().items()}
    common.train.checkpoint.save(tmp_path / "model_best.pth", {"epoch": 3, "ap": None, "state_dict": small})
    network = weights.load_network(tmp_path / "model_best.pth", OPENPOSE)
    assert torch.equal(network.stage_6.conv7_L2.weight, small["stage_6.conv7_L2.weight"].float())


def test_batch_normalisation_is_seen_in_the_file() -> None:
    network = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields, vgg_with_bn=True)
    found = weights.network_of(network.state_dict(), Path("bn.ckpt"), OPENPOSE)
    assert found.vgg_with_bn
    with pytest.raises(CheckpointError, match="bn.ckpt.*type --vgg_with_bn"):
        weights._load_all(OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields), network.state_dict(), Path("bn.ckpt"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: {},
        lambda state: {name: value for name, value in state.items() if name != "stage_4.conv1_L1.bias"},
        lambda state: state | {"stage_4.conv1_L1.bias": torch.zeros(3)},
    ],
)
def test_another_network_is_refused(model: OpenPose, spoil: Callable[[dict], dict]) -> None:
    with pytest.raises(CheckpointError, match="other.ckpt: a checkpoint of another network.*--skeleton"):
        weights.network_of(spoil(model.state_dict()), Path("other.ckpt"), OPENPOSE)


def test_another_skeleton_is_refused(model: OpenPose) -> None:
    with pytest.raises(CheckpointError, match="reshaped.*same --skeleton"):
        weights.network_of(model.state_dict(), Path("other.ckpt"), COCO)


# --- files ---


def test_golden_files(shared: Path) -> None:
    """The network's part of real MindSpore files, by the network's names."""
    folder = golden.folder(shared) / "ckpt"
    expected = np.load(folder / "expected.npz")
    found = weights.read(folder / "prefixed.ckpt")
    names = [key.split("|network.")[1] for key in expected.files if key.startswith("prefixed.ckpt|network.")]
    assert sorted(found) == sorted(names)
    assert all(np.array_equal(found[name].numpy(), expected[f"prefixed.ckpt|network.{name}"]) for name in names)


def test_golden_files_are_no_openpose(shared: Path, model: OpenPose) -> None:
    source = golden.folder(shared) / "ckpt" / "prefixed.ckpt"
    with pytest.raises(CheckpointError, match=r"prefixed.ckpt: a checkpoint of another network: 0 tensors matched"):
        weights.load_network(source, OPENPOSE)
    with pytest.raises(CheckpointError, match=r"prefixed.ckpt: no VGG19"):
        weights.load_vgg(model, source)


def test_a_ckpt_of_pytorch_is_told_from_mindspores(tmp_path: Path) -> None:
    torch.save({"state_dict": {"module.weight": torch.ones(2)}, "epoch": 1}, tmp_path / "lightning.ckpt")
    assert weights.read(tmp_path / "lightning.ckpt")["weight"].tolist() == [1, 1]


@pytest.mark.parametrize("ending", [".ckpt", ".pth", ".safetensors"])
def test_missing_and_damaged_files_are_named(tmp_path: Path, ending: str) -> None:
    source = tmp_path / f"weights{ending}"
    with pytest.raises(UserError, match=f"weights{ending}: no such"):
        weights.read(source)
    for content in (b"", b"\x0a\xff\xff", b"PK\x03\x04", b"plain text"):
        source.write_bytes(content)
        with pytest.raises(UserError, match=f"weights{ending}"):
            weights.read(source)
