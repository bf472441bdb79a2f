# SPDX-License-Identifier: Apache-2.0
"""What an exported network is: stored in the metadata of an .onnx, and as JSON next to an .onnx, .xml or .om.

Every entry is JSON: network, skeleton, inputs and outputs with their shapes (null: any length), how an image becomes an
input (`input`), stride, decoder rules, settings, AP where it is known, and the version of the code.
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common
import common.skeleton
from common.cli import UserError
from common.files import read_json, target_of
from common.runtime.session import ASCEND, ONNX, OPENVINO, Port, Session, missing, refusal
from common.skeleton import Skeleton

if TYPE_CHECKING:  # onnx is an optional dependency, imported where it is used
    from onnx import ModelProto

FORMAT = 1
COLOURS, IMAGE_AXES = 3, 4
Metadata = dict[str, Any]
Named = str | Skeleton


def load_onnx(source: Path) -> "ModelProto":
    """The network of an .onnx. Raises UserError for another file, or where the package is missing."""
    try:
        import onnx

        return onnx.load(source)
    except ImportError as error:
        raise missing(error, source) from error
    except Exception as error:  # errors of protobuf and of the file system have no common class
        raise refusal(source, error) from error


def ports_of(values: Iterable[Any]) -> tuple[Port, ...]:
    """The inputs or outputs of an .onnx's graph."""
    lengths = ((one.name, one.type.tensor_type.shape.dim) for one in values)
    return tuple(Port(name, tuple(axis.dim_value or None for axis in axes)) for name, axes in lengths)


def of_network(network: str, skeleton: Skeleton, content: Mapping[str, Any], **more: Any) -> Metadata:
    """The metadata of an export: directory, skeleton, the AP in a checkpoint's `content`, and `more`."""
    known = {"ap": float(content["ap"])} if isinstance(content.get("ap"), float) else {}
    facts = {"pose_zoo": FORMAT, "network": network, "skeleton": dataclasses.asdict(skeleton)}
    return {**facts, "version": code_version(), **more, **known}


def code_version() -> str:
    """The release and, in a clone, the commit, with `-dirty` where files differ from it."""
    root = Path(__file__).parents[2]
    command = ["git", f"--git-dir={root / '.git'}", f"--work-tree={root}", "describe", "--always", "--dirty"]
    try:
        return f"{common.VERSION} {subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True).strip()}"
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy without history
        return common.VERSION


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Where to write an .onnx and its .json: they take the place of those at `target` when the block ends.

    Raises UserError where they cannot be written; older files stay then, as they do after any error in the block.
    """
    real = target_of(target)
    if target.suffix not in ONNX:  # by which all programs know such a file
        raise UserError(f"--output_name={target}: must end in .onnx")
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished_", dir=real.parent) as folder:
            yield Path(folder) / real.name
            for written in sorted(Path(folder).iterdir()):  # .json before .onnx
                os.replace(written, real.with_suffix(written.suffix))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write {target}: {reason}; name another file with --output_name") from error


def write(network: Path, about: Mapping[str, Any]) -> None:
    """Writes it into an .onnx, with the shapes of inputs and outputs, and next to it; nothing if it is empty."""
    import onnx

    if not about:
        return
    content = load_onnx(network)
    ports = {"inputs": ports_of(content.graph.input), "outputs": ports_of(content.graph.output)}
    about = {**about, **{name: {port.name: port.shape for port in some} for name, some in ports.items()}}
    onnx.helper.set_model_props(content, {key: json.dumps(value) for key, value in about.items()})
    onnx.save(content, network)
    network.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


def read(source: Path) -> Metadata:
    """The metadata of an exported file; empty for a checkpoint, or without metadata. Raises UserError."""
    if source.suffix not in (*ONNX, *OPENVINO, *ASCEND) or not source.is_file():
        return {}
    found, beside = Metadata(), source.with_suffix(".json")
    if source.suffix in ONNX and importlib.util.find_spec("onnx"):
        entries = {entry.key: entry.value for entry in load_onnx(source).metadata_props}
        entries = {key: text for key, text in entries.items() if not key.startswith("onnx.")}  # ONNX Runtime's own
        try:
            found = {key: json.loads(text) for key, text in entries.items()} if "pose_zoo" in entries else {}
        except ValueError as error:
            raise refusal(source, error) from error
    if not found and beside.is_file() and isinstance(content := read_json(beside), dict) and "pose_zoo" in content:
        found = content
    if found.get("pose_zoo", FORMAT) != FORMAT:
        raise UserError(f"{source}: written by a newer version of this project: update it, or export the network again")
    return found


def of(source: Path, network: str, asked: Named = "", default: str = "") -> tuple[Metadata, Named]:
    """A file's metadata, and the argument of `common.skeleton.load`: its skeleton, else `asked`, else `default`.

    Raises UserError where it is a network of another directory, or has another skeleton than `asked`.
    """
    if not (found := read(source)):
        return found, asked or default
    if (other := found.get("network")) != network:
        raise UserError(f"{source}: a network of {other}, not of {network}: open it with the programs of {other}")
    text = json.dumps(found.get("skeleton", {}))
    own = common.skeleton.load(text)
    expected = common.skeleton.load(asked) if asked else own
    if (expected.keypoints, expected.points, expected.limbs) != (own.keypoints, own.points, own.limbs):
        cure = "leave --skeleton out, or name that one"
        raise UserError(f"{source}: finds the keypoints of the skeleton {own.name}, not those asked for: {cure}")
    return found, own.name if common.skeleton.BUILT_IN.get(own.name) == own else text


def checked(session: Session, network: str, maps: Mapping[int, int], inputs: int = 1) -> Session:
    """The same session, where it takes images and gives maps: `maps` are places of outputs, and their channels.

    Raises UserError for a network of another project, or of other keypoints.
    """
    images, outputs = session.inputs[:1], session.outputs
    fits = _has(images, 0, COLOURS) and all(_has(outputs, place, channels) for place, channels in maps.items())
    if session.inputs and not (fits and len(session.inputs) <= inputs):
        found = f"it takes {', '.join(map(str, images))} and gives {', '.join(map(str, outputs[-2:]))}"
        cure = f"name its --skeleton, or write it with python -m {network}.export"
        raise UserError(f"{session.source}: no network of {network} with these keypoints ({found}): {cure}")
    return session


def _has(ports: Sequence[Port], place: int, channels: int) -> bool:
    """Whether there is an image or map of this many channels."""
    if not -len(ports) <= place < len(ports):
        return False
    shape = ports[place].shape
    return len(shape) == IMAGE_AXES and shape[1] in (None, channels)
