# SPDX-License-Identifier: Apache-2.0
"""A network in any format behind one call: `.pth` (PyTorch), `.onnx`, `.xml` (OpenVINO), `.om` (Ascend).

    session = open_network(Path("pose.onnx"), Options(), load=...)
    heatmaps, pafs = session(images)

A runtime is imported only when a file needs it.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import common.device
from common.arrays import Float32Array
from common.cli import UserError, flag
from common.device import AmpLevel, AmpType, DeviceName

import numpy as np
import torch
from torch import Tensor, nn

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "cann", "openvino"]
PYTORCH, ONNX, OPENVINO, ASCEND = (".pth", ".pt", ".tar"), (".onnx",), (".xml",), (".om",)
OPENERS = {".onnx": ("onnxruntime", "open_onnx"), ".xml": ("openvino", "open_openvino"), ".om": ("ascend", "open_om")}
TYPE_NAMES = {None: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
CURE = "export the network again"


@dataclass(frozen=True)
class Options:
    """Where and how precisely a network computes."""

    device: DeviceName = "auto"
    device_id: int = 0
    provider: Provider = "auto"  # of ONNX Runtime; auto: that of the device
    dtype: torch.dtype | None = None  # of the arithmetic; None: float32
    threads: int = 0  # of a CPU; 0: as many as PyTorch uses

    @classmethod
    def of(cls, asked: "Options | str | None") -> "Options":
        """The given options, or those of a device by name; None: the defaults. Raises UserError."""
        if isinstance(asked, Options):
            return asked
        if asked is not None and asked not in get_args(DeviceName):
            raise UserError(f"options={asked!r}: Options, or a device: {', '.join(get_args(DeviceName))}")
        return cls() if asked is None else cls(cast(DeviceName, asked))

    @property
    def cpu_threads(self) -> int:
        """Threads that compute on a CPU."""
        return self.threads or torch.get_num_threads()


@dataclass(frozen=True)
class ComputeFlags:
    """The flags of programs that run a network: where, and how precisely."""

    device: DeviceName = flag("where to compute", "auto")
    provider: Provider = flag("execution provider of ONNX Runtime; auto: that of the device", "auto")
    amp: AmpLevel = flag("precision level", "O0")
    amp_type: AmpType = flag("16-bit type of O1; auto: float16, on a CPU bfloat16", "auto")

    def options(self, device: torch.device, device_id: int = 0, threads: int = 0) -> Options:
        """The options for `device`."""
        dtype = common.device.amp_type(device, self.amp, self.amp_type)
        return Options(self.device, device_id, self.provider, dtype, threads)


@dataclass(frozen=True)
class Port:
    """An input or output of a network: its name, and its shape with None where any length goes."""

    name: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} is {' x '.join(str(length or 'any') for length in self.shape)}"

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape fits."""
        same_axes = len(self.shape) == len(shape)
        return same_axes and all(own in (None, length) for own, length in zip(self.shape, shape, strict=True))


@dataclass(frozen=True)
class Session:
    """A network ready to run: call it with a float32 array for each input, one call at a time.

    `inputs` and `outputs` are empty where the format does not say (a `.pth`).
    """

    source: str
    runtime: str  # as reports name it: runtime, its version, device, precision
    forward: Callable[[Sequence[Float32Array]], list[Float32Array]]
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    close: Callable[[], None] = field(default=lambda: None)

    def __call__(self, *arrays: Float32Array) -> list[Float32Array]:
        """One array an output, float32, as the network gives them. Raises UserError for shapes that do not fit."""
        for port, array in zip(self.inputs, arrays, strict=True) if self.inputs else ():
            if not port.fits(array.shape):
                raise UserError(f"{self.source}: input {port}, got {' x '.join(map(str, array.shape))}")
        return self.forward(arrays)

    def filled(self, *arrays: Float32Array) -> list[Float32Array]:
        """A call with fewer items than a fixed batch has: it is filled up with the last one, and cut again."""
        count = len(arrays[0])
        missing = max(0, (self.fixed_batch or 0) - count)
        outputs = self(*(np.concatenate([array, *[array[-1:]] * missing]) for array in arrays))
        return [output[:count] for output in outputs]

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) that images must have, None for any."""
        shape = self.inputs[0].shape if self.inputs else ()
        height, width = shape[-2:] if len(shape) > 2 else (None, None)
        return None if height is None or width is None else (height, width)

    @property
    def fixed_batch(self) -> int | None:
        """How many items a call must have, None for any."""
        return self.inputs[0].shape[0] if self.inputs else None


def open_network(source: Path, options: Options, load: Callable[[Path], nn.Module]) -> Session:
    """A session of the runtime that the file's name selects; `load` makes the network of a PyTorch checkpoint.

    Raises UserError for a missing or broken file, a format without runtime here, a device that is not there.
    """
    if not source.is_file() and source.suffix not in PYTORCH:  # a checkpoint may have a published name instead
        raise UserError(f"{source}: no such file")
    if source.suffix in OPENERS:
        module, name = OPENERS[source.suffix]
        opened: Session = getattr(importlib.import_module(f"common.runtime.{module}"), name)(source, options)
        return opened
    device = common.device.resolve(options.device, options.device_id)
    return of_module(load(source), device, options.dtype, str(source))


def of_module(network: nn.Module, device: torch.device, dtype: torch.dtype | None, source: str = "network") -> Session:
    """A session of a PyTorch network in evaluation mode, moved to the device."""
    network = common.device.move(network.eval(), device)

    def forward(arrays: Sequence[Float32Array]) -> list[Float32Array]:
        inputs = [torch.from_numpy(array).to(device, non_blocking=True) for array in arrays]
        with torch.inference_mode(), common.device.autocast(device, dtype):
            outputs = network(*inputs)
        tensors = [outputs] if isinstance(outputs, Tensor) else outputs
        return [tensor.float().cpu().contiguous().numpy() for tensor in tensors]

    name = f"PyTorch {torch.__version__}, {common.device.describe(device)}, {TYPE_NAMES[dtype]}"
    return Session(source, name, forward)


def missing(error: ImportError, source: Path) -> UserError:
    """The error for a runtime that is not installed: how to install it."""
    return UserError(f"{source} needs the Python package {error.name}: pip install {error.name}")


def refusal(source: Path, error: Exception, cure: str = CURE) -> UserError:
    """The error for a file that a runtime does not take, with the first line of its reason."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line for line in lines if line and not line.startswith("Exception from")]  # OpenVINO's own places
    return UserError(f"{source}: {(reasons or [type(error).__name__])[0][:200]}; {cure}")
