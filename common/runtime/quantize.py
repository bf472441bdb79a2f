# SPDX-License-Identifier: Apache-2.0
"""From a float32 ONNX file to one in INT8 that finds the same people, or to no file at all.

ONNX Runtime's static quantization does the work: ranges hold every value of the calibration inputs, activations are
unsigned, weights signed with a scale a channel. The convolutions that give the outputs stay in float32. Such a file
serves ONNX Runtime and OpenVINO. AP is then measured with each of them that is installed, by the code of `eval.py`.
"""

import contextlib
import functools
import io
import json
import tempfile
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.arrays import Float32Array
from common.cli import UserError, flag
from common.runtime import metadata
from common.runtime.onnxruntime import open_onnx
from common.runtime.session import Options, Provider, Session, refusal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # onnx and onnxruntime are optional dependencies, imported where they are used
    from onnx import ModelProto

Inputs = Sequence[Float32Array]  # an array for each input of a network, float32
RUNTIMES: dict[str, tuple[str, Provider]] = {
    "ONNX Runtime": ("onnxruntime", "cpu"),
    "OpenVINO": ("openvino", "openvino"),
}
CONVOLUTIONS = ("Conv", "ConvTranspose")
# No Concat: its 8 bits would reach the heads that it joins.
QUANTIZED = [*CONVOLUTIONS, "Add", "Relu"]
LOWEST_OPSET = 13  # the first with a scale a channel
CURE = "export the network again, with --opset=13"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
RETIRED = {
    "narrow_weights": "weights have 8 bits; where ONNX Runtime loses people on an old x86, OpenVINO runs the .onnx",
    "openvino_xml": "OpenVINO reads the .onnx; its program ovc writes an .xml",
}
say = functools.partial(print, flush=True)


class RefusedError(UserError):
    """INT8 would lose people, or AP cannot measure it: nothing was written."""


@dataclass(frozen=True)
class Flags:
    """The flags of every program that quantizes a network."""

    model: str = flag("the float32 network, .onnx", "")
    output_name: str = flag("file to write; empty: <model>_int8.onnx", "")
    max_ap_drop: float = flag("refuse where AP falls by more", 0.002, most=1)
    threads: int = flag("threads of a runtime; 0: as many as PyTorch uses", 0, most=1024)

    def check_flags(self, exporter: str) -> None:
        """Raises UserError for values that make no sense, and for a file that cannot be quantized.

        `exporter` is the program that writes a `model`.
        """
        if not self.model:
            raise UserError(f"--model is needed: the .onnx that {exporter} writes")
        if self.source.suffix != ".onnx":
            raise UserError(f"--model={self.model}: give an .onnx, see {exporter}")
        if not self.source.is_file():
            raise UserError(f"{self.model}: no such file; {exporter} writes it")
        if self.target.suffix != ".onnx" or self.target.resolve() == self.source.resolve():
            raise UserError(f"--output_name={self.target}: must end in .onnx, and must not be the file of --model")
        check(self.source)

    @property
    def source(self) -> Path:
        """The float32 network."""
        return Path(self.model)

    @property
    def target(self) -> Path:
        """The file to write."""
        return Path(self.output_name or f"{self.model.removesuffix('.onnx')}_int8.onnx")


@dataclass(frozen=True)
class Score:
    """The AP of a network on annotated images."""

    ap: float
    people: int


def run(
    flags: Flags,
    measure: Callable[[Session], Score],
    inputs: Iterable[Inputs],
    calibration: str,
    protocol: Mapping[str, Any],
) -> None:
    """Writes `flags.target` and a report beside it; `flags.check_flags` has passed.

    Args:
        measure: The score of a network, by the code of `eval.py`.
        inputs: Those that show which values the network sees, one call's arrays after the other.
        calibration: What the inputs are, in words.
        protocol: How AP is measured, for the report.

    Raises:
        RefusedError: INT8 loses people, or AP cannot tell. Older files stay then, as they do after a UserError.
        UserError: Files cannot be written.
    """
    say(f"calibration: {calibration}; then AP in float32 and in INT8")
    target, before = flags.target, _scores(flags.source, flags, measure)
    for name, score in before.items():
        if not (score.people and score.ap > flags.max_ap_drop):  # also where it is NaN
            found = f"the float32 network finds {score.people or 'no'} people, AP {score.ap:.4f} ({name})"
            cure = "give a trained network and images with annotated people"
            raise RefusedError(f"not written: {target}: AP cannot tell what INT8 does: {found}; {cure}")
    with metadata.replacing(target) as written:
        layers = write_int8(flags.source, inputs, written)
        after = _scores(written, flags, measure)
        for name, score in after.items():
            if reason := complaint(before[name], score, flags.max_ap_drop, name):
                raise RefusedError(f"not written: {target}: {reason}")
        facts = {"float_layers": layers, "calibration": calibration, "protocol": protocol}
        for kind, scores in (("float32", before), ("int8", after)):
            facts[kind] = {name: asdict(score) for name, score in scores.items()}
        written.with_suffix(".json").write_text(json.dumps(metadata.read(flags.source) | facts, indent=2))
    sizes = " -> ".join(f"{path.stat().st_size / 1e6:.1f}" for path in (flags.source, target))
    say(f"{target}: {sizes} MB, in float32 {', '.join(layers)}; report beside it, .json")


