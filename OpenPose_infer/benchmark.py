# SPDX-License-Identifier: Apache-2.0
"""Runs a network of any format over prepared inputs, with the flags of the published benchmark.

    python benchmark.py -model_type=vision -device_id=0 -batch_size=1 -om_path=output/human-pose-estimation.onnx \
        -input_text_path=./output/prep_bin.info -input_width=640 -input_height=368 -output_binary=True -useDvpp=False

Writes `result/dumpOutput_device0/{image}_{1..4}.txt` (or .bin), `result/perf_vision_batchsize_1_device_0.txt`, and the
same figures as JSON. Without -input_text_path the network alone is measured, on noise, and nothing is dumped.
"""

import math
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import common.device
import common.skeleton
import common.train.checkpoint
from common.arrays import Float32Array
from common.cli import UserError, flag, parse, run
from common.files import read_bytes
from common.parallel import in_order
from common.runtime.clock import Clock
from common.runtime.session import OPENVINO, ComputeFlags, Session
from common.skeleton import Skeleton
from Lightweight_OpenPose import predict, weights
from OpenPose_infer import dumps, performance
from OpenPose_infer.config import CHANNELS, HEIGHT, WEIGHT_FOLDERS, WIDTH

import numpy as np

MODEL_TYPE = "vision"
READERS, WRITERS = 1, 2  # threads
AHEAD = 3  # batches that wait before and behind the network
_LINE = re.compile(r"(\d+) (.+) (\d+) (\d+)", re.ASCII)


