# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port.model import NUM_STAGES, STRIDE, OpenPose
from OpenPose_MindSpore_port.test import golden

import numpy as np
import pytest
import torch
from torch import nn

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21)  # their places in the trunk
CONVOLUTIONS_WITH_BN = (0, 3, 7, 10, 14, 17, 20, 23, 27, 30)
FIRST_LOSS = 0.303  # of a network whose outputs are zero


@pytest.fixture(scope="module")
def model() -> OpenPose:
    torch.manual_seed(0)
    return OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_pafs).eval()


def test_state_dict_keys_are_mindspores(shared: Path, model: OpenPose) -> None:
    keys = json.loads((golden.folder(shared) / "params.json").read_text())
    ours = [(name, list(value.shape), "Float32") for name, value in model.state_dict().items()]
    assert ours == [(entry["name"], entry["shape"], entry["dtype"]) for entry in keys]


def test_outputs_are_the_originals(shared: Path) -> None:
    """Also in the layout that is faster for convolutions."""
    wanted = np.load(golden.folder(shared) / "net_outputs.npz")
    noise = np.random.default_rng(0).standard_normal((1, 3, 184, 184)).astype(np.float32)
    network = golden.network().eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        pafs, heatmaps = network(torch.from_numpy(noise * np.float32(0.3)))
    assert len(pafs) == len(heatmaps) == NUM_STAGES
    for name, maps in (("paf", pafs), ("heatmap", heatmaps)):
        for stage, found in enumerate(maps, start=1):
            value = wanted[f"{name}{stage}"]
            assert np.abs(found.numpy() - value).max() < 5e-5 * np.abs(value).max()


@pytest.mark.parametrize("size", [(32, 32), (16, 40), (33, 50), (1, 9)])
def test_maps_of_any_size(model: OpenPose, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        maps = model(torch.zeros(2, 3, *size))
    cells = tuple(-(-side // STRIDE) for side in size)
    for found, channels in zip(maps, (OPENPOSE.num_pafs, OPENPOSE.num_heatmaps), strict=True):
        assert [tuple(stage.shape) for stage in found] == [(2, channels, *cells)] * NUM_STAGES


def test_trunk_with_batch_normalisation(model: OpenPose) -> None:
    """Names are MindSpore's there too."""
    trunk = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_pafs, vgg_with_bn=True).base.vgg_base
    for layers, expected in ((model.base.vgg_base.layers, CONVOLUTIONS), (trunk.layers, CONVOLUTIONS_WITH_BN)):
        assert tuple(n for n, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)) == expected
    inside = {name.removeprefix("layers.1.") for name in trunk.state_dict() if name.startswith("layers.1.")}
    assert inside == {"moving_mean", "moving_variance", "gamma", "beta"}
    images = torch.rand(4, 3, 16, 16)
    normal = trunk.train().layers[:2](images)
    assert normal.mean().abs() < 1e-5 and normal.std().item() == pytest.approx(1, abs=0.01)
    assert trunk.layers[1].moving_variance.mean() != 1
    assert not torch.equal(trunk.eval().layers[:2](images), normal)


def test_a_new_network_begins_near_zero_with_a_signal_in_its_trunk(model: OpenPose) -> None:
    """So the first loss is that of outputs that are zero, as in the published log."""
    images = torch.rand(2, 3, 64, 64) - 0.5
    with torch.inference_mode():
        pafs, heatmaps = model(images)
        trunk = model.base.vgg_base(images)
    added = sum(maps.square().mean().item() for maps in (*pafs, *heatmaps))
    assert added < 0.01 * FIRST_LOSS
    assert trunk.std().item() > 0.05
    assert model.stage_3.conv2_L1.weight.std().item() == pytest.approx(0.01, rel=0.01)
