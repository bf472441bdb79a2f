# SPDX-License-Identifier: Apache-2.0
"""Networks in OpenVINO's format (`.xml` beside its `.bin`), and ONNX files that OpenVINO reads itself."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from common.arrays import Float32Array
from common.cli import UserError
from common.runtime.session import CURE, TYPE_NAMES, Options, Port, Session, missing, refusal

import numpy as np

NETWORK_TAG, BEGINNING = b"<net", 100  # bytes in which it is; other files make OpenVINO's readers write to the terminal
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def open_openvino(source: Path, options: Options) -> Session:
    """A session of OpenVINO on the CPU. Raises UserError for a file that it does not read."""
    try:
        import openvino
    except ImportError as error:
        raise missing(error, source) from error
    if source.suffix == ".xml" and not (
        source.with_suffix(".bin").is_file() and NETWORK_TAG in source.read_bytes()[:BEGINNING]
    ):
        raise UserError(f"{source} is no network of OpenVINO with its {source.stem}.bin beside it: {CURE}")
    openvino_core, precision = core(), TYPE_NAMES[options.dtype]
    settings = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],  # without it bfloat16 where the processor has it
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": options.cpu_threads,
    }
    try:
        network = openvino_core.compile_model(openvino_core.read_model(source), "CPU", settings)
    except Exception as error:  # RuntimeError, and OpenVINO's own
        raise refusal(source, error) from error
    request = network.create_infer_request()

    def forward(arrays: Sequence[Float32Array]) -> list[Float32Array]:
        found = request.infer(dict(enumerate(arrays)), share_inputs=True)
        return [np.array(found[port], np.float32) for port in network.outputs]

    inputs, outputs = (tuple(map(_port, entries)) for entries in (network.inputs, network.outputs))
    version = openvino.__version__.split("-")[0]
    runtime = f"OpenVINO {version}, cpu, {options.cpu_threads} threads, {precision}"
    return Session(str(source), runtime, forward, inputs, outputs)


@cache
def core() -> Any:
    """OpenVINO itself, the only one of the process: with two, a signal after they are freed would end the process.

    Each brings a stack for signal handlers (OpenVINO's pull request 11894) and restores the previous one.
    """
    import openvino

    return openvino.Core()


def _port(entry: Any) -> Port:
    lengths = entry.get_partial_shape()
    return Port(entry.get_any_name(), tuple(None if part.is_dynamic else part.get_length() for part in lengths))