def _scores(network: Path, flags: Flags, measure: Callable[[Session], Score]) -> dict[str, Score]:
    """The scores of a network in every installed runtime."""
    scores = {}
    for name, (package, provider) in RUNTIMES.items():
        if find_spec(package):
            session = open_on_cpu(network, provider, flags.threads)
            scores[name] = measure(session)
            session.close()
            say(f"{network.name} with {name}: AP {scores[name].ap:.4f}, {scores[name].people} people")
    return scores


def complaint(expected: Score, found: Score, max_ap_drop: float, runtime: str) -> str:
    """Why INT8 with the score `found` must not be used; empty if it may be."""
    if not found.people:
        return f"INT8 finds no people, where float32 finds {expected.people} with {runtime}"
    if not expected.ap - found.ap <= max_ap_drop:  # also where it is NaN
        drop = f"from {expected.ap:.4f} to {found.ap:.4f}, more than --max_ap_drop={max_ap_drop:g}"
        return f"AP falls {drop}, with {runtime}"
    return ""


def open_on_cpu(network: Path, provider: Provider = "cpu", threads: int = 0) -> Session:
    """A session of an .onnx. Raises UserError, see `common.runtime.onnxruntime.open_onnx`."""
    return open_onnx(network, Options(device="cpu", provider=provider, threads=threads))


def check(source: Path) -> "ModelProto":
    """The network of a file that can be quantized. Raises UserError for another file, or where a package is missing."""
    network = metadata.load_onnx(source)
    kinds = {node.op_type for node in network.graph.node}
    if kinds & {"QuantizeLinear", "QLinearConv"}:
        raise UserError(f"{source}: is quantized already; give the float32 network")
    if "Conv" not in kinds:
        raise UserError(f"{source}: has no convolution; {CURE}")
    return network


def heads(network: "ModelProto") -> list[str]:
    """The convolutions that give the network's outputs, and the nodes after them."""
    makers = {name: node for node in network.graph.node for name in node.output}
    found: dict[str, None] = {}
    names = [output.name for output in network.graph.output]
    while names:
        node = makers.get(names.pop(0))
        if node is not None and node.name not in found:
            found[node.name] = None
            names += [] if node.op_type in CONVOLUTIONS else node.input
    return list(found)


def write_int8(source: Path, inputs: Iterable[Inputs], target: Path) -> list[str]:
    """Writes `target`, the network `source` with all but its heads in 8 bits; returns the layers in float32.

    Raises UserError as `check` does.
    """
    network = check(source)
    from onnx import version_converter
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ports = open_on_cpu(source).inputs
    feeds = ({port.name: array for port, array in zip(ports, arrays, strict=True)} for arrays in inputs)
    reader = types.SimpleNamespace(get_next=lambda: next(feeds, None))  # used as a CalibrationDataReader
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
        prepared = Path(folder) / "prepared.onnx"
        try:
            if any(entry.version < LOWEST_OPSET for entry in network.opset_import if not entry.domain):
                network = version_converter.convert_version(network, LOWEST_OPSET)
            quant_pre_process(network, prepared, skip_symbolic_shape=True)  # folds batch normalisation and constants
        except Exception as error:  # onnx and onnxruntime have no common class
            raise refusal(source, error, CURE) from error
        network = metadata.load_onnx(prepared)
        kept = heads(network)
        numbers = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
        quantize_static(prepared, target, reader, op_types_to_quantize=QUANTIZED, nodes_to_exclude=kept, **numbers)
    return [node.name for node in network.graph.node if node.op_type in CONVOLUTIONS and node.name in kept]


def spread(count: int, chosen: int) -> npt.NDArray[np.int64]:
    """Positions of `chosen` among `count` things, or all, evenly: the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, chosen).round().astype(np.int64))


def calibration_images(folder: Path, count: int) -> list[Path]:
    """`count` images spread evenly over a folder. Raises UserError where it has none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --calibration_path takes a folder of images")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise UserError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}); name another --calibration_path")
    return [images[row] for row in spread(len(images), count)]
