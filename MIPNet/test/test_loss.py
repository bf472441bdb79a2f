# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.test import top_down_networks as golden
from common.topdown.targets import mean_squared_error
from MIPNet import loss
from MIPNet.model import lambda_vectors
from MIPNet.test.test_model import published

import pytest
import torch
from torch import Tensor

TRAINED = ("mipnet_pose_resnet_se_lambda50_256x192", "mipnet_pose_hrnet_se_lambda_w32_256x192")


def lambda_loss(predicted: Tensor, given: dict[str, Tensor], lambdas: Tensor) -> float:
    """As a training computes it; `given`: maps `tA`, `tB` and weights `wA`, `wB` of two people."""
    people = [torch.stack([given[f"{name}A"], given[f"{name}B"]], dim=1) for name in "tw"]
    return mean_squared_error(predicted, *(loss.meant_by(lambdas, one) for one in people)).item()


def test_losses_are_the_originals(shared: Path) -> None:
    expected, given = golden.losses(shared), golden.loss_inputs()
    pair = given["out"], given["tA"]
    every = torch.ones_like(given["wA"])
    assert mean_squared_error(*pair, given["wA"]).item() == pytest.approx(expected["JointsMSELoss"])
    assert mean_squared_error(*pair, every).item() == pytest.approx(expected["JointsMSELoss_noweight"])
    assert lambda_loss(given["out"], given, given["lambda"]) == pytest.approx(expected["lambda_pose_loss"])


def test_accuracy_is_the_originals(shared: Path) -> None:
    expected, given = golden.losses(shared)["accuracy_upstream_numpy"][0], golden.loss_inputs()
    assert loss.accuracy(given["tA"] + 0.2 * given["out"], given["tA"]).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", TRAINED)
def test_the_first_loss_of_training_is_the_originals(shared: Path, name: str) -> None:
    """Two images with lambda 1 and 0, then 0 and 1."""
    model = golden.network(shared, lambda: published(name.removeprefix("mipnet_"))).train()
    images = golden.images(shared, (192, 256), count=2, seed=9)
    given = {key: value[:2] for key, value in golden.loss_inputs().items()}
    lambdas = torch.tensor([1.0, 0.0, 0.0, 1.0])
    with torch.no_grad():
        found = lambda_loss(model(images, lambda_vectors(lambdas)), given, lambdas)
    assert found == pytest.approx(golden.losses(shared)[f"train3_{name}"][0], rel=1e-5)


def test_every_image_is_trained_with_both_lambdas() -> None:
    drawn = loss.draw_lambdas(50, torch.Generator().manual_seed(0))
    assert drawn.shape == (100,) and set(drawn.tolist()) == {0.0, 1.0}
    assert torch.equal(drawn[:50] + drawn[50:], torch.ones(50)) and 10 < drawn[:50].sum() < 40
