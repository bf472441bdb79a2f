# SPDX-License-Identifier: Apache-2.0
"""A network of one layer of random weights that finds people in every image."""

from pathlib import Path

from common.skeleton import COCO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE_IN, STRIDE, KERNEL = (64, 32), 4, 7


def alphapose(folder: Path) -> Path:
    """An .onnx for any number of crops of 64 x 32 pixels."""
    shape = (COCO.num_keypoints, 3, KERNEL, KERNEL)
    weights = np.random.default_rng(0).normal(0, 0.05, shape).astype(np.float32)
    conv = helper.make_node(
        "Conv",
        ["images", "weights", "bias"],
        ["maps"],
        kernel_shape=[KERNEL] * 2,
        strides=[STRIDE] * 2,
        pads=[KERNEL // 2] * 4,
    )
    bias = np.full(shape[0], 0.5, np.float32)  # sure enough for pose NMS
    graph = helper.make_graph(
        [conv],
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, *SIZE_IN])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["n", shape[0], *(s // STRIDE for s in SIZE_IN)])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "small.onnx")
    return folder / "small.onnx"
