# SPDX-License-Identifier: Apache-2.0
"""Checkpoints for MindSpore, as the published training names them: `<folder>/<time>/<rank>-<epoch>_<step>.ckpt`.

They hold the weights under MindSpore's names, which is all that its programs read. What else a resumed run needs
is in last.pth, see common.train.state.
"""

import time
from pathlib import Path

import common.distributed
from common import files
from common.train.loop import Losses
from common.train.state import TrainState
from OpenPose_MindSpore_port import mindspore_checkpoint
from OpenPose_MindSpore_port.config import Config
from OpenPose_MindSpore_port.mindspore_checkpoint import NETWORK

import torch

TIME = "%Y-%m-%d_time_%H_%M_%S"


class TrainingCheckpoints:
    """Rank 0 writes one every `ckpt_interval` steps and one at the end; the newest `keep_checkpoint_max` stay."""

    def __init__(self, state: TrainState, config: Config) -> None:
        """Raises OSError where the folder cannot be made: the first checkpoint is hours away."""
        root = Path(config.output_dir) / config.save_model_path
        self.folder = root / time.strftime(TIME, time.localtime(state.began))
        self._state, self._interval = state, config.ckpt_interval
        self._keep = config.keep_checkpoint_max if common.distributed.is_main() else 0
        if self._keep:
            root.mkdir(parents=True, exist_ok=True)
            files.remove_unfinished(self.folder)

    def step(self, number: int, losses: Losses) -> None:
        """Called after step `number`, counted from 0; writes nothing if its losses are not finite."""
        done = number + 1
        if self._keep and done % self._interval == 0 and bool(torch.stack([*losses.values()]).isfinite().all()):
            self._write(done)

    def finish(self) -> None:
        """Called after the training: keeps its last steps, too, even if an earlier run was killed there."""
        done = self._state.epoch * self._state.plan.steps_per_epoch
        if self._keep and done and not self._path(done).is_file():
            self._write(done)

    def _path(self, done: int) -> Path:
        return self.folder / f"0-{-(-done // self._state.plan.steps_per_epoch)}_{done}.ckpt"

    def _write(self, done: int) -> None:
        weights = {NETWORK + name: tensor for name, tensor in self._state.model.state_dict().items()}
        mindspore_checkpoint.write(self._path(done), weights)
        steps = sorted(int(path.stem.rpartition("_")[2]) for path in self.folder.glob("0-*_*.ckpt"))
        for old in steps[: -self._keep]:
            self._path(old).unlink(missing_ok=True)
