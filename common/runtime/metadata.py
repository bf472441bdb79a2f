# SPDX-License-Identifier: Apache-2.0
"""What an exported network says of itself: in the metadata of an .onnx, and as JSON beside an .onnx, .xml or .om.

Every entry is JSON: network, skeleton, inputs and outputs with their shapes (null: any length), how an image becomes an
input (`input`), stride, decoder rules, settings, AP where it is known, and the version of the code.
"""

import dataclasses
import functools
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import common.skeleton
from common.cli import UserError
from common.files import read_json
from common.runtime.session import ASCEND, ONNX, OPENVINO, Port, Session, refusal
from common.skeleton import Skeleton

FORMAT = 1
COLOURS, IMAGE_AXES = 3, 4
OTHERS = "onnx."  # begins the names of entries that ONNX Runtime adds
Metadata = dict[str, Any]
Named = str | Skeleton


def of_network(network: str, skeleton: Skeleton, content: Mapping[str, Any], **more: Any) -> Metadata:
    """What an exporter says: its directory, the skeleton, the AP that `content` of a checkpoint knows, and `more`."""
    known = {"ap": float(content["ap"])} if isinstance(content.get("ap"), float) else {}
    facts = {"pose_zoo": FORMAT, "network": network, "skeleton": dataclasses.asdict(skeleton), "version": _version()}
    return {**facts, **more, **known}


def _version() -> str:
    root = Path(__file__).parents[2]
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
        commit = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True).strip()
    except (OSError, subprocess.CalledProcessError):  # a copy without history
        commit = ""
    return " ".join(filter(None, (common.VERSION, commit)))


def write(network: Path, about: Mapping[str, Any]) -> None:
    """Puts it into an .onnx, with the shapes of inputs and outputs, and beside it; nothing where there is none."""
    import onnx

    if not about:
        return
    content = onnx.load(network)
    ports = {"inputs": content.graph.input, "outputs": content.graph.output}
    shapes = {name: {port.name: _lengths(port) for port in some} for name, some in ports.items()}
    about = {**about, **shapes}
    onnx.helper.set_model_props(content, {key: json.dumps(value) for key, value in about.items()})
    onnx.save(content, network)
    network.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


def _lengths(port: Any) -> list[int | None]:
    return [axis.dim_value or None for axis in port.type.tensor_type.shape.dim]


def read(source: Path) -> Metadata:
    """What an exported file says of itself; empty for a checkpoint, and where it says nothing. Raises UserError."""
    if source.suffix not in (*ONNX, *OPENVINO, *ASCEND) or not source.is_file():
        return {}
    found, beside = {}, source.with_suffix(".json")
    if source.suffix in ONNX:
        found = _of_onnx(source, source.stat().st_mtime_ns)
    if not found and beside.is_file() and isinstance(content := read_json(beside), dict) and "pose_zoo" in content:
        found = content
    if found.get("pose_zoo", FORMAT) != FORMAT:
        raise UserError(f"{source}: written by a newer version of this project: update it, or export the network again")
    return found


@functools.lru_cache(4)
def _of_onnx(source: Path, _changed: int) -> Metadata:
    try:
        import onnx
    except ImportError:
        return {}  # the file beside it has the same
    try:
        entries = {entry.key: entry.value for entry in onnx.load(source, load_external_data=False).metadata_props}
        if "pose_zoo" not in entries:
            return {}
        return {key: json.loads(value) for key, value in entries.items() if not key.startswith(OTHERS)}
    except Exception as error:  # of protobuf, of JSON and of the file system: no common class
        raise refusal(source, error, "export the network again") from error


def of(source: Path, network: str, asked: Named = "", default: str = "") -> tuple[Metadata, Named]:
    """What a file says of itself, and what `common.skeleton.load` takes for its skeleton, else `asked`, else `default`.

    Raises UserError where it is a network of another directory, or has another skeleton than `asked`.
    """
    found = read(source)
    if not found:
        return found, asked or default
    if found.get("network") != network:
        other = found.get("network")
        raise UserError(f"{source}: a network of {other}, not of {network}: open it with the programs of {other}")
    text = json.dumps(found.get("skeleton", {}))
    own = common.skeleton.load(text)
    if asked and not _same(common.skeleton.load(asked), own):
        raise UserError(
            f"{source}: finds the keypoints of the skeleton {own.name}, not those asked for: leave --skeleton out, or "
            "name that one"
        )
    return found, own.name if common.skeleton.BUILT_IN.get(own.name) == own else text


def _same(one: Skeleton, other: Skeleton) -> bool:
    return (one.keypoints, one.points, one.limbs) == (other.keypoints, other.points, other.limbs)


def checked(session: Session, network: str, maps: Mapping[int, int], inputs: int = 1) -> Session:
    """The same session, where it takes images and gives maps: `maps` are places of outputs, and their channels.

    Raises UserError for a network of somebody else, or of other keypoints.
    """
    images, outputs = session.inputs[:1], session.outputs
    fits = all(len(port.shape) == IMAGE_AXES and port.shape[1] in (None, COLOURS) for port in images) and all(
        -len(outputs) <= place < len(outputs)
        and len(outputs[place].shape) == IMAGE_AXES
        and outputs[place].shape[1] in (None, channels)
        for place, channels in maps.items()
    )
    if session.inputs and not (fits and len(session.inputs) <= inputs):
        found = f"it takes {_shown(images)} and gives {_shown(outputs[-2:])}"
        cure = f"name its --skeleton, or write it with python -m {network}.export"
        raise UserError(f"{session.source}: no network of {network} with these keypoints ({found}): {cure}")
    return session


def _shown(ports: Sequence[Port]) -> str:
    return ", ".join(f"{port.name} {' x '.join(str(length or 'any') for length in port.shape)}" for port in ports)