@dataclass(frozen=True)
class Config(ComputeFlags):
    """Runs a network over prepared inputs, dumps its outputs, measures. Published flags may begin with one dash."""

    om_path: str = flag("a network: .om, .onnx, .xml or .pth, or a published name", "")
    model_type: str = flag("what is published: vision", MODEL_TYPE)
    device_id: int = flag("which device; names the result folder", 0, most=1024)
    batch_size: int = flag("inputs at once", 1, least=1, most=10**6)
    input_text_path: str = flag("list of inputs, from gen_dataset_info.py; empty: noise, nothing is dumped", "")
    input_width: int = flag("of the network's input, pixels", WIDTH, least=1, most=16384)
    input_height: int = flag("of the network's input, pixels", HEIGHT, least=1, most=16384)
    output_binary: bool = flag("dump raw float32 instead of text: smaller and faster", False)
    use_dvpp: bool = flag("accepted as published, where it is false", False)
    result_path: str = flag("folder to write into", "result")
    threads: int = flag("threads of the network on a CPU; 0: all", 0, most=1024)
    warm_up: int = flag("calls before the clock starts, at least one", 5, most=10**6)
    loop: int = flag("calls of the network for each batch, which is read and written once", 1, least=1)
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        if not self.om_path:
            raise UserError("-om_path is needed: an .om, .onnx, .xml or .pth file")
        if self.model_type != MODEL_TYPE:
            raise UserError(f"-model_type={self.model_type}: only {MODEL_TYPE} is here")
        if self.use_dvpp:
            raise UserError("-useDvpp=True: images are prepared by OpenPose_preprocess.py; type -useDvpp=False")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of one input: channels, height, width."""
        return CHANNELS, self.input_height, self.input_width


def main() -> None:
    """Reads the flags, runs the network, writes results and figures."""
    config = parse(Config, {}, aliases={"useDvpp": "use_dvpp", "model": "om_path"}, prepare=two_dashes)
    config.check()
    paths = input_paths(config) if config.input_text_path else []
    skeleton = common.skeleton.load(config.skeleton)
    session = open_session(config, skeleton)
    folder = Path(config.result_path) / f"dumpOutput_device{config.device_id}"
    measured = measure(config, session, paths, folder)
    name = f"perf_{MODEL_TYPE}_batchsize_{config.batch_size}_device_{config.device_id}.txt"
    about = {
        "model": session.source,
        "runtime": session.runtime,
        "device_id": config.device_id,
        "input": list(config.input_shape),
        "loop": config.loop,
        "warm_up": max(1, config.warm_up),
        "output_binary": config.output_binary,
    }
    performance.write(Path(config.result_path) / name, measured, about)
    print(session.runtime)  # noqa: T201
    print(measured.lines(), end="")  # noqa: T201
    print(f"{folder}: {len(paths)} images" if paths else "noise: nothing dumped")  # noqa: T201


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
    paths = [_path(line, f"{info}, line {number}", config) for number, line in enumerate(lines, 1) if line.strip()]
    if not paths:
        raise UserError(f"{info}: names no input; run gen_dataset_info.py again")
    owners: dict[str, Path] = {}
    for path in paths:
        if owners.setdefault(path.stem, path) is not path:
            raise UserError(f"{info}: {owners[path.stem]} and {path}: their results would have the same name")
    return paths


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


def open_session(config: Config, skeleton: Skeleton) -> Session:
    """The network, warm. Raises UserError where batch, input size or outputs are not those of this network."""
    source = weights.locate_checkpoint(config.om_path, WEIGHT_FOLDERS)
    on_cpu = config.provider in ("cpu", "openvino") or source.suffix in OPENVINO
    device = common.device.resolve("cpu" if on_cpu else config.device, config.device_id)
    options = config.options(device, config.device_id, config.threads)
    session = predict.open_session(source, options, skeleton)
    if session.fixed_batch not in (None, config.batch_size):
        fixed = f"{session.source} takes {session.fixed_batch} at once"
        raise UserError(f"-batch_size={config.batch_size}: {fixed}; type that, or export for another batch")
    for _ in range(max(1, config.warm_up)):
        session(_noise(config))
    return session


def _noise(config: Config) -> Float32Array:
    """A batch in the range of real inputs."""
    random = np.random.default_rng(0)
    return random.random((config.batch_size, *config.input_shape), np.float32) - np.float32(0.5)


def measure(config: Config, session: Session, paths: Sequence[Path], folder: Path) -> performance.Performance:
    """All inputs through the network, read ahead and written behind it; without inputs, one batch of noise.

    Raises UserError where a file cannot be read or written, or for NaN in an output.
    """
    clock, calls, size = Clock(*performance.PARTS), list[float](), config.batch_size

    def infer(inputs: Float32Array) -> Sequence[Float32Array]:
        with clock.part("inference"):
            for _ in range(config.loop):
                called = time.perf_counter()
                outputs = session(inputs)
                calls.append(time.perf_counter() - called)
        return outputs

    began = time.perf_counter()
    if paths:
        dumps.begin(folder)
        _run(config, session.fixed_batch, paths, folder, infer, clock)
        dumps.finish(folder)
    else:
        infer(_noise(config))
    total = time.perf_counter() - began
    return performance.Performance((len(paths) or size) * config.loop, size, total, clock, calls)


def _run(
    config: Config,
    fixed_batch: int | None,
    paths: Sequence[Path],
    folder: Path,
    infer: Callable[[Float32Array], Sequence[Float32Array]],
    clock: Clock,
) -> None:
    """The last batch is filled up with zeros where the network takes no smaller one."""

    def read(group: Sequence[Path]) -> tuple[Sequence[Path], Float32Array]:
        with clock.part("read"):
            contents = [_content(path, config) for path in group]
        with clock.part("preprocess"):
            inputs = np.zeros((fixed_batch or len(group), *config.input_shape), np.float32)
            inputs[: len(group)] = contents
        return group, inputs

    def write(batch: tuple[Sequence[Path], Sequence[Float32Array]]) -> None:
        group, outputs = batch
        with clock.part("postprocess"):
            for row, path in enumerate(group):
                dumps.write(folder, path.stem, [output[row] for output in outputs], config.output_binary)

    size = config.batch_size
    groups = [paths[start : start + size] for start in range(0, len(paths), size)]
    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
        inferred = ((group, infer(inputs)) for group, inputs in in_order(readers, read, groups, AHEAD))
        for _ in in_order(writers, write, inferred, AHEAD):
            pass


def _content(path: Path, config: Config) -> Float32Array:
    try:
        content = np.fromfile(os.fspath(path), "<f4")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; run OpenPose_preprocess.py again") from error
    if content.size != math.prod(config.input_shape):
        raise UserError(f"{path}: changed while it was read; run benchmark.py again")
    return content.reshape(config.input_shape)


if __name__ == "__main__":
    run(main)
