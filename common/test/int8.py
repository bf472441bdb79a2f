# SPDX-License-Identifier: Apache-2.0
"""INT8 networks whose times are measured: all layers but the heads in 8 bits, whatever that does to what they find."""

from collections.abc import Iterable
from pathlib import Path

from common import qdq
from common.qdq import Inputs


def quantised(source: Path, inputs: Iterable[Inputs]) -> Path:
    """`source` in 8 bits, beside it; ranges are those of `inputs`, one call's arrays after the other."""
    target = source.with_name(f"{source.stem}_int8.onnx")
    prepared = source.with_name(f"{source.stem}_prepared.onnx")
    network = qdq.prepare(source, prepared)
    ranges = qdq.measure_ranges(prepared, inputs, "minmax", source.parent)
    qdq.quantise(network, ranges, qdq.everything_but_heads(network), target, narrow_weights=False)
    return target
