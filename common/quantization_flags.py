# SPDX-License-Identifier: Apache-2.0
"""The flags that every program has which quantises a network."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import qdq
from common.cli import UserError, flag
from common.sensitivity import Bounds


@dataclass(frozen=True)
class Flags:
    """What every program that quantises asks; a directory adds its own, and other defaults."""

    model: str = flag("the float32 network, .onnx", "")
    output_name: str = flag("file to write; empty: <model>_int8.onnx", "")
    calibration_method: Literal["minmax", "percentile", "auto"] = flag(
        "how ranges follow from the values seen; auto: both are tried before layers go back to float32", "minmax"
    )
    percentile: float = flag(
        "of the values seen that a range holds, for that method", qdq.PERCENTILE, above=50, most=100
    )
    max_ap_drop: float = flag("refuse where AP falls by more", 0.01, most=1)
    min_int8_share: float = flag("refuse where a smaller part of the multiplications would be in INT8", 0.5, most=1)
    max_group_difference: float = flag(
        "a group of layers stays float32 if alone in INT8 its mean difference is more, part of the maps' maximum", 0.003
    )
    max_peaks_lost: float = flag("or if it loses a larger part of the heatmaps' peaks", 0.1)
    narrow_weights: bool = flag("weights of 7 bits: for x86 without VNNI, where ONNX Runtime's sums overflow", False)
    openvino_xml: bool = flag("write the network as .xml and .bin of OpenVINO, too", False)
    threads: int = flag("of a runtime; 0: as many as PyTorch uses", 0, most=1024)

    def check_flags(self, exporter: str) -> None:
        """Raises UserError where values cannot be meant; `exporter` is the program that writes a `model`."""
        for condition, message in (
            (self.model, f"--model is needed: the .onnx that {exporter} writes"),
            (Path(self.model).suffix == ".onnx", f"--model={self.model}: give an .onnx, see {exporter}"),
            (Path(self.model).is_file(), f"{self.model}: no such file; {exporter} writes it"),
            (self.target.suffix == ".onnx", f"--output_name={self.target}: must end in .onnx"),
            (self.target.resolve() != Path(self.model).resolve(), "--output_name must not be the file of --model"),
            (not self.openvino_xml or importlib.util.find_spec("openvino"),
             "--openvino_xml needs the Python package openvino: pip install openvino"),
        ):  # fmt: skip
            if not condition:
                raise UserError(message)

    @property
    def source(self) -> Path:
        """The float32 network."""
        return Path(self.model)

    @property
    def target(self) -> Path:
        """The file to write."""
        return Path(self.output_name) if self.output_name else self.source.parent / f"{self.source.stem}_int8.onnx"

    @property
    def methods(self) -> list[qdq.Method]:
        """Ways to find ranges, in the order in which they are tried."""
        return ["minmax", "percentile"] if self.calibration_method == "auto" else [self.calibration_method]

    @property
    def bounds(self) -> Bounds:
        """Of a group of layers."""
        return Bounds(self.max_group_difference, self.max_peaks_lost)
