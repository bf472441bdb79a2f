# SPDX-License-Identifier: Apache-2.0
"""Runs a network of any format over prepared inputs, with the flags of the published benchmark.

    python benchmark.py -model_type=vision -device_id=0 -batch_size=1 -om_path=output/human-pose-estimation.onnx \
        -input_text_path=./output/prep_bin.info -input_width=640 -input_height=368 -output_binary=True -useDvpp=False

Writes `result/dumpOutput_device0/{image}_{1..4}.txt` (or .bin), `result/perf_vision_batchsize_1_device_0.txt`, and the
same figures as JSON. Without -input_text_path the network alone is measured, on noise, and nothing is dumped.
"""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.device
import common.skeleton
from common.arrays import Float32Array
from common.cli import UserError, flag, parse, run
from common.files import read_bytes, write_atomically
from common.parallel import in_order
from common.runtime.clock import Clock
from common.runtime.session import OPENVINO, ComputeFlags, Session
from Lightweight_OpenPose import predict, weights
from OpenPose_infer import dumps
from OpenPose_infer.config import CHANNELS, HEIGHT, RETIRED, WEIGHT_FOLDERS, WIDTH

import numpy as np

MS = 1000  # milliseconds a second
PARTS = {"read": "data read", "preprocess": "preprocess", "inference": "inference", "postprocess": "postprocess"}
WRITERS = 2  # threads
AHEAD = 3  # batches that may wait for the writer
_LINE = re.compile(r"(\d+) (.+) (\d+) (\d+)", re.ASCII)
Outputs = Sequence[Float32Array]


@dataclass(frozen=True)
class Config(ComputeFlags):
    """Runs a network over prepared inputs, dumps its outputs, measures. Published flags may begin with one dash."""

    om_path: str = flag("a network: .om, .onnx, .xml or .pth, or a published name", "")
    model_type: Literal["vision"] = flag("what is published", "vision")
    device_id: int = flag("which device; names the result folder", 0, most=1024)
    batch_size: int = flag("inputs at once", 1, least=1, most=10**6)
    input_text_path: str = flag("list of inputs, from gen_dataset_info.py; empty: noise, nothing is dumped", "")
    input_width: int = flag("width of the network's input, pixels", WIDTH, least=1, most=16384)
    input_height: int = flag("height of the network's input, pixels", HEIGHT, least=1, most=16384)
    output_binary: bool = flag("dump raw float32 instead of text: smaller and faster", False)
    use_dvpp: bool = flag("accepted as published, where it is false", False)
    result_path: str = flag("folder to write into", "result")
    warm_up: int = flag("calls before the clock starts, at least one", 5, most=10**6)
    loop: int = flag("calls of the network for each batch, which is read and written once", 1, least=1)
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        if not self.om_path:
            raise UserError("-om_path is needed: an .om, .onnx, .xml or .pth file")
        if self.use_dvpp:
            raise UserError("-useDvpp=True: images are prepared by OpenPose_preprocess.py; type -useDvpp=False")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of one input: channels, height, width."""
        return CHANNELS, self.input_height, self.input_width


def main() -> None:
    """Reads the flags, runs the network, writes results and figures."""
    aliases, retired = {"useDvpp": "use_dvpp", "model": "om_path"}, {"threads": RETIRED["threads"]}
    config = parse(Config, {}, aliases=aliases, retired=retired, prepare=two_dashes)
    config.check()
    paths = input_paths(config) if config.input_text_path else []
    session, results = open_session(config), Path(config.result_path)
    folder = results / f"dumpOutput_device{config.device_id}"
    measured = measure(config, session, paths, folder)
    about = {"model": session.source, "runtime": session.runtime, "input": list(config.input_shape)}
    about |= {name: getattr(config, name) for name in ("device_id", "loop", "output_binary")} | measured
    target = results / f"perf_{config.model_type}_batchsize_{config.batch_size}_device_{config.device_id}.txt"
    lines = published_lines(measured)
    write_atomically(target, lines.encode())
    write_atomically(target.with_suffix(".json"), (json.dumps(about, indent=1) + "\n").encode())
    said = f"{folder}: {len(paths)} images" if paths else "noise: nothing dumped"
    print(f"{session.runtime}\n{lines}{said}")  # noqa: T201


def two_dashes(words: Sequence[str]) -> list[str]:
    """`-model_type=vision`, as published, as `--model_type=vision`."""
    return ["-" + word if re.match(r"-[A-Za-z]\w", word) else word for word in words]


def input_paths(config: Config) -> list[Path]:
    """The inputs of the info file, in its order; paths count from the working directory.

    Raises UserError for a broken line, another size than the flags say, a missing file, one of a wrong size, or two
    whose results would have the same name.
    """
    info = Path(config.input_text_path)
    try:
        lines = read_bytes(info).decode("utf-8", "surrogateescape").splitlines()
    except UserError as error:
        raise UserError(f"{error}; gen_dataset_info.py writes it") from error
    paths = dict[str, Path]()
    for number, line in enumerate(lines, 1):
        if line.strip():
            path = _path(line, f"{info}, line {number}", config)
            if path.stem in paths:
                raise UserError(f"{info}: {paths[path.stem]} and {path}: their results would have the same name")
            paths[path.stem] = path
    if not paths:
        raise UserError(f"{info}: names no input; run gen_dataset_info.py again")
    return list(paths.values())


def _path(line: str, where: str, config: Config) -> Path:
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise UserError(f"{where}: {line[:80]!r} is not `index path width height`; run gen_dataset_info.py again")
    path, width, height = Path(match[2]), int(match[3]), int(match[4])
    if (width, height) != (config.input_width, config.input_height):
        flags = f"-input_width={config.input_width} -input_height={config.input_height}"
        raise UserError(f"{where}: an input of {width} x {height}, but {flags}; one of them is wrong")
    expected = math.prod(config.input_shape) * np.dtype(np.float32).itemsize
    try:
        found = path.stat().st_size
    except OSError as error:
        raise UserError(f"{where}: {path}: {error.strerror}; its path counts from the working directory") from error
    if found != expected:
        size = " x ".join(map(str, config.input_shape))
        raise UserError(f"{path}: {found} bytes, {size} float32 are {expected}; run OpenPose_preprocess.py again")
    return path


def open_session(config: Config) -> Session:
    """The network, after warm-up. Raises UserError where batch, input size or outputs do not fit."""
    source = weights.locate_checkpoint(config.om_path, WEIGHT_FOLDERS)
    on_cpu = config.provider in ("cpu", "openvino") or source.suffix in OPENVINO
    device = common.device.resolve("cpu" if on_cpu else config.device, config.device_id)
    skeleton = common.skeleton.load(config.skeleton)
    session = predict.open_session(source, config.options(device, config.device_id), skeleton)
    if session.fixed_batch not in (None, config.batch_size):
        fixed = f"{session.source} takes {session.fixed_batch} at once"
        raise UserError(f"-batch_size={config.batch_size}: {fixed}; type that, or export for another batch")
    for _ in range(max(1, config.warm_up)):
        session(noise(config))
    return session


def noise(config: Config) -> Float32Array:
    """A batch in the range of real inputs."""
    random = np.random.default_rng(0)
    return random.random((config.batch_size, *config.input_shape), np.float32) - np.float32(0.5)


def measure(config: Config, session: Session, paths: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Runs all inputs through the network and writes results in threads; without inputs, one batch of noise."""
    clock, calls, size = Clock(*PARTS, "total"), list[float](), config.batch_size

    def infer(inputs: Float32Array) -> Outputs:
        with clock.part("inference"):
            for _ in range(config.loop):
                called = time.perf_counter()
                outputs = session.filled(inputs)
                calls.append(time.perf_counter() - called)
        return outputs

    def inferred() -> Iterator[tuple[Sequence[Path], Outputs]]:
        for start in range(0, len(paths), size):
            group = paths[start : start + size]
            with clock.part("read"):
                contents = [np.fromfile(path, "<f4") for path in group]
            with clock.part("preprocess"):
                inputs = np.reshape(contents, (-1, *config.input_shape))
            yield group, infer(inputs)

    def write(batch: tuple[Sequence[Path], Outputs]) -> None:
        group, outputs = batch
        with clock.part("postprocess"):
            for row, path in enumerate(group):
                dumps.write(folder, path.stem, [output[row] for output in outputs], config.output_binary)

    with clock.part("total"):
        if paths:
            dumps.begin(folder)
            with ThreadPoolExecutor(WRITERS) as writers:
                for _ in in_order(writers, write, inferred(), AHEAD):
                    pass
        else:
            infer(noise(config))
    return figures((len(paths) or size) * config.loop, size, clock, calls)


