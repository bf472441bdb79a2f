# SPDX-License-Identifier: Apache-2.0
"""Runs one of the project's programs so that NPU and CPU can be compared: `python ci/npu_program.py MODULE --flag=…`

Rounding depends on the memory format of a convolution's input and on the kernels of an optimiser, so both sides get the
NPU's. The simulated NPU leaves two things out, which are done here. NPU_CHECK_STOP_AFTER=n sends the program a SIGTERM
during its n-th training step.
"""

import os
import runpy
import signal
import sys
from typing import Any

import common.device
from common.cli import UserError
from Lightweight_OpenPose import data

import torch
from torch import Tensor, nn
from torch.nn import functional


def same_memory_format() -> None:
    """Convolutions of a CPU run see rows after rows, as those of an NPU do, not channels last."""
    common.device.memory_format = lambda device: torch.contiguous_format
    forward = nn.Conv2d.forward
    nn.Conv2d.forward = lambda layer, features: forward(layer, features.contiguous())


def complete_simulation() -> None:
    """Running statistics are written, though the operator's schema hides it; casts in inference mode go through
    an operator of CANN that is not simulated, and without inference mode they do not."""
    plain = functional.batch_norm

    def batch_norm(
        features: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, training: bool, *numbers: Any
    ) -> Tensor:
        if training:
            on_cpu = mean.cpu(), variance.cpu()
            plain(features.detach().cpu(), *on_cpu, None, None, True, *numbers)
            mean.copy_(on_cpu[0])
            variance.copy_(on_cpu[1])
        return plain(features, mean, variance, weight, bias, training, *numbers)

    functional.batch_norm = batch_norm
    torch.inference_mode = torch.no_grad


def stop_during(step: int) -> None:
    """Sends SIGTERM in the step of this number, counted from 1: the step is finished, saved, and the program ends."""
    normalise, calls = data.normalise, iter(range(1, step + 1))

    def counted(images: Tensor) -> Tensor:
        if next(calls, 0) == step:
            signal.raise_signal(signal.SIGTERM)
        return normalise(images)

    data.normalise = counted


def main() -> None:
    """Prepares, then becomes the program."""
    if len(sys.argv) < 2:
        raise UserError("name a module, as in: python ci/npu_program.py Lightweight_OpenPose.train --device=npu")
    same_memory_format()
    if "npumath" in sys.modules:  # the simulated NPU's arithmetic
        complete_simulation()
    if step := int(os.environ.get("NPU_CHECK_STOP_AFTER", "0")):
        stop_during(step)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    common.cli.run(main)
