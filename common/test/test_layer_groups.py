# SPDX-License-Identifier: Apache-2.0
"""Groups of layers: the heaviest modules are split, every convolution is in one group, junctions follow."""

from common import layer_groups

import pytest

onnx = pytest.importorskip("onnx")


def chain(*names: str) -> object:
    """A network of nodes in a row; a name's last part is the kind of node."""
    kinds = [name.rpartition("/")[2].split("_")[0] for name in names]
    nodes = [
        onnx.helper.make_node(kind, [f"v{at}", "w"] if kind == "Conv" else [f"v{at}"], [f"v{at + 1}"], name=name)
        for at, (kind, name) in enumerate(zip(kinds, names, strict=True))
    ]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], []))


def test_the_heaviest_modules_are_split():
    names = ["/stem/Conv", "/layer1/layer1.0/conv1/Conv", "/layer1/layer1.0/conv2/Conv", "/layer1/layer1.1/Conv",
             "/layer2/layer2.0/Conv", "/layer2/layer2.1/Conv"]  # fmt: skip
    weights = dict(zip(names, (1, 20, 20, 40, 5, 5), strict=True))
    assert list(layer_groups.by_modules(chain(*names), weights, most=4)) == ["stem", "layer1.0", "layer1.1", "layer2"]
    fine = layer_groups.by_modules(chain(*names), weights, most=5)
    assert list(fine) == ["stem", "layer1.0/conv1", "layer1.0/conv2", "layer1.1", "layer2"]
    assert fine["layer2"] == names[-2:]  # lighter than two groups of the mean weight: whole in any case


def test_a_module_with_a_convolution_of_its_own_stays_whole():
    names = ["/a/Conv", "/a/b/Conv", "/c/Conv"]
    assert list(layer_groups.by_modules(chain(*names), dict.fromkeys(names, 9))) == ["a", "c"]


def test_a_junction_without_a_group_belongs_to_what_it_joins():
    network = chain("/block/conv1/Conv", "/block/Resize", "/block/Relu", "/block/conv2/Conv", "/block/Relu_1")
    weights = {"/block/conv1/Conv": 9, "/block/conv2/Conv": 9}
    groups = layer_groups.by_modules(network, weights)
    assert groups == {"block/conv1": ["/block/conv1/Conv"], "block/conv2": ["/block/conv2/Conv", "/block/Relu_1"]}


def test_names_that_tell_nothing():
    names = [f"Conv_{number}" for number in range(9)]
    groups = layer_groups.by_modules(chain(*names), dict.fromkeys(names, 1))
    assert list(groups) == ["convolutions 1 to 4", "convolutions 5 to 8", "convolutions 9 to 12"]
    assert sum(groups.values(), []) == names
