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
HEAVY = 2  # a module is split that weighs as much as so many groups of the mean weight
UNNAMED_GROUP_SIZE = 4  # convolutions, in a file whose nodes do not tell the layer's name
NODE = re.compile(r"/?(?P<modules>.+)/[^/]+")
INPUTS = "inputs"  # the group of junctions in front of everything that has a group


def by_modules(network: "ModelProto", weights: Mapping[str, int], most: int = MOST_GROUPS) -> dict[str, list[str]]:
    """The nodes of each group that can compute in 8 bits, see `cover`; at most about `most` groups.

    `weights`: how much each convolution counts, such as its multiplications.
    """
    totals = Counter[str]()
    for name, weight in weights.items():
        for part in _parents(name):
            totals[part] += weight
    labels = {part: _label(part) for part in _chosen(totals, most)}
    groups = cover(network, lambda name: next((labels[part] for part in _parents(name) if part in labels), None))
    return groups if len(groups) > 1 else cover(network, lambda _: None)


def _parents(name: str) -> list[str]:
    """The modules that a node is in, the outermost first; [] for a name that tells none."""
    match = NODE.fullmatch(name)
    parts = match["modules"].split("/") if match else []
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _chosen(totals: Mapping[str, int], most: int) -> set[str]:
    """Heaviest first, a module gives way to its parts where these are not too many."""
    chosen = {part for part in totals if "/" not in part}
    heavy = HEAVY * sum(totals[part] for part in chosen) / most
    for part in sorted(totals, key=lambda part: (-totals[part], part.count("/"))):
        inside = {name for name in totals if name.rpartition("/")[0] == part}
        whole = sum(totals[name] for name in inside) == totals[part]  # no convolution of its own
        fits = len(chosen) - 1 + len(inside) <= most
        if part in chosen and totals[part] >= heavy and inside and whole and fits:
            chosen = chosen - {part} | inside
    return chosen


def _label(part: str) -> str:
    """`stage3/stage3.0/branches.1` as `stage3.0/branches.1`: the name of a list stands in that of its entries."""
    parts = part.split("/")
    kept = [one for one, inner in zip(parts, [*parts[1:], ""], strict=True) if not inner.startswith(f"{one}.")]
    return "/".join(kept)


def cover(network: "ModelProto", group_of: Name) -> dict[str, list[str]]:
    """The nodes of each group of layers that can compute in 8 bits, in the order of computation.

    Every convolution is in one group; a junction without a name belongs to what it joins. The convolutions that give
    the outputs are in it too: who quantises leaves them out.
    """
    names = {node.name: group for node in network.graph.node if (group := group_of(node.name))}
    for position, node in enumerate(qdq.convolutions(network)):
        part = position // UNNAMED_GROUP_SIZE * UNNAMED_GROUP_SIZE
        names.setdefault(node.name, f"convolutions {part + 1} to {part + UNNAMED_GROUP_SIZE}")
    groups: dict[str, list[str]] = {}
    makers = {name: node for node in network.graph.node for name in node.output}
    for node in qdq.quantisable(network):
        group = names.setdefault(node.name, _group_of_maker(node, makers, names))
        groups.setdefault(group, []).append(node.name)
    return groups


def _group_of_maker(node: Any, makers: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The group of the first node in front that is in one."""
    while node is not None and node.name not in names:
        node = next((makers[name] for name in node.input if name in makers), None)
    return names[node.name] if node is not None else INPUTS
