# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import common.coco.mini.dataset
from common.bottomup.pipeline import evaluate
from common.coco.evaluate import EvaluationSet
from common.runtime.session import Session
from common.skeleton import OPENPOSE
from common.test.programs import launched, weights
from Lightweight_OpenPose.decode import DecodeRules
from Lightweight_OpenPose.eval import MULTI_SCALE
from Lightweight_OpenPose.predict import InputRule, ValidationEstimator
from Lightweight_OpenPose.test.ideal_maps import average_precision_of_ideal_maps
from Lightweight_OpenPose.test.oracle import RULE, Oracle, validation_of
from Lightweight_OpenPose.test.programs import FROM_SCRATCH, SMALL, launcher, trained

import cv2
import numpy as np
import pytest

CEILING, CEILING_WITHOUT_SHIFT = 0.773, 0.790  # the original's rule, and without its half pixel
JOINTS = (0, 9, 10, 15, 16)  # those of COCO with these names
FIVE = """
keypoints: [nose, left_wrist, right_wrist, left_ankle, right_ankle]
sigmas: [0.026, 0.062, 0.062, 0.089, 0.089]
flip_pairs: [[left_wrist, right_wrist], [left_ankle, right_ankle]]
derived: {waist: [left_wrist, right_wrist]}
limbs: [[nose, waist], [waist, left_ankle], [waist, right_ankle]]
"""


@pytest.mark.parametrize(("half_pixel", "ceiling"), [(True, CEILING), (False, CEILING_WITHOUT_SHIFT)])
def test_ceiling_of_the_decoder_on_real_annotations(shared: Path, half_pixel: bool, ceiling: float) -> None:
    rules = DecodeRules(half_pixel=half_pixel)
    metrics = average_precision_of_ideal_maps(shared / "data" / "coco-mini", rules, InputRule())
    assert ceiling <= metrics["AP"] < ceiling + 0.002


@pytest.mark.parametrize("size", [(480, 640), (640, 427), (333, 500), (100, 50), (368, 368), (97, 1000)])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5, 2.0])
def test_the_frame_of_an_image_is_whole_cells_and_centred(size: tuple[int, int], scale: float) -> None:
    place = InputRule().letterbox(size, scale)
    height, width = place.size_in
    assert height % 8 == 0 and width % 8 == 0 and width >= 368 and height == max(368, 368 * scale)
    top, left, bottom, right = place.pad_in
    assert 0 <= bottom - top <= 1 and 0 <= right - left <= 1
    assert place.scaled_in == (round(368 * scale), round(size[1] * scale * 368 / size[0]))


def test_the_input_is_the_image_resized_and_grey_around_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)
    place = InputRule(64).letterbox((90, 60))
    ours = ValidationEstimator.to_input(image, place)
    normalised = (image.astype(np.float64) - 128) / 256
    wanted = cv2.resize(normalised, None, fx=64 / 90, fy=64 / 90, interpolation=cv2.INTER_CUBIC)
    top, left, bottom, right = place.pad_in
    inner = ours[:, top : ours.shape[1] - bottom, left : ours.shape[2] - right].transpose(1, 2, 0)
    assert np.abs(inner - wanted).max() < 1e-5
    assert ours[:, :, :left].any() == 0 and ours.dtype == np.float32


def test_two_ranks_find_what_one_finds(tiny_coco: Path, tmp_path: Path) -> None:
    """A network that knows the answers: AP is the ceiling, every image counts once, on any number of ranks."""
    folder = shutil.copytree(tiny_coco, tmp_path / "coco")
    found = []
    for ranks in (1, 2):
        done = launched("Lightweight_OpenPose.test.oracle", tmp_path / "logs", str(folder), ranks=ranks)
        assert "Traceback" not in done.stderr, done.stderr
        found.append(json.loads((folder / f"oracle_{ranks}.json").read_text()))
    assert found[0] == found[1]
    ideal = average_precision_of_ideal_maps(folder, DecodeRules(), RULE)
    assert found[0]["metrics"]["AP"] == pytest.approx(ideal["AP"], abs=0.02) and ideal["AP"] > 0.6


def test_nobody_found_is_an_ap_of_zero(tiny_coco: Path) -> None:
    def blind(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        batch, _, height, width = inputs[0].shape
        counts = (OPENPOSE.num_heatmaps, OPENPOSE.num_pafs)
        return [np.zeros((batch, count, height // 8, width // 8), np.float32) for count in counts]

    session = Session("blind", "memory", blind)
    estimator = ValidationEstimator.of_session(session, OPENPOSE, input_rule=InputRule(64))
    result = evaluate(estimator, validation_of(tiny_coco), 2)
    assert (result.metrics["AP"], len(result.detections), result.num_images) == (0, 0, 6)


def test_several_scales_find_people_too(tiny_coco: Path) -> None:
    validation = validation_of(tiny_coco)
    single = Oracle(validation)

    def at_every_scale(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Ideal maps have no scale: those of scale 1, resized to the maps asked for."""
        known = next(iter(single.maps.values()))
        cells = (inputs[0].shape[3] // 8, inputs[0].shape[2] // 8)
        return [cv2.resize(part.transpose(1, 2, 0), cells).transpose(2, 0, 1)[None] for part in known]

    first = EvaluationSet(validation.annotations, validation.folder, validation.index, validation.rows[:1])
    session, rule = Session("all scales", "memory", at_every_scale), InputRule(RULE.base_height, scales=MULTI_SCALE)
    result = evaluate(ValidationEstimator.of_session(session, OPENPOSE, input_rule=rule), first, 1)
    assert result.num_images == 1 and len(result.detections) > 0


def test_a_skeleton_of_your_own_trains_and_is_evaluated(tmp_path: Path) -> None:
    """Five keypoints and a derived one, from a YAML file, through the real programs."""
    skeleton = tmp_path / "five.yaml"
    skeleton.write_text(FIVE)
    folder = common.coco.mini.dataset.write(tmp_path / "coco", num_train=9, num_val=4)
    for path in (folder / "annotations").iterdir():
        content = json.loads(path.read_text())
        for person in content["annotations"]:
            person["keypoints"] = [person["keypoints"][3 * joint + value] for joint in JOINTS for value in range(3)]
        path.write_text(json.dumps({**content, "categories": []}))
    place = (f"--data_path={folder}", f"--skeleton={skeleton}")
    done = trained(tmp_path, *place, *SMALL, *FROM_SCRATCH, "--step=1", "--epochs=1", "--eval_freq=1")
    assert done.returncode == 0, done.stderr
    state = weights(tmp_path / "step_one_checkpoints", "model_best.pth")
    assert len(state["initial_stage.heatmaps.1.0.weight"]) == 7  # five keypoints, the waist, the background
    assert len(state["initial_stage.pafs.1.0.weight"]) == 6
    done = launcher("eval.sh", *place, f"--output_dir={tmp_path}", "--device=cpu", "--save_images=1", "--report")
    assert (tmp_path / "eval_step1" / "report.html").is_file()
    assert done.returncode == 0 and "EvalAccuracy : " in done.stdout, done.stderr
