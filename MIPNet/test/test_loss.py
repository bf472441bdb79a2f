# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.test import top_down_networks as golden
from MIPNet import loss
from MIPNet.model import lambda_vectors
from MIPNet.test.test_model import published

import pytest
import torch
from torch import Tensor, nn

TRAINED = ("mipnet_pose_resnet_se_lambda50_256x192", "mipnet_pose_hrnet_se_lambda_w32_256x192")


def test_losses_are_the_originals(shared: Path) -> None:
    wanted, given = golden.losses(shared), golden.loss_inputs()
    pair = given["out"], given["tA"]
    every = torch.ones_like(given["wA"])
    assert loss.heatmap_loss(*pair, given["wA"]).item() == pytest.approx(wanted["JointsMSELoss"])
    assert loss.heatmap_loss(*pair, every).item() == pytest.approx(wanted["JointsMSELoss_noweight"])
    assert loss.per_sample(*pair, given["wA"]).tolist() == pytest.approx(wanted["JointsLambdaMSELoss_per_sample"])
    assert loss.hardest_joints(*pair, given["wA"], 8).item() == pytest.approx(wanted["JointsOHKMMSELoss_top8"])
    targets, weights = (given["tA"], given["tB"]), (given["wA"], given["wB"])
    found = loss.lambda_loss(given["out"], targets, weights, given["lambda"])
    assert found.item() == pytest.approx(wanted["lambda_pose_loss"])


def test_accuracy_is_the_originals(shared: Path) -> None:
    wanted, given = golden.losses(shared)["accuracy_upstream_numpy"][0], golden.loss_inputs()
    assert loss.accuracy(given["tA"] + 0.2 * given["out"], given["tA"]).item() == pytest.approx(wanted)


def test_an_exact_hit_is_a_hit() -> None:
    target = torch.zeros(1, 2, 64, 48)
    target[0, 0, 20, 30] = 1
    assert loss.accuracy(target, target).item() == 1
    assert loss.accuracy(torch.zeros_like(target), target).item() == 0
    assert loss.accuracy(target, torch.zeros_like(target)).item() == 0  # no joint to find


def first_loss(model: nn.Module, shared: Path) -> Tensor:
    """Two images with lambda 1 and 0, then 0 and 1."""
    given, images = golden.loss_inputs(), golden.images(shared, (192, 256), count=2, seed=9)
    lambdas = torch.tensor([1.0, 0.0, 0.0, 1.0])
    doubled = {name: torch.cat([given[name][:2]] * 2) for name in ("tA", "tB", "wA", "wB")}
    predicted = model(images, lambda_vectors(lambdas))
    return loss.lambda_loss(predicted, (doubled["tA"], doubled["tB"]), (doubled["wA"], doubled["wB"]), lambdas)


@pytest.mark.parametrize("name", TRAINED)
def test_the_first_loss_of_training_is_the_originals(shared: Path, name: str) -> None:
    model = golden.network(shared, lambda: published(name.removeprefix("mipnet_"))).train()
    with torch.no_grad():
        found = first_loss(model, shared).item()
    assert found == pytest.approx(golden.losses(shared)[f"train3_{name}"][0], rel=1e-5)


def test_every_image_is_trained_with_both_lambdas() -> None:
    drawn = loss.draw_lambdas(50, torch.Generator().manual_seed(0))
    assert drawn.shape == (100,) and set(drawn.tolist()) == {0.0, 1.0}
    assert torch.equal(drawn[:50] + drawn[50:], torch.ones(50)) and 10 < drawn[:50].sum() < 40
