# SPDX-License-Identifier: Apache-2.0
"""Offline inference: the network in every format, the whole chain in memory, and the postprocessing of dumps.

Times do not depend on what a network has learnt, so its weights are drawn; whether a format still finds people,
`python -m tools.compare` tells of a trained one.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import common.coco.images
import common.coco.mini.dataset
from common.coco.evaluate import EvaluationSet
from common.runtime.clock import Clock
from common.runtime.quantize import write_int8
from common.runtime.session import Options, Session, of_module, open_network
from common.skeleton import OPENPOSE
from common.test import pairs
from Lightweight_OpenPose.decode import DecodeRules
from Lightweight_OpenPose.eval import evaluate
from Lightweight_OpenPose.export import export_onnx
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet
from Lightweight_OpenPose.predict import PoseEstimator
from Lightweight_OpenPose.test import plain_decode
from Lightweight_OpenPose.test.bench_evaluation import plain_evaluation
from OpenPose_infer import dumps
from OpenPose_infer.config import CHANNELS, HEIGHT, RULE, WIDTH
from OpenPose_infer.OpenPose_postprocess import find_people, image_jobs
from OpenPose_infer.test import ideal_dumps

import numpy as np
import torch

TITLE = "Offline inference at 368 x 640: plain PyTorch, or the original's steps, against ours; milliseconds an image"
SLOW = False
IMAGES, CALIBRATION_IMAGES = 8, 2
SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"
OPSET = 11


def measure(runs: int) -> list[dict]:
    """Rows of network, chain and postprocessing."""
    with tempfile.TemporaryDirectory() as folder:
        formats = _formats(_drawn_network(), Path(folder))
        return [
            *_network_rows(formats, runs),
            *_chain_rows(formats, max(3, runs // 2)),
            *_postprocess_rows(Path(folder), runs),
        ]


def _drawn_network() -> PoseEstimationWithMobileNet:
    torch.manual_seed(0)
    return PoseEstimationWithMobileNet(1, OPENPOSE.num_heatmaps, OPENPOSE.num_pafs).eval()


def _formats(model: PoseEstimationWithMobileNet, folder: Path) -> dict[str, Session]:
    onnx = folder / "network.onnx"
    export_onnx(model, onnx, OPSET, (0, HEIGHT, WIDTH))
    random = np.random.default_rng(0)
    inputs = [
        random.random((1, CHANNELS, HEIGHT, WIDTH), np.float32) - np.float32(0.5) for _ in range(CALIBRATION_IMAGES)
    ]
    int8 = folder / "int8.onnx"
    write_int8(onnx, [(array,) for array in inputs], int8)
    on_cpu, with_openvino = Options("cpu"), Options("cpu", provider="openvino")
    sessions = {
        "PyTorch, channels last": of_module(model, torch.device("cpu"), None),
        "ONNX Runtime": open_network(onnx, on_cpu, _no_checkpoint),
        "OpenVINO": open_network(onnx, with_openvino, _no_checkpoint),
        "ONNX Runtime int8": open_network(int8, on_cpu, _no_checkpoint),
        "OpenVINO int8": open_network(int8, with_openvino, _no_checkpoint),
    }
    if "O1" in pairs.levels(torch.device("cpu")):
        bfloat16 = Options("cpu", provider="openvino", dtype=torch.bfloat16)
        sessions["OpenVINO bfloat16"] = open_network(onnx, bfloat16, _no_checkpoint)
    return sessions


def _no_checkpoint(path: Path) -> torch.nn.Module:
    raise AssertionError(f"{path} is no checkpoint")


def _input() -> np.ndarray:
    return np.random.default_rng(1).random((1, CHANNELS, HEIGHT, WIDTH), np.float32) - np.float32(0.5)


def _plain_forward() -> Callable[[], None]:
    model, images = _drawn_network(), torch.from_numpy(_input())

    def act() -> None:
        with torch.no_grad():
            model(images)

    return act


def _plain_chain() -> Callable[[], None]:
    return functools.partial(plain_evaluation, _drawn_network(), _validation())


def _network_rows(formats: dict[str, Session], runs: int) -> list[dict]:
    array, plain = _input(), pairs.Elsewhere(_plain_forward)
    return [pairs.compare(f"network, {name}", plain, _call(session, array), runs) for name, session in formats.items()]


def _call(session: Session, array: np.ndarray) -> Callable[[], object]:
    return lambda: session(array)


def _chain_rows(formats: dict[str, Session], runs: int) -> list[dict]:
    """Images to AP, against the original's evaluation: image by image, full-size maps, Python loops."""
    validation, plain = _validation(), pairs.Elsewhere(_plain_chain)

    def ours(session: Session) -> Callable[[], object]:
        return lambda: evaluate(PoseEstimator.of_session(session, OPENPOSE), validation, RULE, 1)

    return [
        pairs.compare(f"chain in memory, {name}", plain, ours(session), runs, IMAGES)
        for name, session in formats.items()
    ]


def _validation() -> EvaluationSet:
    folder = SHARED if SHARED.is_dir() else common.coco.mini.dataset.ensure()
    return EvaluationSet.load(
        common.coco.images.annotation_file(folder, "val"),
        common.coco.images.image_folder(folder, "val"),
        OPENPOSE,
        IMAGES,
    )


def _postprocess_rows(folder: Path, runs: int) -> list[dict]:
    """Dumps of ground-truth maps with a little noise, so that every number has all its digits."""
    rows = []
    for binary in (True, False):
        ideal = ideal_dumps.write(_few_images(folder), folder / f"dumps_{binary}", binary, noise=1e-3)
        results = dumps.find(ideal.folder)
        jobs = image_jobs(results, ideal.pad_file, ideal.labels, OPENPOSE)
        text = ideal if not binary else ideal_dumps.write(_few_images(folder), folder / "text", False, noise=1e-3)
        places = [(text.folder / f"{job.stem}_{{}}.txt", job.place) for job in jobs]
        rows.append(
            pairs.compare(
                f"postprocessing, {'binary' if binary else 'text'} dumps",
                lambda places=places: [_plain_postprocess(path, place) for path, place in places],
                lambda results=results, jobs=jobs: find_people(results, jobs, OPENPOSE, DecodeRules(), Clock(), 1),
                min(runs, 3),
                len(jobs),
            )
        )
    return rows


def _few_images(folder: Path) -> Path:
    target = folder / "few"
    return target if target.is_dir() else common.coco.mini.dataset.write(target, num_train=1, num_val=2)


def _plain_postprocess(path: Path, place: object) -> object:
    """Two text files word by word, then decoded in Python loops. The original executes each word, which is slower."""
    maps = []
    for number, channels in ((3, OPENPOSE.num_heatmaps), (4, OPENPOSE.num_pafs)):
        words = Path(str(path).format(number)).read_text().split()
        numbers = np.array([float(word) for word in words], np.float32)
        maps.append(numbers.reshape(channels, HEIGHT // 8, WIDTH // 8))
    return plain_decode.decode(*maps, place.geometry, OPENPOSE)
