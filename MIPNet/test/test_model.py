# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from pathlib import Path

from common.cli import UserError
from common.test import top_down_networks as golden
from common.topdown.hrnet import Stage, standard_stages
from MIPNet.model import LAMBDA, NO_GATES, PUBLISHED_GATES, SE, STRIDE, VARIANTS, GatedNetwork, build, lambda_vectors

import pytest
import torch

ALL, LAST = (True,) * 4, (False, False, False, True)
LAMBDAS = {"lambda1": 1.0, "lambda0": 0.0}


def hrnet(variant: str = "", width: int = 32, gates: Sequence[bool] = NO_GATES, joints: int = 17) -> GatedNetwork:
    return build(f"pose_hrnet{variant}", joints, stages=standard_stages(width), se_modules=gates)


def resnet(variant: str, layers: int, gates: Sequence[bool] = NO_GATES, joints: int = 17) -> GatedNetwork:
    return build(f"pose_resnet{variant}", joints, num_layers=layers, se_modules=gates)


NETWORKS = {
    "pose_hrnet_w32_256x192": lambda: hrnet(),
    "pose_hrnet_w48_384x288": lambda: hrnet(width=48),
    "pose_hrnet_se_w32_256x192": lambda: hrnet(SE, 32, PUBLISHED_GATES),
    "pose_hrnet_se_lambda_w32_256x192": lambda: hrnet(LAMBDA, 32, PUBLISHED_GATES),
    "pose_hrnet_se_lambda_w48_384x288": lambda: hrnet(LAMBDA, 48, PUBLISHED_GATES),
    "pose_hrnet_se_lambda_w32_256x192_all4": lambda: hrnet(LAMBDA, 32, ALL),
    "pose_hrnet_se_lambda_w48_384x288_crowdpose": lambda: hrnet(LAMBDA, 48, PUBLISHED_GATES, joints=14),
    "pose_hrnet_multi_task_lambda_w32_256x192": lambda: hrnet("_multi_task_lambda"),
    "pose_resnet50_256x192": lambda: resnet("", 50),
    "pose_resnet101_384x288": lambda: resnet("", 101),
    "pose_resnet152_384x288": lambda: resnet("", 152),
    "pose_resnet_se50_256x192_all4": lambda: resnet(SE, 50, ALL),
    "pose_resnet_se_lambda50_256x192": lambda: resnet(LAMBDA, 50, LAST),
    "pose_resnet_se_lambda50_256x192_all4": lambda: resnet(LAMBDA, 50, ALL),
    "pose_resnet_se_lambda101_384x288_crowdpose": lambda: resnet(LAMBDA, 101, LAST, joints=14),
}
OUTPUTS = [
    "pose_hrnet_se_lambda_w32_256x192",
    "pose_hrnet_multi_task_lambda_w32_256x192",
    "pose_resnet_se_lambda50_256x192",
    "pose_resnet_se_lambda50_256x192_all4",
    pytest.param("pose_hrnet_w32_256x192", marks=pytest.mark.slow),
    pytest.param("pose_hrnet_w48_384x288", marks=pytest.mark.slow),
    pytest.param("pose_hrnet_se_lambda_w48_384x288", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_state_dict_keys_are_the_originals(shared: Path, name: str) -> None:
    with torch.device("meta"):
        assert golden.keys_of(NETWORKS[name]()) == golden.keys(shared, f"mipnet_{name}")


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_the_originals(shared: Path, name: str) -> None:
    """Both lambdas with one trunk; also as inference runs it: channels last."""
    model = golden.network(shared, NETWORKS[name])
    images = golden.images(shared, (288, 384) if "384" in name else (192, 256))
    wanted = golden.outputs(shared, f"mipnet_{name}")
    lambdas = lambda_vectors(torch.tensor([LAMBDAS[key] for key in wanted])) if model.uses_lambda else None
    with torch.inference_mode():
        both = model(images, lambdas)
        channels_last = model.to(memory_format=torch.channels_last)(images, lambdas)
    for row, maps in enumerate(wanted.values()):
        assert golden.error(both[row : row + 1], maps) < 2e-5
        assert golden.error(channels_last[row : row + 1], maps) < 1e-4


def small(name: str = "pose_hrnet_se_lambda", gates: Sequence[bool] = PUBLISHED_GATES) -> GatedNetwork:
    torch.manual_seed(0)
    stages = [Stage(1, 1, channels) for channels in ((8, 16), (8, 16, 32), (8, 16, 32, 64))]
    return build(name, 5, stages=stages, num_layers=18, se_modules=gates, stem=16)


def pictures(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["pose_hrnet_se_lambda", "pose_hrnet_multi_task_lambda", "pose_resnet_se_lambda"])
@pytest.mark.parametrize("gates", [PUBLISHED_GATES, ALL, LAST])
@pytest.mark.parametrize("training", [False, True])
def test_one_trunk_for_all_lambdas_changes_no_bit(name: str, gates: Sequence[bool], training: bool) -> None:
    lambdas = lambda_vectors(torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0]))
    shared_trunk, whole = small(name, gates).train(training), small(name, gates).train(training)
    with torch.no_grad():
        torch.testing.assert_close(shared_trunk(pictures(3), lambdas), whole(torch.cat([pictures(3)] * 2), lambdas))
    for (key, ours), theirs in zip(shared_trunk.state_dict().items(), whole.state_dict().values(), strict=True):
        if not key.endswith("running_var"):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_gradients_of_one_trunk_are_those_of_the_repeated_batch() -> None:
    lambdas = lambda_vectors(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    found = []
    for model, images in ((small().train(), pictures(2)), (small().train(), torch.cat([pictures(2)] * 2))):
        model.double()(images.double(), lambdas.double()).square().mean().backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)


