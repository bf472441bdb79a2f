# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as the published training leaves them: `<folder>/<time>/<rank>-<epoch>_<step>.ckpt`.

They hold what MindSpore's do, under its names: weights, the optimiser's moments, step and learning rates. What a
resumed run needs beside that (random states, the place in the data) is in last.pth, see common.train.state.
"""

import re
import time
from collections.abc import Mapping
from pathlib import Path

import common.distributed
from common import files
from common.arrays import Float32Array
from common.cli import UserError
from common.train.loop import Losses
from common.train.state import TrainState
from OpenPose_MindSpore_port import mindspore_checkpoint
from OpenPose_MindSpore_port.config import Config
from OpenPose_MindSpore_port.mindspore_checkpoint import NETWORK
from OpenPose_MindSpore_port.optimizer import BETAS

import numpy as np
import torch
from torch import Tensor

TIME = "%Y-%m-%d_time_%H_%M_%S"
# what torch's optimisers keep of a weight -> what stands before its name
MOMENTS = {"exp_avg": "moment1.", "exp_avg_sq": "moment2.", "momentum_buffer": "moments."}


def entries(state: TrainState, steps: int, rates: Mapping[str, Float32Array]) -> dict[str, Tensor]:
    """The content of a training checkpoint after `steps`, in MindSpore's order."""
    model, kept = state.model, state.optimizer.state
    found = {NETWORK + name: tensor for name, tensor in model.state_dict().items()}
    found["global_step"] = torch.tensor([steps], dtype=torch.int32)
    moments = {NETWORK + name: kept.get(weight, {}) for name, weight in model.named_parameters()}
    if any("exp_avg" in of_weight for of_weight in moments.values()):
        taken = state.optimizer.param_groups[0].get("steps", steps)  # without those that were left out
        for number, beta in enumerate(BETAS, start=1):
            found[f"beta{number}_power"] = torch.tensor(beta**taken, dtype=torch.float32)
    for key, before in MOMENTS.items():
        found |= {before + name: of_weight[key] for name, of_weight in moments.items() if key in of_weight}
    groups = [rates[group["name"]] for group in state.optimizer.param_groups]
    if len(groups) == 1:
        return found | {"learning_rate": _tensor(groups[0])}
    return found | {f"learning_rate_group_{number}": _tensor(values) for number, values in enumerate(groups)}


def _tensor(values: Float32Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


class TrainingCheckpoints:
    """Writes one every `ckpt_interval` steps and one at the end; the newest `keep_checkpoint_max` stay."""

    def __init__(self, state: TrainState, rates: Mapping[str, Float32Array], config: Config) -> None:
        """Raises UserError where the folder cannot be made: the first checkpoint is hours away."""
        root = Path(config.output_dir) / config.save_model_path
        self.folder = root / time.strftime(TIME, time.localtime(state.began))
        self._state, self._rates, self._interval = state, rates, config.ckpt_interval
        writes = common.distributed.is_main() or not config.is_save_on_master
        self._keep = config.keep_checkpoint_max if writes else 0
        if self._keep:
            _make(root)
            files.remove_unfinished(self.folder)

    def step(self, number: int, losses: Losses) -> None:
        """The step of this number, counted from 0, is done; nothing is written where its losses are not finite."""
        done = number + 1
        if self._keep and done % self._interval == 0 and bool(torch.stack([*losses.values()]).isfinite().all()):
            self._write(done)

    def finish(self) -> None:
        """The training is over: its last steps are kept, too, also where a run before was killed meanwhile."""
        done = self._state.epoch * self._state.plan.steps_per_epoch
        if self._keep and done and not self._path(done).is_file():
            self._write(done)

    def _path(self, done: int) -> Path:
        return self.folder / f"{common.distributed.rank()}-{-(-done // self._state.plan.steps_per_epoch)}_{done}.ckpt"

    def _write(self, done: int) -> None:
        content = entries(self._state, done, self._rates)
        mindspore_checkpoint.write(self._path(done), content, summed=True)
        own = re.compile(rf"{common.distributed.rank()}-\d+_(\d+)\.ckpt")
        steps = sorted(int(match[1]) for path in self.folder.iterdir() if (match := own.fullmatch(path.name)))
        for old in steps[: -self._keep]:
            self._path(old).unlink(missing_ok=True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; name another folder with --save_model_path") from error
