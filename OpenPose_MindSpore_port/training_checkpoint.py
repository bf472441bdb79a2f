# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as the published training leaves them: `<folder>/<time>/<rank>-<epoch>_<step>.ckpt`.

They hold what MindSpore's do, under its names: weights, the optimiser's moments, step and learning rates. What a
resumed run needs beside that (random states, the place in the data) is in last.pth, see common.train.state.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import common.distributed
from common import files
from common.arrays import Float32Array
from common.train.loop import Losses
from common.train.state import TrainState
from OpenPose_MindSpore_port import mindspore_checkpoint
from OpenPose_MindSpore_port.config import Config
from OpenPose_MindSpore_port.mindspore_checkpoint import NETWORK
from OpenPose_MindSpore_port.optimizer import BETAS

import torch
from torch import Tensor

TIME = "%Y-%m-%d_time_%H_%M_%S"
# what torch's optimisers keep of a weight -> what stands before its name
MOMENTS = {"exp_avg": "moment1.", "exp_avg_sq": "moment2.", "momentum_buffer": "moments."}


def entries(state: TrainState, steps: int, rates: Mapping[str, Float32Array]) -> dict[str, Tensor]:
    """The content of a training checkpoint after `steps`, in MindSpore's order."""
    model, kept = state.model, state.optimizer.state
    content = {NETWORK + name: tensor for name, tensor in model.state_dict().items()}
    content["global_step"] = torch.tensor([steps], dtype=torch.int32)
    moments = {NETWORK + name: kept.get(weight, {}) for name, weight in model.named_parameters()}
    if any("exp_avg" in of_weight for of_weight in moments.values()):
        powers = torch.tensor(BETAS, dtype=torch.float64) ** steps
        content |= {"beta1_power": powers[0].float(), "beta2_power": powers[1].float()}
    for key, before in MOMENTS.items():
        content |= {before + name: of_weight[key] for name, of_weight in moments.items() if key in of_weight}
    groups = [torch.from_numpy(rates[group["name"]]) for group in state.optimizer.param_groups]
    if len(groups) == 1:
        return content | {"learning_rate": groups[0]}
    return content | {f"learning_rate_group_{number}": values for number, values in enumerate(groups)}


class TrainingCheckpoints:
    """Rank 0 writes one every `ckpt_interval` steps and one at the end; the newest `keep_checkpoint_max` stay."""

    def __init__(self, state: TrainState, rates: Mapping[str, Float32Array], config: Config) -> None:
        """Raises OSError where the folder cannot be made: the first checkpoint is hours away."""
        root = Path(config.output_dir) / config.save_model_path
        self.folder = root / time.strftime(TIME, time.localtime(state.began))
        self._state, self._rates, self._interval = state, rates, config.ckpt_interval
        self._keep = config.keep_checkpoint_max if common.distributed.is_main() else 0
        if self._keep:
            root.mkdir(parents=True, exist_ok=True)
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
        return self.folder / f"0-{-(-done // self._state.plan.steps_per_epoch)}_{done}.ckpt"

    def _write(self, done: int) -> None:
        mindspore_checkpoint.write(self._path(done), entries(self._state, done, self._rates))
        steps = sorted(int(path.stem.rpartition("_")[2]) for path in self.folder.glob("0-*_*.ckpt"))
        for old in steps[: -self._keep]:
            self._path(old).unlink(missing_ok=True)
