# SPDX-License-Identifier: Apache-2.0
"""A PyTorch network as ONNX, kept only when ONNX Runtime gives the same outputs."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.cli import UserError
from common.runtime import metadata
from common.runtime.onnxruntime import open_onnx
from common.runtime.session import Options, of_module

import numpy as np
import torch
from torch import Tensor, nn

OPSETS = range(9, 21)  # that torch writes through TorchScript; its newer exporter always writes 18
TOLERANCE = 1e-4  # part of an output's largest value


@dataclass(frozen=True)
class Ports:
    """The names of a network's inputs and outputs, and of those of their axes that may have any length."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    free_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # input or output -> {axis: name}


def check_opset(opset: int) -> None:
    """Raises UserError for an operator set that cannot be written."""
    if opset not in OPSETS:
        raise UserError(f"--opset={opset}: choose {OPSETS[0]} to {OPSETS[-1]}")


def export_onnx(
    model: nn.Module,
    target: Path,
    opset: int,
    ports: Ports,
    trials: Sequence[tuple[Tensor, ...]],
    about: Mapping[str, Any] = {},
) -> float:
    """Writes `target`; an older file stays unless the new one passed every check.

    `trials`: inputs on which both are compared, the first one is traced. `about`: the file's metadata, see
    `common.runtime.metadata`. Returns the largest difference to PyTorch as a part of an output's largest value. Raises
    UserError where that is above 1e-4, this operator set cannot express the network, the file cannot be written, or
    onnx or onnxruntime is missing.
    """
    try:
        import onnx  # needed by exports only

        with metadata.replacing(target) as written:
            _write(model.eval(), written, opset, ports, trials[0])
            onnx.checker.check_model(str(written), full_check=True)
            difference = _difference(written, model, trials)
            if not difference <= TOLERANCE:  # also where it is NaN
                by = f"{difference:.1e} of an output's maximum, more than {TOLERANCE:.0e}: try another --opset"
                raise UserError(f"{target}: not written, ONNX Runtime differs from PyTorch by {by}")
            metadata.write(written, about)
    except ImportError as error:
        raise UserError(f"{error.name} is needed to export: pip install onnx onnxruntime") from error
    return difference


def _write(model: nn.Module, path: Path, opset: int, ports: Ports, inputs: tuple[Tensor, ...]) -> None:
    with warnings.catch_warnings():  # the newer exporter, which torch recommends, cannot write opset 11
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript-based ONNX export", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning, module="torch.onnx")
        axes = {name: dict(free) for name, free in ports.free_axes.items()}
        try:
            torch.onnx.export(
                model,
                inputs,
                str(path),
                dynamo=False,
                opset_version=opset,
                input_names=list(ports.inputs),
                output_names=list(ports.outputs),
                dynamic_axes=axes,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = " ".join(str(error).split())[:150]
            raise UserError(f"--opset={opset} cannot express this network ({reason}); try a higher one") from error


def _difference(written: Path, model: nn.Module, trials: Sequence[tuple[Tensor, ...]]) -> float:
    """The largest between ONNX Runtime and PyTorch, as a part of an output's largest value; NaN where they differ."""
    plain, exported = of_module(model, torch.device("cpu"), None), open_onnx(written, Options("cpu"))
    differences = []
    for inputs in trials:
        arrays = [tensor.numpy() for tensor in inputs]
        for ours, theirs in zip(plain(*arrays), exported(*arrays), strict=True):
            fits = ours.shape == theirs.shape
            differences.append(np.abs(ours - theirs).max() / np.abs(ours).max() if fits else np.nan)
    return float(np.max(differences))
