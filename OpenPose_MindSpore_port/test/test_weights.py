# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from common.skeleton import OPENPOSE
from common.train import published
from common.train.checkpoint import CheckpointError
from OpenPose_MindSpore_port import mindspore_checkpoint, weights
from OpenPose_MindSpore_port.config import NO_WEIGHTS, PUBLISHED_VGG, Config
from OpenPose_MindSpore_port.model import BatchNorm, OpenPose
from OpenPose_MindSpore_port.test import golden
from OpenPose_MindSpore_port.test.narrow import narrow  # noqa: F401  a fixture

import numpy as np
import pytest
import torch
from torch import Tensor

LATER_LAYER = 23  # the first that OpenPose does not use
# prefixes of a layer's number: MindSpore's wrappers, torchvision, and a whole OpenPose
PREFIXES = ("network.backbone.layers", "layers", "features", "network.base.vgg_base.layers", "module.features")


def network(vgg_with_bn: bool = False) -> OpenPose:
    return OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_pafs, vgg_with_bn)


@pytest.fixture
def model(narrow: None) -> OpenPose:  # noqa: F811
    return network()


@pytest.fixture
def vgg(model: OpenPose) -> dict[str, Tensor]:
    """Weights of a VGG19 by layer, "0.weight" and so on, with one layer too many."""
    trunk = model.base.vgg_base.layers.state_dict()
    layers = {name: torch.rand(value.shape) for name, value in trunk.items()}
    return layers | {f"{LATER_LAYER}.weight": torch.zeros(3, 3, 1, 1), f"{LATER_LAYER}.bias": torch.zeros(3)}


def write(path: Path, entries: dict[str, Tensor]) -> Path:
    save = mindspore_checkpoint.write if path.suffix == ".ckpt" else common.train.checkpoint.save
    save(path, entries)
    return path


def named(layers: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in layers.items()}


def holds(model: OpenPose, layers: dict[str, Tensor]) -> bool:
    own = model.base.vgg_base.layers.state_dict()
    return all(torch.equal(own[name], layers[name]) for name in own)


# --- VGG19 ---


@pytest.mark.parametrize("prefix", PREFIXES)
def test_vgg_of_every_prefix(model: OpenPose, vgg: dict[str, Tensor], tmp_path: Path, prefix: str) -> None:
    """As MindSpore writes a training of VGG19, and as torchvision does: moments, steps, classifier are left out."""
    state = {"global_step": torch.ones(1), **named(vgg, f"moments.{prefix}")}
    name = "vgg19.pth" if "module" in prefix else "vgg19.ckpt"
    others = state if name == "vgg19.ckpt" else {"module.classifier.0.weight": torch.zeros(2, 2)}
    report = weights.load_start(model, Config(vgg_path=str(write(tmp_path / name, {**named(vgg, prefix), **others}))))
    assert holds(model, vgg)
    assert "20 tensors" in report and name in report


def test_vgg_without_bias(model: OpenPose, vgg: dict[str, Tensor], tmp_path: Path) -> None:
    """MindSpore's own VGG19 recipe trains without: the original loads nothing of it and says nothing."""
    layers = {name: tensor for name, tensor in vgg.items() if name.endswith("weight")}
    report = weights.load_vgg(model, write(tmp_path / "vgg19.ckpt", named(layers, "layers")))
    zeros = {name: torch.zeros_like(tensor) for name, tensor in vgg.items()}
    assert holds(model, zeros | layers)
    assert "biases that it lacks begin at 0" in report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.16.weight": None, "features.16.bias": None}, r"missing \(16.weight.*--vgg_path"),  # VGG16 pools
        ({"features.5.weight": torch.zeros(128, 64, 1, 1)}, r"reshaped \(5.weight.*--vgg_path"),
        (None, r"0 tensors matched.*conv1.weight.*--vgg_path.*--vgg_with_bn"),
    ],
)
def test_another_network_is_no_vgg(model: OpenPose, vgg, tmp_path: Path, change: dict | None, message: str) -> None:
    before = model.base.vgg_base.layers[0].weight.clone()
    entries = {"conv1.weight": torch.zeros(1)} if change is None else named(vgg, "features") | change
    kept = {name: tensor for name, tensor in entries.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=rf"vgg19.ckpt: .*{message}"):
        weights.load_vgg(model, write(tmp_path / "vgg19.ckpt", kept))
    assert torch.equal(model.base.vgg_base.layers[0].weight, before)