def figures(images: int, batch_size: int, seconds: Mapping[str, float], calls: Sequence[float]) -> dict[str, Any]:
    """Images a second of everything and of the network, its latency for a batch in ms, ms an image of each part.

    `images`: that went through the network, repeats counted. `seconds`: of `PARTS`, sums over threads, which run side
    by side, and in `total`, without warm-up. `calls`: seconds of each call of the network.
    """
    calls_ms, spent = MS * np.asarray(calls), {**seconds, "network": sum(calls)}
    latency = {"mean": calls_ms.mean(), "median": np.median(calls_ms), "p99": np.percentile(calls_ms, 99)}
    return {
        "images": images,
        "batch_size": batch_size,
        "batches": len(calls),
        "throughput": images / spent["total"],
        "network_throughput": images / spent["network"],
        "latency_ms": {name: float(value) for name, value in latency.items()},
        "ms_an_image": {part: MS * value / images for part, value in spent.items()},
    }


def published_lines(measured: Mapping[str, Any]) -> str:
    """The five lines of the published tool: images a second, and milliseconds (in all, then for a batch).

    Scripts parse the text between `:` and `,`, and take an eighth of it as the network's rate: hence a comma ends
    each line.
    """
    ms, images_a_batch = measured["ms_an_image"], measured["images"] / measured["batches"]  # the last may be smaller
    rate = {part: f"throughputRate: {MS / value if value else 0:.6g}," for part, value in ms.items()}
    rows = [f"[e2e] {rate['total']} latency: {measured['images'] * ms['total']:.6g},"]
    for part, title in PARTS.items():
        network = f" Interface {rate['network']}" if part == "inference" else ""
        rows.append(f"[{title}] {rate[part]}{network} moduleLatency: {images_a_batch * ms[part]:.6g},")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    run(main)
