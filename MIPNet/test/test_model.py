# SPDX-License-Identifier: Apache-2.0
import copy
from pathlib import Path
from typing import Any

from common.cli import UserError
from common.test import top_down_networks as golden
from MIPNet.config import parse
from MIPNet.model import STRIDE, GatedNetwork, build, lambda_vectors
from MIPNet.test.programs import ALL_GATES, LAST_GATE, PUBLISHED_GATES, tiny

import pytest
import torch

LAMBDAS = {"lambda1": 1.0, "lambda0": 0.0}
W32, W48 = "coco/hrnet/w32_256x192_adam_lr1e-3.yaml", "coco/hrnet/w48_384x288_adam_lr1e-3.yaml"
W32_LAMBDA, W48_LAMBDA = (file.replace(".yaml", "_lambda.yaml") for file in (W32, W48))
RES50 = "coco/resnet/res50_256x192_d256x3_adam_lr1e-3.yaml"
NETWORKS: dict[str, tuple[Any, ...]] = {  # golden network -> published yaml config and KEY VALUE words
    "pose_hrnet_w32_256x192": (W32,),
    "pose_hrnet_w48_384x288": (W48,),
    "pose_hrnet_se_lambda_w32_256x192": (W32_LAMBDA,),
    "pose_hrnet_se_lambda_w48_384x288": (W48_LAMBDA,),
    "pose_hrnet_se_lambda_w32_256x192_all4": (W32_LAMBDA, "MODEL.SE_MODULES", ALL_GATES),
    "pose_hrnet_se_lambda_w48_384x288_crowdpose": (W48_LAMBDA.replace("coco", "crowdpose"),),
    "pose_resnet50_256x192": (RES50,),
    "pose_resnet101_384x288": ("coco/resnet/res101_384x288_d256x3_adam_lr1e-3.yaml",),
    "pose_resnet152_384x288": ("coco/resnet/res152_384x288_d256x3_adam_lr1e-3.yaml",),
    "pose_resnet_se_lambda50_256x192": (RES50.replace(".yaml", "_lambda.yaml"), "MODEL.SE_MODULES", LAST_GATE),
    "pose_resnet_se_lambda50_256x192_all4": (RES50.replace(".yaml", "_lambda.yaml"), "MODEL.SE_MODULES", ALL_GATES),
    "pose_resnet_se_lambda101_384x288_crowdpose": ("crowdpose/resnet/res101_384x288_d256x3_adam_lr1e-3_lambda.yaml",),
}


def published(name: str) -> GatedNetwork:
    file, *words = NETWORKS[name]
    config = parse([f"--cfg=experiments/{file}", *map(str, words)])
    return build(config.yaml.MODEL, config.load_skeleton().num_keypoints)


OUTPUTS = [
    "pose_hrnet_se_lambda_w32_256x192",
    "pose_resnet_se_lambda50_256x192",
    "pose_resnet_se_lambda50_256x192_all4",
    pytest.param("pose_hrnet_w32_256x192", marks=pytest.mark.slow),
    pytest.param("pose_hrnet_w48_384x288", marks=pytest.mark.slow),
    pytest.param("pose_hrnet_se_lambda_w48_384x288", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_state_dict_keys_are_the_originals(shared: Path, name: str) -> None:
    with torch.device("meta"):
        assert golden.keys_of(published(name)) == golden.keys(shared, f"mipnet_{name}")


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_the_originals(shared: Path, name: str) -> None:
    """Both lambdas with one trunk; also as inference runs it: channels last."""
    model = golden.network(shared, lambda: published(name))
    images = golden.images(shared, (288, 384) if "384" in name else (192, 256))
    expected = golden.outputs(shared, f"mipnet_{name}")
    lambdas = lambda_vectors(torch.tensor([LAMBDAS[key] for key in expected])) if model.uses_lambda else None
    with torch.inference_mode():
        both = model(images, lambdas)
        channels_last = model.to(memory_format=torch.channels_last)(images, lambdas)
    for row, maps in enumerate(expected.values()):
        assert golden.error(both[row : row + 1], maps) < 2e-5
        assert golden.error(channels_last[row : row + 1], maps) < 1e-4


@pytest.mark.parametrize("name", ["pose_hrnet_se_lambda", "pose_resnet_se_lambda"])
@pytest.mark.parametrize("gates", [PUBLISHED_GATES, ALL_GATES, LAST_GATE])
@pytest.mark.parametrize("training", [False, True])
def test_one_trunk_for_all_lambdas_is_the_network_on_the_repeated_batch(name, gates, training) -> None:
    torch.manual_seed(0)
    shared_trunk = tiny(name, SE_MODULES=gates).train(training)
    whole, images = copy.deepcopy(shared_trunk), torch.randn(3, 3, 64, 96)
    lambdas = lambda_vectors(torch.tensor([1.0, 0.0, 0.25, 0.0, 1.0, 0.75]))
    with torch.no_grad():
        maps = shared_trunk(images, lambdas)
        torch.testing.assert_close(maps, whole(torch.cat([images] * 2), lambdas))
    assert maps.shape == (6, 5, 64 // STRIDE, 96 // STRIDE) and not torch.equal(maps[:3], maps[3:])
    for (key, ours), theirs in zip(shared_trunk.state_dict().items(), whole.state_dict().values(), strict=True):
        if not key.endswith("running_var"):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("pose_hrnet_se_lambda", {"SE_MODULES": (True,) * 3}, "SE_MODULES"),
        ("pose_hrnet", {"stage2.num_channels": (8,)}, "2, 3 and 4 branches"),
        ("pose_hrnet", {"stage2.num_blocks": (4, 3)}, "the same number is needed for each branch"),
        ("pose_resnet", {"num_layers": 42}, "NUM_LAYERS 42"),
        ("pose_resnet", {"num_deconv_kernels": (4, 4, 3)}, "NUM_DECONV_KERNELS"),
    ],
)
def test_networks_that_do_not_exist(name: str, changes: dict[str, Any], words: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=words):
        tiny(name, **changes)
