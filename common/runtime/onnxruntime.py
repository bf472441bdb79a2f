# SPDX-License-Identifier: Apache-2.0
"""Networks in ONNX files, run by ONNX Runtime on the requested provider, never silently on another."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common.device
from common.arrays import Float32Array
from common.cli import UserError
from common.runtime import openvino
from common.runtime.session import TYPE_NAMES, Options, Port, Session, missing, refusal

OF_DEVICE = {"cpu": "cpu", "cuda": "cuda", "npu": "cann"}
PROVIDERS = {  # and the packages that have them
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu and TensorRT"),
    "cann": ("CANNExecutionProvider", "onnxruntime-cann"),
}
ONLY_ERRORS = 3  # a warning of ONNX Runtime names its own source lines


def open_onnx(source: Path, options: Options) -> Session:
    """A session of ONNX Runtime; of OpenVINO itself for the provider `openvino`.

    Raises UserError for a file that is not a network, a missing provider, or a precision that the file fixes.
    """
    if options.provider == "openvino":
        return openvino.open_openvino(source, options)
    try:
        import onnxruntime
    except ImportError as error:
        raise missing(error, source) from error
    provider: str = options.provider
    if provider == "auto":
        provider = OF_DEVICE[common.device.resolve(options.device, options.device_id).type]
    name, package = PROVIDERS[provider]
    if name not in onnxruntime.get_available_providers():
        raise UserError(f"--provider={provider}: ONNX Runtime lacks it, pip install {package}")
    if options.dtype is not None and provider != "tensorrt":
        raise UserError(f"{source}: ONNX Runtime computes in the file's own precision; leave --amp out")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.cpu_threads
    settings.log_severity_level = ONLY_ERRORS
    try:
        providers = [(name, _provider_settings(provider, options, source))]
        session = onnxruntime.InferenceSession(str(source), settings, providers=providers)
    except Exception as error:  # its exceptions have no common class
        raise refusal(source, error) from error
    if (found := session.get_providers()[0]) != name:
        raise UserError(f"--provider={provider}: ONNX Runtime fell back to {found}; is its driver installed?")
    names = [entry.name for entry in session.get_inputs()]

    def forward(arrays: Sequence[Float32Array]) -> list[Float32Array]:
        outputs: list[Float32Array] = session.run(None, dict(zip(names, arrays, strict=True)))
        return outputs

    inputs, outputs = (tuple(map(_port, entries)) for entries in (session.get_inputs(), session.get_outputs()))
    threads = f", {options.cpu_threads} threads" if provider == "cpu" else ""
    runtime = f"ONNX Runtime {onnxruntime.__version__}, {provider}{threads}, {TYPE_NAMES[options.dtype]}"
    return Session(str(source), runtime, forward, inputs, outputs)


def _provider_settings(provider: str, options: Options, source: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {} if provider == "cpu" else {"device_id": options.device_id}
    if provider == "tensorrt":
        settings["trt_fp16_enable"] = options.dtype is not None
        if os.access(source.parent, os.W_OK):  # building an engine takes minutes
            settings |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(source.parent / ".tensorrt")}
    return settings


def _port(entry: Any) -> Port:
    return Port(entry.name, tuple(length if isinstance(length, int) else None for length in entry.shape))
