# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from pathlib import Path

from common.cli import UserError
from common.runtime.session import Session, of_module
from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port import inference
from OpenPose_MindSpore_port.config import Inference
from OpenPose_MindSpore_port.decode import ORIGINAL_RULES, DecodeRules
from OpenPose_MindSpore_port.inference import AllMaps, Estimator, Frame, InputRule, LastMaps, runnable, to_input
from OpenPose_MindSpore_port.model import NUM_STAGES, STRIDE, OpenPose
from OpenPose_MindSpore_port.test import golden

import cv2
import numpy as np
import pytest
import torch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> OpenPose:
    return golden.network().eval()


@pytest.mark.parametrize(
    ("size_img", "size_in"),
    [
        ((400, 640), (368, 592)),  # 588.8 -> 589 -> 592
        ((640, 480), (496, 368)),  # 490.7 -> 491 -> 496
        ((422, 640), (368, 560)),  # 558.1 -> 558 -> 560
        ((640, 621), (384, 368)),
        ((500, 500), (368, 368)),
        ((50, 50), (368, 368)),
        ((1, 16), (368, 5888)),
    ],
)
def test_the_short_side_is_fixed_and_the_long_one_whole_cells(size_img, size_in) -> None:
    assert InputRule().frame(size_img) == Frame(size_img, size_in)


def test_golden_frames(shared: Path) -> None:
    cases = np.load(golden.folder(shared) / "decode.npz")
    for name in [name for name in cases.files if name.startswith("real") and name.endswith("/map_wh")]:
        size_img = tuple(cases[name.replace("map_wh", "orig_hw")].tolist())
        assert InputRule().frame(size_img).size_in[::-1] == tuple(cases[name].tolist())


@pytest.mark.parametrize("side", [64, 100, 8])
@pytest.mark.parametrize("size_img", [(97, 1000), (333, 201), (9, 8)])
def test_any_short_side(size_img, side) -> None:
    size_in = InputRule(side).frame(size_img).size_in
    assert all(length % STRIDE == 0 for length in size_in) and min(size_in) == -(-side // STRIDE) * STRIDE
    assert (size_in[0] < size_in[1]) <= (size_img[0] < size_img[1])
    assert abs(max(size_in) / side - max(size_img) / min(size_img)) < STRIDE / side


def test_a_line_is_no_picture_of_people() -> None:
    with pytest.raises(UserError, match="500 x 2 pixels: too narrow"):
        InputRule().frame((2, 500))


def test_the_input_is_the_image_stretched(shared: Path) -> None:
    """Against plain OpenCV and float64; an image of the right size goes through untouched."""
    image = np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)
    place = InputRule(64).frame((90, 60))
    ours = to_input(image, place)
    wanted = cv2.resize(image, (64, 96), interpolation=cv2.INTER_LINEAR).astype(np.float64) / 255 - 0.5
    assert ours.shape == (3, 96, 64) and ours.dtype == np.float32 and ours.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(ours.transpose(1, 2, 0), wanted, atol=1e-7)
    same = to_input(image[:88, :56], Frame((88, 56), (88, 56)))
    np.testing.assert_allclose(same.transpose(1, 2, 0), image[:88, :56] / 255 - 0.5, atol=1e-7)
    assert same.min() >= -0.5 and same.max() <= 0.5


def test_golden_outputs_as_the_network_runs(shared: Path, network: OpenPose) -> None:
    """The session of eval.py and demo.py against the real MindSpore."""
    recorded = np.load(golden.folder(shared) / "net_outputs.npz")
    inputs = np.random.default_rng(0).standard_normal((1, 3, 184, 184)).astype(np.float32) * np.float32(0.3)
    estimator = Estimator(of_module(runnable(network), CPU, None), OPENPOSE)
    for ours, name in zip(estimator.maps(inputs), (f"heatmap{NUM_STAGES}", f"paf{NUM_STAGES}"), strict=True):
        assert np.abs(ours - recorded[name]).max() / np.abs(recorded[name]).max() < 5e-5


def test_outputs_of_an_exported_network_and_ours(network: OpenPose) -> None:
    """Twelve maps: fields of the stages, then heatmaps; people are found in the sixth and the twelfth."""
    images = torch.rand(2, 3, 16, 24) - 0.5
    with torch.inference_mode():
        everything, last = AllMaps(network)(images), LastMaps(network)(images)
    assert [maps.shape[1] for maps in everything] == [OPENPOSE.num_fields] * 6 + [OPENPOSE.num_heatmaps] * 6
    torch.testing.assert_close((everything[5], everything[11]), (last[0], last[1]))
    heatmaps, fields = Estimator(of_module(AllMaps(network), CPU, None), OPENPOSE).maps(images.numpy())
    again = Estimator(of_module(LastMaps(network), CPU, None), OPENPOSE).maps(images.numpy())
    assert np.allclose(heatmaps, again[0], atol=1e-5) and np.allclose(fields, again[1], atol=1e-5)
    assert (heatmaps.shape, fields.shape) == ((2, OPENPOSE.num_heatmaps, 2, 3), (2, OPENPOSE.num_fields, 2, 3))


def test_maps_of_another_network_are_refused() -> None:
    def other(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.zeros((1, 8, 2, 2), np.float32), np.zeros((1, 6, 2, 2), np.float32)]

    with pytest.raises(UserError, match="other.onnx gives 6 and 8 maps, not 19 heatmaps and 38 fields"):
        Estimator(Session("other.onnx", "memory", other), OPENPOSE).maps(np.zeros((1, 3, 16, 16), np.float32))


def test_the_published_numbers_are_the_decoders() -> None:
    assert inference.decode_rules(Inference()) == DecodeRules()
    assert inference.decode_rules(Inference(), original=True) == ORIGINAL_RULES
    changed = inference.decode_rules(Inference(heatmap_peak_thresh=0.1, n_integ_points=5, n_subset_limbs_thresh=4))
    assert (changed.heatmap_threshold, changed.num_samples, changed.min_points) == (0.1, 5, 4)
