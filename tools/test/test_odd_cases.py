# SPDX-License-Identifier: Apache-2.0
"""Odd annotation files that users have: before its first step every training reads them, or ends in one line."""

import importlib
import shutil
from pathlib import Path

from common.cli import UserError
from tools.test.test_own_keypoints import MODELS, found, samples_of

import pytest

READ = {
    "area0",
    "area1",
    "no_area",
    "string_category",
    "ball_and_person",
    "ball_and_person_kp",
    "null_iscrowd",
    "null_num_keypoints",
    "one_flat_box",
    "bom",
    "float_num_keypoints",
    "big_ids",
}
REFUSED = {
    "normalised": "between 0 and 1",
    "top_list": "list",
    "no_images_val": "images",
}


def validated(model: str, config, skeleton) -> None:
    """What a training does with its validation images before its first step."""
    evaluation = importlib.import_module(f"{model}.eval")
    if model == "Lightweight_OpenPose":
        evaluation.load_validation(config, skeleton).check()
    elif model == "OpenPose_MindSpore_port":
        evaluation.training_evaluation_set(config, skeleton, lambda line: None)
    elif model == "AlphaPose":
        evaluation.Evaluator(config, evaluation.EvaluationSettings()).validation.check()
    else:
        evaluation.Evaluator(config).validation.check(config.data_set)


def prepared(model: str, folder: Path) -> int:
    """Everything that a training does before its first step; the number of its samples."""
    config, skeleton = found(model, f"--data_path={folder}")
    samples = samples_of(model, config, skeleton)
    validated(model, config, skeleton)
    return len(samples)


@pytest.mark.parametrize("case", sorted(READ | set(REFUSED)))
def test_every_training_reads_it_or_says_one_line(tmp_path, shared, case):
    cases = shared / "cases"
    for split in ("train2017", "val2017"):
        shutil.copytree(cases / "base" / split, tmp_path / "data" / split)
    shutil.copytree(cases / "annotations" / case, tmp_path / "data" / "annotations")
    for model in MODELS:
        if case in READ:
            assert prepared(model, tmp_path / "data") > 0, model
            continue
        with pytest.raises(UserError, match=REFUSED[case]) as caught:
            prepared(model, tmp_path / "data")
        assert "2017" in str(caught.value) and "\n" not in str(caught.value), model


def test_every_case_has_an_answer(shared):
    assert {path.name for path in (shared / "cases" / "annotations").iterdir()} == READ | set(REFUSED)


@pytest.mark.parametrize("case", ["exif_90", "exif_180"])
def test_turned_images_train_turned(tmp_path, shared, case):
    """Annotated as a tool shows them: of 90 degrees the stored size says so; --exif=turn trains, everywhere."""
    shutil.copytree(shared / "cases" / case, tmp_path / "data")
    for model in MODELS:
        for exif in ("turn", "ignore"):
            config, skeleton = found(model, f"--data_path={tmp_path / 'data'}", f"--exif={exif}")
            samples = samples_of(model, config, skeleton)
            if (case, exif) == ("exif_90", "ignore"):
                with pytest.raises(UserError, match="--exif=turn"):
                    samples[0, 0]
            else:
                assert samples[0, 0]
