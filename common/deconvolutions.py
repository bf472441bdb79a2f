# SPDX-License-Identifier: Apache-2.0
"""Deconvolutions of an ONNX file as convolutions: the same maps, with arithmetic that every runtime has in 8 bits.

A deconvolution of kernel 4, stride 2 and padding 1 puts into rows 2j - 1 and 2j of its result a sum over rows j - 1
and j of its input, and so for columns. That is a convolution of kernel 2 over the input with a border of 1, whose
result holds the four parities side by side; `DepthToSpace` puts them in place, and a border of 1 is cut off. A ReLU
behind a deconvolution goes in front of that, where runtimes fuse it.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # onnx is imported where it is used: not everybody has it
    from onnx import ModelProto, NodeProto, TensorProto

KERNEL, STRIDE, PADDING = 4, 2, 1
# the row of the kernel that meets input row j - 1, j in the result's row 2j - 1, 2j: [row of result][row of input]
KERNEL_ROWS = np.array([[2, 0], [3, 1]])
DEFAULTS = {"auto_pad": b"NOTSET", "group": 1, "dilations": [1, 1], "output_padding": [0, 0]}  # where a file says none
# starts, ends and axes of what stays when the border is cut off
CUT = {"deconvolution_starts": (1, 1), "deconvolution_ends": (-1, -1), "deconvolution_axes": (2, 3)}


def as_convolutions(network: "ModelProto") -> "ModelProto":
    """The network with its deconvolutions of this kind replaced, in place; others stay. Nodes keep their names."""
    weights = {tensor.name: tensor for tensor in network.graph.initializer}
    nodes, moved = [], set[str]()
    for node in network.graph.node:
        if _is_known(node) and set(node.input[1:]) <= set(weights):
            relu = _relu_behind(network, node)
            moved |= {relu.name} if relu else set()
            nodes += _written(network, node, relu, [weights[name] for name in node.input[1:]])
        elif node.name not in moved:
            nodes.append(node)
    if len(nodes) > len(network.graph.node):
        _take(network, nodes)
    return network


def _is_known(node: "NodeProto") -> bool:
    if node.op_type != "ConvTranspose":
        return False
    from onnx import helper

    found = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    wanted = {**DEFAULTS, "strides": [STRIDE] * 2, "pads": [PADDING] * 4, "kernel_shape": [KERNEL] * 2}
    return {**DEFAULTS, **found} == wanted


def _regrouped(weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A deconvolution's (inputs, outputs, 4, 4) -> a convolution's (4 * outputs, inputs, 2, 2), parity after parity."""
    parts = weight[:, :, KERNEL_ROWS[:, None, :, None], KERNEL_ROWS[None, :, None, :]]  # (in, out, y, x, row, column)
    inputs, outputs = weight.shape[:2]
    return np.ascontiguousarray(parts.transpose(2, 3, 1, 0, 4, 5)).reshape(STRIDE**2 * outputs, inputs, 2, 2)


def _relu_behind(network: "ModelProto", node: "NodeProto") -> "NodeProto | None":
    """The ReLU that alone reads a node's result."""
    readers = [one for one in network.graph.node if node.output[0] in one.input]
    is_output = node.output[0] in {output.name for output in network.graph.output}
    return readers[0] if len(readers) == 1 and readers[0].op_type == "Relu" and not is_output else None


def _written(
    network: "ModelProto", node: "NodeProto", relu: "NodeProto | None", weights: "Sequence[TensorProto]"
) -> "list[NodeProto]":
    """The nodes in the place of a deconvolution and its ReLU; their weights are added to the network."""
    from onnx import helper, numpy_helper

    kernel, *biases = map(numpy_helper.to_array, weights)
    values = [_regrouped(kernel), *(np.tile(bias, STRIDE**2) for bias in biases)]
    names = [f"{tensor.name}_regrouped" for tensor in weights]
    for name, value in zip(names, values, strict=True):
        network.graph.initializer.append(numpy_helper.from_array(value, name))
    result = (relu or node).output[0]
    parities, positive, spread = (f"{result}_{what}" for what in ("parities", "positive", "spread"))
    nodes = [helper.make_node("Conv", [node.input[0], *names], [parities], name=node.name, kernel_shape=[2, 2],
                              pads=[1, 1, 1, 1])]  # fmt: skip
    if relu:
        nodes.append(helper.make_node("Relu", [parities], [positive], name=relu.name))
    return nodes + [
        helper.make_node("DepthToSpace", [nodes[-1].output[0]], [spread], name=f"{node.name}/spread", blocksize=STRIDE),
        helper.make_node("Slice", [spread, *CUT], [result], name=f"{node.name}/cut"),
    ]


def _take(network: "ModelProto", nodes: "Sequence[NodeProto]") -> None:
    """Gives the network these nodes, the constants of their cuts, and no weight that nothing reads."""
    from onnx import numpy_helper

    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in network.graph.initializer if tensor.name in read]
    kept += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in CUT.items()]
    for old, new in ((network.graph.initializer, kept), (network.graph.node, nodes)):
        copies = [copy.deepcopy(entry) for entry in new]  # what stands in the old list goes with it
        del old[:]
        old.extend(copies)
