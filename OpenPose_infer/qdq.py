# SPDX-License-Identifier: Apache-2.0
"""8-bit arithmetic in an ONNX file: a plain network, ranges of its values, and the same network with QDQ nodes.

The work is ONNX Runtime's (`onnxruntime.quantization`): activations unsigned, weights signed with a scale a channel.
The ranges are measured once, then any set of layers is quantised from them in a second. One such file serves ONNX
Runtime and OpenVINO.
"""

import contextlib
import copy
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.cli import UserError
from common.session import Array, missing, refusal
from Lightweight_OpenPose.model import STRIDE

if TYPE_CHECKING:  # onnx and onnxruntime are imported where they are used: not everybody has them
    from onnx import ModelProto, NodeProto

Method = Literal["minmax", "percentile"]
METHODS = {"minmax": "MinMax", "percentile": "Percentile"}  # as ONNX Runtime names them
LOWEST_OPSET = 13  # the first with a scale a channel
# No Concat: its 8 bits would reach the heads that it joins, and ONNX Runtime turns a float32 convolution between 8-bit
# values into an 8-bit one.
QUANTISED = ("Conv", "Add", "Relu")
SETTINGS = {"num_bins": 2048, "percentile": 99.99}  # ONNX Runtime's 128 bins are coarser than the 256 steps of 8 bits


def check_installed(source: Path) -> None:
    """Raises UserError where a package is missing that quantises `source`."""
    try:
        import onnx  # noqa: F401
        import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        raise missing(error, source, "infer") from error


def load(path: Path) -> "ModelProto":
    """A network in a file that is known to be one."""
    import onnx

    return onnx.load(path)


def prepare(source: Path, target: Path) -> "ModelProto":
    """Writes `source` into `target` as quantisation needs it, and returns it: operator set 13, constants folded.

    Raises UserError for a file that is no network, or is quantised already.
    """
    from onnx import version_converter
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        network = load(source)
        if any(entry.version < LOWEST_OPSET for entry in network.opset_import if not entry.domain):
            network = version_converter.convert_version(network, LOWEST_OPSET)
        quant_pre_process(network, target, skip_symbolic_shape=True)
    except Exception as error:  # onnx and onnxruntime have no common class
        raise refusal(source, error, "export the network again, with --opset=13") from error
    prepared = load(target)
    if any(node.op_type in ("QuantizeLinear", "QLinearConv") for node in prepared.graph.node):
        raise UserError(f"{source}: is quantised already; give the float32 network")
    if not convolutions(prepared):
        raise UserError(f"{source}: has no convolution; export Lightweight OpenPose with OpenPose_pth2onnx.py")
    return prepared


def convolutions(network: "ModelProto") -> "list[NodeProto]":
    """The convolutions in the order of computation."""
    return [node for node in network.graph.node if node.op_type == "Conv"]


def heads(network: "ModelProto") -> list[str]:
    """The convolutions that give the network's outputs: nothing but nodes of one input may stand between."""
    makers = {name: node for node in network.graph.node for name in node.output}
    found = []
    for output in network.graph.output:
        node = makers.get(output.name)
        while node is not None and node.op_type != "Conv":
            node = makers.get(node.input[0]) if node.input else None
        found += [node.name] if node is not None else []
    return found


class _OneImage:
    """Hands one input out, then nothing: what ONNX Runtime calls a CalibrationDataReader."""

    def __init__(self, feed: dict[str, Array]) -> None:
        self._feed: dict[str, Array] | None = feed

    def get_next(self) -> dict[str, Array] | None:
        feed, self._feed = self._feed, None
        return feed


def measure_ranges(prepared: Path, inputs: Iterable[Array], method: Method, folder: Path) -> Any:
    """The range of every value of a network over `inputs`, (3, H, W) float32 each; memory for one of them."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    name, kind = load(prepared).graph.input[0].name, CalibrationMethod[METHODS[method]]
    augmented = str(folder / "augmented.onnx")
    with contextlib.redirect_stdout(io.StringIO()):  # ONNX Runtime reports its progress there
        calibrator = create_calibrator(prepared, None, augmented, kind, extra_options=SETTINGS)
        for array in inputs:
            calibrator.collect_data(_OneImage({name: array[None]}))
        return calibrator.compute_data()


def quantise(prepared: "ModelProto", ranges: Any, nodes: Iterable[str], target: Path, narrow_weights: bool) -> None:
    """Writes `target`: `prepared` with the named nodes in 8 bits. `narrow_weights`: 7 bits of a weight are used."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    network = copy.deepcopy(prepared)  # the quantiser changes it
    quantizer = QDQQuantizer(
        network, per_channel=True, reduce_range=narrow_weights, weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8, tensors_range=ranges, nodes_to_quantize=list(nodes), nodes_to_exclude=[],
        op_types_to_quantize=list(QUANTISED), extra_options={},
    )  # fmt: skip
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(target), False)


def float_convolutions(network: "ModelProto") -> list[str]:
    """The convolutions of a quantised network that compute in float32: their weights do not come from 8 bits."""
    integers = {
        name for node in network.graph.node if node.op_type == "DequantizeLinear" for name in node.output
    }  # fmt: skip
    return [node.name for node in convolutions(network) if node.input[1] not in integers]


def multiplications(network: "ModelProto", size_in: tuple[int, int]) -> dict[str, int]:
    """How many multiplications each convolution needs for one image of `size_in` (height, width)."""
    from onnx import shape_inference

    fixed = copy.deepcopy(network)
    del fixed.graph.value_info[:]
    for axis, length in zip(fixed.graph.input[0].type.tensor_type.shape.dim, (1, 3, *size_in), strict=True):
        axis.dim_value = length
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(fixed).graph
    values = [*inferred.value_info, *inferred.output]
    cells = {value.name: _cells(value, size_in) for value in values}
    weights = {tensor.name: tensor for tensor in network.graph.initializer}
    return {
        node.name: _product(weights[node.input[1]].dims) * cells.get(node.output[0], 0)
        for node in convolutions(network)
        if node.input[1] in weights
    }


def _cells(value: Any, size_in: tuple[int, int]) -> int:
    lengths = [axis.dim_value for axis in value.type.tensor_type.shape.dim[2:]]
    return _product(lengths) or size_in[0] * size_in[1] // STRIDE**2


def _product(lengths: Iterable[int]) -> int:
    total = 1
    for length in lengths:
        total *= length
    return total
