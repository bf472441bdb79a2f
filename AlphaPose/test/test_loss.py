# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from AlphaPose import loss
from AlphaPose.model import FastPose
from common.test import top_down_networks as golden
from common.topdown.targets import mean_squared_error

import numpy as np
import pytest
import torch
from torch import Tensor, nn

NORMS = ("sigmoid", "softmax")


def test_losses_are_the_originals(shared: Path) -> None:
    wanted, given = golden.losses(shared), golden.loss_inputs()
    assert mean_squared_error(given["out"], given["tA"], given["wA"]).item() == pytest.approx(wanted["alphapose_mse"])
    noisy = given["tA"] + 0.2 * given["out"]
    found = loss.accuracy(noisy, given["tA"], given["wA"]).item()
    assert found == pytest.approx(wanted["alphapose_calc_accuracy"])


@pytest.mark.parametrize("norm", NORMS)
def test_regression_and_its_gradient_are_the_originals(shared: Path, norm: str) -> None:
    wanted, draw = golden.losses(shared), np.random.default_rng(10)
    target = torch.from_numpy(draw.random((3, 34)).astype(np.float32)).view(3, 17, 2)  # theirs counts from the middle
    weight = torch.from_numpy((draw.random((3, 34)) > 0.3).astype(np.float32)).view(3, 17, 2)
    maps = (golden.loss_inputs()["out"] * 10).requires_grad_()
    found = loss.regression_loss(maps, target, weight, norm)
    found.backward()
    assert found.item() == pytest.approx(wanted[f"L1JointRegression_{norm}"], rel=1e-5)
    gradient = maps.grad.abs().sum().item()
    assert gradient == pytest.approx(wanted[f"L1JointRegression_{norm}_grad_abs_sum"], rel=1e-4)


def first_loss(model: nn.Module, shared: Path) -> Tensor:
    given, images = golden.loss_inputs(), golden.images(shared, (192, 256), count=2, seed=9)
    return mean_squared_error(model(images), given["tA"][:2], given["wA"][:2])


def test_the_first_loss_of_training_is_the_originals(shared: Path) -> None:
    model = golden.network(shared, lambda: FastPose(17)).train()
    with torch.no_grad():
        found = first_loss(model, shared).item()
    assert found == pytest.approx(golden.losses(shared)["train3_alphapose_fastpose_res50"][0], rel=1e-5)


@pytest.mark.slow
def test_three_steps_of_training_are_the_originals(shared: Path) -> None:
    model = golden.network(shared, lambda: FastPose(17)).train()
    found = golden.adam_losses(model, lambda: first_loss(model, shared), steps=3)
    assert found == pytest.approx(golden.losses(shared)["train3_alphapose_fastpose_res50"], rel=1e-2)


def test_coordinates_of_a_single_high_cell() -> None:
    maps = torch.full((1, 1, 8, 6), -30.0)
    maps[0, 0, 2, 3] = 30.0
    for norm in NORMS:
        assert loss.integral_coordinates(maps, norm)[0, 0].tolist() == pytest.approx([0.5, 0.25], abs=1e-4)


def test_accuracy_counts_exact_hits_and_only_joints_with_a_target() -> None:
    target = torch.zeros(1, 2, 64, 48)
    target[0, 0, 20, 30] = 1
    weight = torch.tensor([[1.0, 0.0]])
    assert loss.accuracy(target, target, weight).item() == 1
    assert loss.accuracy(target.roll(3, dims=2), target, weight).item() == 1  # 3 of 6.4 cells
    assert loss.accuracy(target.roll(3, dims=3), target, weight).item() == 0  # 3 of 4.8 cells
    assert loss.accuracy(target, target, torch.zeros(1, 2)).item() == 0