# --- where a run begins ---


def test_a_run_without_vgg_begins_at_random_only_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "WEIGHT_FOLDERS", (tmp_path,))
    monkeypatch.setattr(published.Published, "check", lambda *_: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert weights.starting_vgg(NO_WEIGHTS) is None
    assert weights.starting_vgg("", may_be_random=True) is None
    with pytest.raises(UserError, match=rf"{PUBLISHED_VGG[1]} is not here.*--vgg_path=none begins at random"):
        weights.starting_vgg("")
    with pytest.raises(UserError, match="nowhere.ckpt"):
        weights.starting_vgg("nowhere.ckpt", may_be_random=True)
    for name in reversed(PUBLISHED_VGG):  # MindSpore's own before torchvision's
        (tmp_path / name).touch()
        assert weights.starting_vgg("") == tmp_path / name


# --- the whole network ---


@pytest.mark.parametrize("ending", [".ckpt", ".pth"])
def test_whole_networks_of_every_format(model: OpenPose, tmp_path: Path, ending: str) -> None:
    """As a training wrote them: `network.` before the names, moments beside them."""
    state = model.state_dict()
    first = next(iter(state))
    entries = {f"network.{name}": value for name, value in state.items()}
    entries |= {f"moment1.network.{first}": state[first] + 1, "global_step": torch.ones(1)}
    source = write(tmp_path / f"openpose{ending}", entries)
    loaded = weights.load_network(source, OPENPOSE)
    assert not loaded.training
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    assert "184 tensors matched" in weights.load_start(
        network(), Config(load_pretrain=True, pretrained_model_path=str(source))
    )


def test_our_own_checkpoints(model: OpenPose, tmp_path: Path) -> None:
    """What training writes: bare names under `state_dict`."""
    content = {"epoch": 3, "ap": None, "state_dict": model.state_dict()}
    common.train.checkpoint.save(tmp_path / "model_best.pth", content)
    loaded = weights.load_network(tmp_path / "model_best.pth", OPENPOSE)
    assert torch.equal(loaded.stage_6.conv7_L2.weight, model.stage_6.conv7_L2.weight)
    torch.save({"state_dict": {"module.weight": torch.ones(2)}, "epoch": 1}, tmp_path / "lightning.ckpt")
    assert weights.read(tmp_path / "lightning.ckpt")["weight"].tolist() == [1, 1]


def test_batch_normalisation_is_seen_in_the_file(tmp_path: Path, narrow: None) -> None:  # noqa: F811
    source = write(tmp_path / "bn.ckpt", network(vgg_with_bn=True).state_dict())
    assert isinstance(weights.load_network(source, OPENPOSE).base.vgg_base.layers[1], BatchNorm)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: {name: value for name, value in state.items() if name != "stage_4.conv1_L1.bias"},
        lambda state: state | {"stage_4.conv1_L1.bias": torch.zeros(3)},
    ],
)
def test_another_network_is_refused(model: OpenPose, tmp_path: Path, spoil: Callable[[dict], dict]) -> None:
    with pytest.raises(CheckpointError, match=r"other.pth: a checkpoint of another network.*--skeleton"):
        weights.load_network(write(tmp_path / "other.pth", spoil(model.state_dict())), OPENPOSE)


# --- files ---


def test_golden_files(shared: Path) -> None:
    """The network's part of real MindSpore files, by the network's names."""
    source = golden.folder(shared) / "ckpt" / "prefixed.ckpt"
    expected = np.load(source.with_name("expected.npz"))
    found = weights.read(source)
    names = [key.split("|network.")[1] for key in expected.files if key.startswith("prefixed.ckpt|network.")]
    assert sorted(found) == sorted(names)
    assert all(np.array_equal(found[name].numpy(), expected[f"prefixed.ckpt|network.{name}"]) for name in names)


@pytest.mark.parametrize("ending", [".ckpt", ".pth"])
def test_missing_and_damaged_files_are_named(tmp_path: Path, ending: str) -> None:
    source = tmp_path / f"weights{ending}"
    with pytest.raises(UserError, match=f"weights{ending}: no such"):
        weights.read(source)
    for content in (b"", b"\x0a\xff\xff", b"PK\x03\x04", b"plain text"):
        source.write_bytes(content)
        with pytest.raises(UserError, match=f"weights{ending}"):
            weights.read(source)
