# SPDX-License-Identifier: Apache-2.0
"""The initial weights of a run, and networks rebuilt from checkpoints."""

import re
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from common.skeleton import Skeleton
from common.train.checkpoint import BEST, CheckpointError
from Lightweight_OpenPose.config import DIRECTORY, MOBILENET, NO_CHECKPOINT, STEP_NAMES, WEIGHT_FOLDERS, Config
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet

from torch import nn


def locate_checkpoint(name: str, folders: tuple[Path, ...] = WEIGHT_FOLDERS) -> Path:
    """A checkpoint by path, or a published one by name. Raises CheckpointError."""
    from common.train import published  # a resumed training needs none

    return published.locate(name, DIRECTORY, folders)


def run_folder(output_dir: str, experiment_name: str) -> Path:
    """Where the checkpoints of an experiment are kept."""
    return Path(output_dir) / f"{experiment_name}_checkpoints"


def starting_weights(config: Config) -> Path | None:
    """The file that training begins from, None for a random start.

    Step 1 begins from MobileNet, steps 2 and 3 from the best checkpoint of the step before. A run that measures
    performance alone may begin anywhere. Raises UserError where the file is missing: a long training that
    silently begins at random would be wasted.
    """
    if config.checkpoint_path == NO_CHECKPOINT:
        return None
    if config.checkpoint_path:
        return locate_checkpoint(config.checkpoint_path)
    if config.step > 1:
        before = run_folder(config.output_dir, STEP_NAMES[config.step - 1]) / BEST
        if before.is_file():
            return before
        cure = f"run --step={config.step - 1} first, or name a checkpoint with --checkpoint_path"
        raise UserError(f"--step={config.step} begins from {before}, which is not there: {cure}")
    try:
        return locate_checkpoint(MOBILENET)
    except CheckpointError as error:
        if config.case == "perf":
            return None
        raise UserError(f"{error}; --checkpoint_path={NO_CHECKPOINT} begins at random") from error


def load_start(model: nn.Module, source: Path | None) -> str:
    """Loads what matches of the starting weights; returns the report of it."""
    if source is None:
        return "random start: no pre-trained weights"
    match = common.train.checkpoint.load_matching(model, common.train.checkpoint.read(source), source)
    return f"=> using pre-trained model {source}: {match}"


def load_network(source: Path, skeleton: Skeleton) -> PoseEstimationWithMobileNet:
    """The network of a checkpoint, with as many refinement stages as that holds, in evaluation mode.

    Raises CheckpointError where weights are missing: a checkpoint of another network or skeleton.
    """
    content = common.train.checkpoint.read(source)
    names = common.train.checkpoint.state_dict(content)
    stages = {found[1] for name in names if (found := re.search(r"(?:^|\.)refinement_stages\.(\d+)\.", name))}
    model = PoseEstimationWithMobileNet(len(stages), skeleton.num_heatmaps, skeleton.num_pafs)
    common.train.checkpoint.load_matching(model, content, source, complete=True)
    return model.eval()
