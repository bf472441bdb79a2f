# SPDX-License-Identifier: Apache-2.0
"""The `PoseEstimator` of any model directory, opened by one word: `Directory:file`."""

import importlib
import shlex
from dataclasses import dataclass
from typing import Any

import common.device
from common.cli import UserError
from common.device import DeviceName
from common.media.detectors import open_detector

BOTTOM_UP = ("Lightweight_OpenPose", "OpenPose_MindSpore_port")
TOP_DOWN = ("AlphaPose", "MIPNet")


@dataclass(frozen=True)
class Spec:
    """What to open: a model directory, a file of weights, and the detector of a top-down network."""

    directory: str
    file: str
    device: DeviceName = "auto"
    detector: str = ""

    @classmethod
    def of(cls, words: str, device: DeviceName = "auto", detector: str = "") -> "Spec":
        """From `Directory:file`. Raises UserError."""
        directory, colon, file = words.partition(":")
        if not (colon and file and directory in (*BOTTOM_UP, *TOP_DOWN)):
            raise UserError(f"--model={words}: Directory:file, the directory one of {', '.join(BOTTOM_UP + TOP_DOWN)}")
        return cls(directory, file, device, detector)

    @property
    def command(self) -> str:
        """The command that finds the same people in an image."""
        detector = f" --detector={shlex.quote(self.detector)}" if self.detector and self.directory in TOP_DOWN else ""
        return f"python -m {self.directory}.demo --checkpoint_path={shlex.quote(self.file)}{detector}"


def open_estimator(spec: Spec, **settings: Any) -> Any:
    """`settings`: further ones of the directory. UserError where the file is missing, damaged, of another network."""
    maker = importlib.import_module(spec.directory).PoseEstimator
    if spec.detector and spec.directory in TOP_DOWN:
        device = common.device.resolve(spec.device)
        settings["detector"] = open_detector(spec.detector, None, device)
    return maker(spec.file, spec.device, **settings)
