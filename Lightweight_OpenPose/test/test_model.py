# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

from common.skeleton import OPENPOSE, Skeleton
from Lightweight_OpenPose.model import STRIDE, PoseEstimationWithMobileNet
from Lightweight_OpenPose.test import golden

import numpy as np
import pytest
import torch

PARAMETERS = {1: 4_091_698, 3: 7_308_964}


@pytest.mark.parametrize("stages", [1, 3])
def test_state_dict_keys_are_the_originals(shared: Path, stages: int) -> None:
    keys = json.loads((golden.folder(shared) / "keys.json").read_text())[f"refinement_stages_{stages}"]
    model = PoseEstimationWithMobileNet(stages, OPENPOSE.num_heatmaps, OPENPOSE.num_pafs)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[stages]
    ours = [[name, list(value.shape), str(value.dtype)] for name, value in model.state_dict().items()]
    assert [entry[:2] for entry in ours] == [entry[:2] for entry in keys]
    assert [entry[2].removeprefix("torch.") for entry in ours] == [entry[2].removeprefix("torch.") for entry in keys]


@pytest.mark.parametrize("stages", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_outputs_are_the_originals(shared: Path, stages: int, layout: torch.memory_format) -> None:
    case = np.load(golden.folder(shared) / "net_forward.npz")
    model = golden.network(stages).eval().to(memory_format=layout)
    for number in (0, 1):
        pixels = (case[f"input{number}_u8_hwc"].astype(np.float32) - 128) / 256
        with torch.inference_mode():
            maps = model(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        assert len(maps) == 2 * (1 + stages)
        for output, found in enumerate(maps):
            wanted = case[f"ns{stages}_in{number}_out{output}"]
            assert np.abs(found.numpy() - wanted).max() < 2e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("size", [(32, 32), (40, 64), (33, 50)])
def test_maps_of_any_skeleton_and_size(size: tuple[int, int]) -> None:
    five = Skeleton("five", tuple("abcde"), (0.1,) * 5, (), limbs=(("a", "b"), ("b", "c")))
    model = PoseEstimationWithMobileNet(2, five.num_heatmaps, five.num_pafs).eval()
    with torch.inference_mode():
        maps = model(torch.zeros(1, 3, *size))
    cells = tuple(-(-side // STRIDE) for side in size)
    assert [tuple(found.shape[1:]) for found in maps] == [(6, *cells), (4, *cells)] * 3
