# SPDX-License-Identifier: Apache-2.0
from common.topdown.targets import mean_squared_error, peak_accuracy

import pytest
import torch


def test_the_error_of_one_cell() -> None:
    predicted, target = torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    predicted[0, 1, 2, 3] = 2
    weight = torch.ones(2, 3)
    assert mean_squared_error(predicted, target, weight).item() == pytest.approx(0.5 * 4 / target.numel())
    weight[0, 1] = 0
    assert mean_squared_error(predicted, target, weight).item() == 0


@pytest.mark.parametrize(("right", "hit"), [(0, 1), (2, 1), (3, 0)])
def test_a_peak_is_a_hit_within_half_a_tenth_of_the_side(right: int, hit: int) -> None:
    target = torch.zeros(1, 1, 64, 48)
    target[0, 0, 20, 30] = 1
    assert peak_accuracy(target.roll(right, dims=3), target, (48, 64)).item() == hit


def test_targets_near_the_corner_do_not_count() -> None:
    target = torch.zeros(1, 3, 64, 48)
    target[0, 0, 1, 30] = target[0, 1, 20, 1] = target[0, 2, 20, 30] = 1
    missed = torch.zeros_like(target)
    missed[0, 2, 20, 30] = 1
    assert peak_accuracy(missed, target, (48, 64)).item() == 1


def test_joints_have_equal_shares_however_often_they_are_seen() -> None:
    target = torch.zeros(2, 2, 64, 48)
    target[:, 0, 20, 30] = 1
    target[0, 1, 20, 30] = 1
    found = target.clone()
    found[0, 1] = 0
    assert peak_accuracy(found, target, (48, 64)).item() == 0.5
