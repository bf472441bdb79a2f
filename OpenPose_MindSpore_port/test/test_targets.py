# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.skeleton import OPENPOSE, Skeleton
from OpenPose_MindSpore_port.config import TargetRules
from OpenPose_MindSpore_port.targets import encode
from OpenPose_MindSpore_port.test import golden

import numpy as np
import pytest
import torch

RULES = TargetRules()
CELLS = (46, 46)
DOT = Skeleton("dot", ("a",), (0.1,), ())
LINE = Skeleton("line", ("a", "b"), (0.1, 0.1), (), limbs=(("a", "b"),))


def check(points: np.ndarray, case: dict[str, np.ndarray]) -> None:
    """The golden maps to 1e-6, whatever type the points have."""
    for kind in (torch.float32, torch.float64):
        found = encode(torch.from_numpy(points).to(kind)[None], case["heatmaps"].shape[1:], OPENPOSE, RULES)
        for ours, theirs in zip(found, (case["heatmaps"], case["pafs"]), strict=True):
            assert ours.dtype == torch.float32
            assert np.abs(ours[0].numpy() - theirs).max() <= 1e-6


@pytest.mark.parametrize("image_id", golden.IMAGE_IDS)
def test_targets_of_images_are_the_originals(shared: Path, image_id: int) -> None:
    case = golden.case(shared, "targets.npz", image_id)
    check(case["poses_368"], case)


@pytest.mark.parametrize("number", range(6))
def test_targets_of_drawn_people_are_the_originals(shared: Path, number: int) -> None:
    case = golden.case(shared, "targets_synth.npz", number)
    check(case["poses"], case)


def test_the_larger_of_two_people_counts_and_the_background_is_the_rest() -> None:
    near = torch.tensor([[[[99.5, 99.5, 2.0]], [[107.5, 99.5, 1.0]], [[0.0, 0.0, 0.0]]]])
    heatmaps, _ = encode(near, CELLS, DOT, RULES)
    alone = [encode(near[:, person : person + 1], CELLS, DOT, RULES)[0] for person in (0, 1)]
    torch.testing.assert_close(heatmaps[:, 0], torch.maximum(alone[0], alone[1])[:, 0])
    assert heatmaps[0, 0, 12, 12] == heatmaps[0, 0, 12, 13] == 1
    assert torch.equal(heatmaps[0, 1], 1 - heatmaps[0, 0])


def test_a_paf_points_along_its_limb_and_is_a_mean_where_people_cross() -> None:
    right, down = [[83.0, 163.5, 2], [243, 163.5, 2]], [[163.5, 83, 2], [163.5, 243, 2]]
    _, pafs = encode(torch.tensor([[right, down]]), CELLS, LINE, RULES)
    assert pafs[0, :, 20, 20].tolist() == [0.5, 0.5]
    assert pafs[0, :, 20, 12].tolist() == [1, 0] and pafs[0, :, 12, 20].tolist() == [0, 1]
    _, alone = encode(torch.tensor([[right]]), CELLS, LINE, RULES)
    assert (alone[0, 0, 19:22, 10:30] == 1).all() and alone[0, 0, :19].abs().max() == 0
    assert alone[0, 0, :, :10].abs().max() == 0 == alone[0, 0, :, 30:].abs().max() == alone[0, 1].abs().max()


def test_nobody_is_background() -> None:
    for points in (torch.zeros(2, 0, OPENPOSE.num_points, 3), torch.zeros(2, 3, OPENPOSE.num_points, 3)):
        heatmaps, pafs = encode(points, (4, 5), OPENPOSE, RULES)
        assert heatmaps.shape == (2, OPENPOSE.num_heatmaps, 4, 5)
        assert (heatmaps[:, -1] == 1).all() and heatmaps[:, :-1].abs().max() == 0 == pafs.abs().max()
