# SPDX-License-Identifier: Apache-2.0
"""Groups of a network's layers, by the modules that the names of an ONNX file's nodes tell.

`/preact/layer3/layer3.5/conv2/Conv` belongs to `preact`, in it to `preact/layer3`, and so on: a tree. Its heaviest
branches are split until the groups are as many as a report may have lines.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from common import qdq

if TYPE_CHECKING:  # onnx is imported where it is used: not everybody has it
    from onnx import ModelProto

Name = Callable[[str], str | None]  # of a node's group, None where its name does not tell
MOST_GROUPS = 24
UNNAMED_GROUP_SIZE = 4  # convolutions, in a file whose nodes do not tell the layer's name
NODE = re.compile(r"/?(?P<modules>.+)/[^/]+")
OUTPUTS = "outputs"  # the group of junctions that nothing with a group reads


def by_modules(network: "ModelProto", weights: Mapping[str, int], most: int = MOST_GROUPS) -> dict[str, list[str]]:
    """The nodes of each group that can compute in 8 bits, see `cover`; at most about `most` groups.

    `weights`: how much each convolution counts, such as its multiplications.
    """
    totals = Counter[str]()
    for name, weight in weights.items():
        for part in _parents(name):
            totals[part] += weight
    chosen = _split({part for part in totals if "/" not in part}, totals, most)
    groups = cover(network, lambda name: next((part for part in _parents(name) if part in chosen), None))
    return groups if len(groups) > 1 else cover(network, lambda _: None)


def _parents(name: str) -> list[str]:
    """The modules that a node is in, the outermost first; [] for a name that tells none."""
    match = NODE.fullmatch(name)
    parts = match["modules"].split("/") if match else []
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _split(chosen: set[str], totals: Mapping[str, int], most: int) -> set[str]:
    """Heaviest first, a module gives way to its parts where these are not too many."""
    for part in sorted(totals, key=lambda part: (-totals[part], part.count("/"))):
        inside = {name for name in totals if name.rpartition("/")[0] == part}
        whole = sum(totals[name] for name in inside) == totals[part]  # no convolution of its own
        if part in chosen and inside and whole and len(chosen) - 1 + len(inside) <= most:
            chosen = chosen - {part} | inside
    return chosen


def cover(network: "ModelProto", group_of: Name) -> dict[str, list[str]]:
    """The nodes of each group of layers that can compute in 8 bits, in the order of computation.

    Every convolution is in one group; a junction without a name belongs to what it feeds. The convolutions that give
    the outputs are in it too: who quantises leaves them out.
    """
    names = {node.name: group for node in network.graph.node if (group := group_of(node.name))}
    for position, node in enumerate(qdq.convolutions(network)):
        part = position // UNNAMED_GROUP_SIZE * UNNAMED_GROUP_SIZE
        names.setdefault(node.name, f"convolutions {part + 1} to {part + UNNAMED_GROUP_SIZE}")
    groups: dict[str, list[str]] = {}
    readers = {name: node for node in reversed(network.graph.node) for name in node.input}
    for node in qdq.quantisable(network):
        group = names.get(node.name) or _group_of_reader(node, readers, names)
        groups.setdefault(group, []).append(node.name)
    return groups


def _group_of_reader(node: Any, readers: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The group of the first node behind that is in one: a junction belongs to what it feeds."""
    while node is not None and node.name not in names:
        node = readers.get(node.output[0])
    return names[node.name] if node is not None else OUTPUTS
