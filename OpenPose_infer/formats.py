# SPDX-License-Identifier: Apache-2.0
"""The formats in which a network can run here, each with the reason where it cannot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from common.cli import UserError
from common.runtime.session import Options, Provider, Session
from common.skeleton import Skeleton
from Lightweight_OpenPose import predict

import torch

REFERENCE = "PyTorch float32"
CHECKPOINT, FLOAT, INT8, ASCEND = "checkpoint", "float32 ONNX", "int8 ONNX", "om"


@dataclass(frozen=True)
class Format:
    """A runtime and a precision, and which of the files it reads."""

    file: str
    provider: Provider = "auto"  # of an ONNX file
    dtype: torch.dtype | None = None


FORMATS: dict[str, Format] = {
    REFERENCE: Format(CHECKPOINT),
    "PyTorch bfloat16": Format(CHECKPOINT, dtype=torch.bfloat16),
    "ONNX Runtime float32": Format(FLOAT),
    "ONNX Runtime int8": Format(INT8, "cpu"),
    "OpenVINO float32": Format(FLOAT, "openvino"),
    "OpenVINO bfloat16": Format(FLOAT, "openvino", torch.bfloat16),
    "OpenVINO int8": Format(INT8, "openvino"),
    "TensorRT float32": Format(FLOAT, "tensorrt"),
    "TensorRT float16": Format(FLOAT, "tensorrt", torch.float16),
    "OM": Format(ASCEND),
}


@dataclass(frozen=True)
class Files:
    """Where the network of each kind of file lies, and why others are not there."""

    paths: Mapping[str, Path]
    missing: Mapping[str, str]


def chosen(words: tuple[str, ...]) -> list[str]:
    """The formats that `--formats` means: parts of their names; none: all. The reference is always there.

    Raises UserError for a word that is in no name.
    """
    for word in words:
        if not any(word.lower() in name.lower() for name in FORMATS):
            raise UserError(f"--formats={word}: in none of the names {', '.join(FORMATS)}")
    wanted = [name for name in FORMATS if any(word.lower() in name.lower() for word in words)]
    return [name for name in FORMATS if not words or name in wanted or name == REFERENCE]


def open_formats(
    names: list[str], files: Files, options: Options, skeleton: Skeleton, try_out: Callable[[Session], None]
) -> tuple[dict[str, Session], dict[str, str]]:
    """A session of each format that works here, and the reasons of the others. `try_out` calls a session once."""
    sessions, absent = {}, {}
    for name in names:
        entry = FORMATS[name]
        if entry.file not in files.paths:
            absent[name] = files.missing[entry.file]
            continue
        try:
            wanted = replace(options, provider=entry.provider, dtype=entry.dtype)
            session = predict.open_session(files.paths[entry.file], wanted, skeleton)
            try_out(session)
            sessions[name] = session
        except (UserError, RuntimeError) as error:
            if name == REFERENCE:
                raise
            absent[name] = f"not here: {str(error).splitlines()[0]}"
    return sessions, absent
