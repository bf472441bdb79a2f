# SPDX-License-Identifier: Apache-2.0
"""8-bit arithmetic in an ONNX file: a plain network, ranges of its values, and the same network with QDQ nodes.

The work is ONNX Runtime's (`onnxruntime.quantization`): activations unsigned, weights signed with a scale a channel.
The ranges are measured once, then any set of layers is quantised from them in a second. One such file serves ONNX
Runtime and OpenVINO.
"""

import contextlib
import copy
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common import deconvolutions
from common.cli import UserError
from common.runtime.session import Array, missing, refusal

if TYPE_CHECKING:  # onnx and onnxruntime are imported where they are used: not everybody has them
    from onnx import ModelProto, NodeProto

Method = Literal["minmax", "percentile"]
Inputs = Sequence[Array]  # an array for each input of a network, float32
METHODS = {"minmax": "MinMax", "percentile": "Percentile"}  # as ONNX Runtime names them
LOWEST_OPSET = 13  # the first with a scale a channel
# No Concat: its 8 bits would reach the heads that it joins, and ONNX Runtime turns a float32 convolution between 8-bit
# values into an 8-bit one.
QUANTISED = ("Conv", "Add", "Relu")
LAYERS = ("Conv", "ConvTranspose")  # that hold nearly all multiplications
NUM_BINS, PERCENTILE = 2048, 99.99  # ONNX Runtime's 128 bins are coarser than the 256 steps of 8 bits
CURE = "export the network again, with --opset=13"


def check_installed(source: Path) -> None:
    """Raises UserError where a package is missing that quantises `source`."""
    try:
        import onnx  # noqa: F401
        import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        raise missing(error, source) from error


def load(path: Path) -> "ModelProto":
    """A network in a file that is known to be one."""
    import onnx

    return onnx.load(path)


def check(source: Path) -> "ModelProto":
    """The network of a file that can be quantised.

    Raises UserError where a package is missing, and for a file that is no network, is quantised already or has no
    convolution.
    """
    check_installed(source)
    try:
        network = load(source)
    except Exception as error:  # of protobuf and of the file system: no common class
        raise refusal(source, error, CURE) from error
    kinds = {node.op_type for node in network.graph.node}
    if kinds & {"QuantizeLinear", "QLinearConv"}:
        raise UserError(f"{source}: is quantised already; give the float32 network")
    if "Conv" not in kinds:
        raise UserError(f"{source}: has no convolution; {CURE}")
    return network


def prepare(source: Path, target: Path) -> "ModelProto":
    """Writes `source` into `target` as quantisation needs it, and returns it.

    Operator set 13, constants folded, deconvolutions as convolutions. Raises UserError as `check` does.
    """
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization.shape_inference import quant_pre_process

    network = check(source)
    try:
        if any(entry.version < LOWEST_OPSET for entry in network.opset_import if not entry.domain):
            network = version_converter.convert_version(network, LOWEST_OPSET)
        quant_pre_process(network, target, skip_symbolic_shape=True)
    except OSError:
        raise
    except Exception as error:  # onnx and onnxruntime have no common class
        raise refusal(source, error, CURE) from error
    prepared = deconvolutions.as_convolutions(load(target))
    onnx.save(prepared, target)
    return prepared


def convolutions(network: "ModelProto") -> "list[NodeProto]":
    """The convolutions in the order of computation."""
    return [node for node in network.graph.node if node.op_type == "Conv"]


def quantisable(network: "ModelProto") -> "list[NodeProto]":
    """The nodes that can compute in 8 bits; of sums and ReLUs those of maps, not of the few numbers of a gate."""
    makers = {name: node.op_type for node in network.graph.node for name in node.output}
    return [
        node for node in network.graph.node
        if node.op_type in QUANTISED
        and (node.op_type == "Conv" or any(makers.get(name) in QUANTISED for name in node.input))
    ]  # fmt: skip


def heads(network: "ModelProto") -> list[str]:
    """The convolutions that give the network's outputs, and the nodes behind them: they stay in float32."""
    makers = {name: node for node in network.graph.node for name in node.output}
    found: dict[str, None] = {}
    names = [output.name for output in network.graph.output]
    while names:
        node = makers.get(names.pop(0))
        if node is not None and node.name not in found:
            found[node.name] = None
            names += [] if node.op_type in LAYERS else node.input
    return list(found)


class _OneImage:
    """Hands one input out, then nothing: what ONNX Runtime calls a CalibrationDataReader."""

    def __init__(self, feed: dict[str, Array]) -> None:
        self._feed: dict[str, Array] | None = feed

    def get_next(self) -> dict[str, Array] | None:
        feed, self._feed = self._feed, None
        return feed


def measure_ranges(
    prepared: Path, inputs: Iterable[Inputs], method: Method, folder: Path, percentile: float = PERCENTILE
) -> Any:
    """The range of every value of a network over `inputs`, one call's arrays after the other; memory for one call."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    names, kind = input_names(load(prepared)), CalibrationMethod[METHODS[method]]
    augmented, settings = str(folder / "augmented.onnx"), {"num_bins": NUM_BINS, "percentile": percentile}
    with contextlib.redirect_stdout(io.StringIO()):  # ONNX Runtime reports its progress there
        calibrator = create_calibrator(prepared, None, augmented, kind, extra_options=settings)
        for arrays in inputs:
            calibrator.collect_data(_OneImage(dict(zip(names, arrays, strict=True))))
        return calibrator.compute_data()


def input_names(network: "ModelProto") -> list[str]:
    """The inputs of a network that are no weights."""
    weights = {tensor.name for tensor in network.graph.initializer}
    return [entry.name for entry in network.graph.input if entry.name not in weights]


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
    return [node.name for node in network.graph.node if node.op_type in LAYERS and node.input[1] not in integers]


def everything_but_heads(network: "ModelProto") -> list[str]:
    """The nodes of a prepared network that can compute in 8 bits, without those that give its outputs."""
    kept = set(heads(network))
    return [node.name for node in quantisable(network) if node.name not in kept]


def multiplications(network: "ModelProto", inputs: Inputs) -> dict[str, int]:
    """How many multiplications each convolution needs for one call with `inputs`."""
    weights = {tensor.name: math.prod(tensor.dims) for tensor in network.graph.initializer}
    layers = [node for node in network.graph.node if node.op_type in LAYERS and node.input[1] in weights]
    # every weight meets every cell: of a convolution's result, of a deconvolution's input
    seen = {node.name: node.output[0] if node.op_type == "Conv" else node.input[0] for node in layers}
    cells = _cells(network, set(seen.values()), dict(zip(input_names(network), inputs, strict=True)))
    return {node.name: weights[node.input[1]] * cells[seen[node.name]] for node in layers}


def _cells(network: "ModelProto", names: Iterable[str], feed: Mapping[str, Array]) -> dict[str, int]:
    """The number of cells, h * w, of the maps with these names, all items of a batch counted: the network is run."""
    import onnxruntime
    from onnx import TensorProto, helper

    asked = copy.deepcopy(network)
    names = [name for name in names if name not in feed]
    del asked.graph.output[:]
    for name in names:
        asked.graph.node.append(helper.make_node("Shape", [name], [f"shape of {name}"]))
        asked.graph.output.append(helper.make_tensor_value_info(f"shape of {name}", TensorProto.INT64, [None]))
    session = onnxruntime.InferenceSession(asked.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = dict(zip(names, session.run(None, dict(feed)), strict=True)) | {k: a.shape for k, a in feed.items()}
    return {name: int(shape[0] * math.prod(shape[2:])) for name, shape in shapes.items()}
