# SPDX-License-Identifier: Apache-2.0
"""Networks in ONNX files, run by ONNX Runtime on the provider that was asked for and never on another in silence."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common.device
from common.arrays import Float32Array
from common.cli import UserError
from common.runtime.session import TYPE_NAMES, Options, Port, Session, missing, refusal

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cann": "CANNExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu and TensorRT",
    "cann": "onnxruntime-cann",
    "openvino": "onnxruntime-openvino",
}
ONLY_ERRORS = 3  # a warning of ONNX Runtime names its own source lines


def open_onnx(source: Path, options: Options) -> Session:
    """A session of ONNX Runtime; `openvino` falls to OpenVINO itself where ONNX Runtime's provider is not installed.

    Raises UserError for a file that is no network, a provider that is not there, or a precision the file decides.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing(error, source) from error
    provider = options.provider if options.provider != "auto" else _provider_of_device(options)
    available = onnxruntime.get_available_providers()
    if provider == "openvino" and PROVIDERS[provider] not in available:
        from common.runtime import openvino

        return openvino.open_openvino(source, options)
    if PROVIDERS[provider] not in available:
        raise UserError(f"--provider={provider}: ONNX Runtime lacks it, pip install {PACKAGES[provider]}")
    if options.dtype is not None and provider != "tensorrt":
        raise UserError(f"{source}: ONNX Runtime computes in the file's own precision; leave --amp out")
    session = _session(onnxruntime, source, provider, options)
    names = [entry.name for entry in session.get_inputs()]

    def forward(arrays: Sequence[Float32Array]) -> list[Float32Array]:
        outputs: list[Float32Array] = session.run(None, dict(zip(names, arrays, strict=True)))
        return outputs

    inputs, outputs = (tuple(map(_port, entries)) for entries in (session.get_inputs(), session.get_outputs()))
    threads = f", {options.cpu_threads} threads" if provider == "cpu" else ""
    runtime = f"ONNX Runtime {onnxruntime.__version__}, {provider}{threads}, {TYPE_NAMES[options.dtype]}"
    return Session(str(source), runtime, forward, inputs, outputs)


def _provider_of_device(options: Options) -> str:
    kind = common.device.resolve(options.device, options.device_id).type
    return {"cpu": "cpu", "cuda": "cuda", "npu": "cann"}[kind]


def _session(onnxruntime: Any, source: Path, provider: str, options: Options) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.cpu_threads
    settings.log_severity_level = ONLY_ERRORS
    providers: list[Any] = [(PROVIDERS[provider], _provider_settings(provider, options, source))]
    try:
        session = onnxruntime.InferenceSession(str(source), settings, providers=providers)
    except Exception as error:  # its exceptions have no common class
        raise refusal(source, error, "export the network again") from error
    if (found := session.get_providers()[0]) != PROVIDERS[provider]:
        raise UserError(f"--provider={provider}: ONNX Runtime fell back to {found}; is its driver installed?")
    return session


def _provider_settings(provider: str, options: Options, source: Path) -> dict[str, Any]:
    if provider in ("cpu", "openvino"):
        return {}
    settings: dict[str, Any] = {"device_id": options.device_id}
    if provider == "tensorrt":
        settings["trt_fp16_enable"] = options.dtype is not None
        if os.access(source.parent, os.W_OK):  # to build an engine takes minutes
            settings |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(source.parent / ".tensorrt")}
    return settings


def _port(entry: Any) -> Port:
    return Port(entry.name, tuple(length if isinstance(length, int) else None for length in entry.shape))