def test_trunk_and_head_are_the_network_and_the_trunk_runs_once() -> None:
    model, lambdas = small().eval(), lambda_vectors(torch.tensor([0.25, 0.75]))
    with torch.no_grad():
        features = model.trunk(pictures(2))
        torch.testing.assert_close(model.head(features, lambdas), model(pictures(2), lambdas))
        assert not torch.equal(model.head(features, lambdas), model.head(features, 1 - lambdas))
    assert lambdas.tolist() == [[0.25, 0.75], [0.75, 0.25]]


@pytest.mark.parametrize("name", VARIANTS)
def test_maps_are_a_quarter_of_the_input(name: str) -> None:
    model = small(name).eval()
    lambdas = lambda_vectors(torch.ones(2)) if model.uses_lambda else None
    with torch.no_grad():
        assert model(pictures(2), lambdas).shape == (2, 5, 64 // STRIDE, 96 // STRIDE)


@pytest.mark.parametrize("shape", [None, (2,), (2, 3), (3, 2), (1, 2)])
def test_lambda_vectors_of_the_wrong_length(shape: tuple[int, ...] | None) -> None:
    with pytest.raises(UserError, match=r"lambda: .* given, \[2, 2\] wanted"):
        small()(pictures(2), None if shape is None else torch.ones(shape))


def test_a_plain_network_takes_no_lambda() -> None:
    with pytest.raises(UserError, match="takes none"):
        small("pose_hrnet")(pictures(1), torch.ones(1, 2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "pose_vit"}, "MODEL.NAME pose_vit: take one of pose_hrnet"),
        ({"name": "pose_hrnet_se", "se_modules": (True,) * 3}, "SE_MODULES"),
        ({"name": "pose_hrnet", "stages": standard_stages(8)[:2]}, "2, 3 and 4 branches"),
        ({"name": "pose_hrnet", "final_kernel": 2}, "FINAL_CONV_KERNEL 2"),
        ({"name": "pose_resnet", "num_layers": 42}, "NUM_LAYERS 42"),
        ({"name": "pose_resnet", "kernels": (4, 4)}, "NUM_DECONV_KERNELS"),
        ({"name": "pose_resnet", "kernels": (4, 4, 5)}, "NUM_DECONV_KERNELS"),
    ],
)
def test_networks_that_do_not_exist(options: dict[str, object], words: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=words):
        build(num_joints=17, **options)
