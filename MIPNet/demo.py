# SPDX-License-Identifier: Apache-2.0
"""Finds the people in the boxes of pictures: draws those of each lambda in a colour of their own.

    python demo.py --checkpoint_path=model_best.pth --images a.jpg b.jpg --detections=boxes.json
    python demo.py --checkpoint_path=model_best.pth --images a.jpg --boxes="20,30,200,400;180,40,220,390" --sweep=9
    python demo.py --checkpoint_path=model_best.pth --source=folder_of_pictures --detector=fasterrcnn_resnet50_fpn

Boxes come from `--boxes`, from a file (`--detections`, see `common.media.detection_file`) or a detector (`--detector`,
see `common.media.detectors`); without any of these the whole picture is one. `output_dir` receives the pictures,
`<name>_sweep.png` where `--sweep` asks how the answer changes while lambda goes from 0 to 1, and `people.jsonl`, a line
of JSON a picture.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import common.cli
import common.device
import common.files
import common.media.drawing
import common.skeleton
from common.cli import UserError
from common.device import DeviceName
from common.media.detection_file import DetectionFile
from common.media.detectors import Detector, open_detector
from common.media.source import Frame, Image, Source, open_source
from common.media.writers import PictureWriter, output_folder
from common.runtime.session import Options, Provider
from common.skeleton import Skeleton
from common.topdown import crops, pipeline
from common.topdown.boxes import BOX_NUMBERS
from common.topdown.nms import CONFIDENT, Floats
from common.topdown.pipeline import Estimator, Picture
from MIPNet import recipe_file, weights
from MIPNet.config import RETIRED, flag
from MIPNet.evaluation import CPU_BATCH, lambda_name
from MIPNet.inference import LAMBDAS, InputRule, check_lambdas, estimator, fitting, open_session, recipe_of, rule_of
from MIPNet.merging import BoxPeople, MergedPeople, MergeRules, decay_modes, merge_modes
from MIPNet.mode_drawing import colour_of, draw_person, sweep_sheet
from MIPNet.preparation import check_joints

import numpy as np

ALIASES = {"check_point": "checkpoint_path", "checkpoint": "checkpoint_path", "pth_path": "checkpoint_path",
           "detfile": "detections"}  # fmt: skip
SWEPT_BOXES = 6  # rows of a sweep
SWEPT_LEAST = 2  # lambdas: 0 and 1


@dataclass(frozen=True)
class Config:
    """Finds the people in the boxes of pictures. KEY VALUE words change the recipe."""

    checkpoint_path: str = flag("trained weights, or an exported network: .pth, .onnx, .xml, .om", "")
    cfg: str = flag("recipe file; empty: that of the checkpoint's training, or w48_384x288_adam_lr1e-3", "")
    images: tuple[str, ...] = flag("pictures, with blanks or commas between them", ())
    source: str = flag("a picture, or a folder of pictures", "")
    boxes: str = flag("left,top,width,height[;...] in each picture, pixels", "")
    detections: str = flag("boxes in place of a detector: JSON, or people.jsonl of Lightweight OpenPose's demo", "")
    detector: str = flag("of torchvision, as fasterrcnn_resnet50_fpn; empty: the whole picture is one box", "")
    min_score: float | None = flag("detected boxes below it are not taken; empty: as suits the detector", None)
    max_overlap: float = flag("of a detector's boxes those that share more with a surer one are not taken", 0.6)
    lambdas: tuple[float, ...] = flag("of the people in a box, for a network that takes lambda", LAMBDAS)
    sweep: int = flag("so many lambdas from 0 to 1 for each box, side by side; 0: none", 0, most=101)
    flip_test: bool = flag("mean of an image's maps and its mirror image's", True)
    threshold: float = flag("score of a joint, from where it is drawn", CONFIDENT)
    least_score: float = flag("score of a person, from where it counts", 0.0)
    output_dir: str = flag("folder for pictures and people.jsonl", "demo_output")
    device: DeviceName = flag("where to compute", "auto")
    provider: Provider = flag("of ONNX Runtime, for an .onnx; auto: that of the device", "auto")
    skeleton: str = flag("built-in name or YAML file of one's own keypoints; empty: that of the data set", "")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable picture: stop, or leave it out and count", "error")

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        for condition, message in (
            (bool(self.checkpoint_path), "--checkpoint_path is needed: trained weights, or an exported network"),
            (bool(self.images) != bool(self.source), "give one of --images and --source"),
            (
                sum(map(bool, (self.boxes, self.detections, self.detector))) <= 1,
                "give one of --boxes, --detections and --detector",
            ),
            (self.sweep == 0 or self.sweep >= SWEPT_LEAST, f"--sweep={self.sweep}: at least {SWEPT_LEAST}, or 0"),
        ):
            if not condition:
                raise UserError(message)
        check_lambdas(self.lambdas)


@dataclass(frozen=True)
class Networks:
    """The network, asked for the modes, and for those of the sweep where there is one."""

    skeleton: Skeleton
    lambdas: tuple[float, ...]  # none for a network without lambda
    decay: float
    modes: Estimator
    sweep: Estimator | None = None
    swept: tuple[float, ...] = ()


def open_networks(config: Config, pairs: dict[str, Any]) -> Networks:
    """The network of `--checkpoint_path`. Raises UserError where it is missing, or cannot sweep."""
    source = weights.locate(config.checkpoint_path)
    recipe = recipe_of(config.cfg, source, {"skeleton": config.skeleton} if config.skeleton else {}, pairs)
    skeleton = common.skeleton.load(recipe.skeleton_name)
    check_joints(recipe, skeleton)
    options = Options(config.device, provider=config.provider)
    recipe = replace(recipe, flip_test=config.flip_test and recipe.flip_test)

    def asked(lambdas: tuple[float, ...]) -> tuple[Estimator, InputRule]:
        session, _ = open_session(source, options, recipe, skeleton, lambdas)
        rule = fitting(rule_of(recipe, lambdas), session, lambdas)
        return estimator(session, rule, skeleton), rule

    modes, rule = asked(config.lambdas)
    networks = Networks(skeleton, rule.lambdas, recipe.other_decay, modes)
    if not config.sweep:
        return networks
    if not rule.lambdas:
        raise UserError(f"--sweep: {source} takes no lambda")
    swept = tuple(np.linspace(0, 1, config.sweep).tolist())
    return replace(networks, sweep=asked(swept)[0], swept=swept)


def keypoints_of(image: Image, boxes_img: Floats, network: Estimator, num_keypoints: int) -> Floats:
    """(N, modes, K, 3) x, y in original pixels, score: of each mode in each of N boxes."""
    picture = Picture(lambda: image, boxes_img, np.arange(len(boxes_img)))
    found = [part.keypoints_img for part in pipeline.estimate([picture], network, CPU_BATCH)]
    return np.concatenate(found).reshape(len(boxes_img), -1, num_keypoints, 3)


def people_in(image: Image, boxes_img: Floats, scores: Floats, networks: Networks) -> MergedPeople:
    """Everybody in the boxes, each once, the best first; `modes` says which lambda found whom."""
    found = keypoints_of(image, boxes_img, networks.modes, networks.skeleton.num_keypoints)
    _, sizes = crops.fit_boxes(boxes_img, networks.modes.size_in, networks.modes.padding)
    ids = np.zeros(len(boxes_img), np.int64)
    modes = [BoxPeople(ids, found[:, mode], scores, sizes.prod(axis=1)) for mode in range(found.shape[1])]
    modes = decay_modes(modes, networks.lambdas, networks.decay) if networks.lambdas else modes
    return merge_modes(modes, networks.skeleton.sigmas, MergeRules(decay=networks.decay))


def draw(image: Image, people: MergedPeople, networks: Networks, config: Config) -> Image:
    """The picture with everybody, the best last and so on top; each in the colour of its lambda."""
    canvas = image.copy()
    for row in np.flatnonzero(people.detections.scores >= config.least_score)[::-1]:
        lambda_ = networks.lambdas[people.modes[row]] if networks.lambdas else 1.0
        draw_person(
            canvas, people.detections.keypoints[row], networks.skeleton, colour_of(lambda_), config.threshold
        )  # fmt: skip
    return canvas


def draw_sweep(image: Image, boxes_img: Floats, networks: Networks, threshold: float) -> Image | None:
    """The sweep of the first boxes, see `mode_drawing.sweep_sheet`; None where none is asked for."""
    if networks.sweep is None:
        return None
    boxes = boxes_img[:SWEPT_BOXES]
    found = keypoints_of(image, boxes, networks.sweep, networks.skeleton.num_keypoints)
    return sweep_sheet(image, boxes, found, networks.swept, networks.skeleton, threshold)


def read_boxes(words: str) -> Floats:
    """(N, 4) of `--boxes`. Raises UserError."""
    try:
        boxes = [[float(number) for number in box.split(",")] for box in words.split(";") if box.strip()]
        found = np.array(boxes, np.float64).reshape(-1, BOX_NUMBERS)
    except ValueError as error:
        raise UserError(f"--boxes={words}: left,top,width,height[;left,top,width,height...]") from error
    if not (len(found) and np.isfinite(found).all() and (found[:, 2:] > 0).all()):
        raise UserError(f"--boxes={words}: boxes must be finite, with a width and a height above 0")
    return found


def boxes_in(frame: Frame, config: Config, detector: Detector | None) -> tuple[Floats, Floats]:
    """Boxes (N, 4) and scores (N,) of a picture: given, or detected."""
    if detector is not None:
        (found,) = detector([frame])
        return found.boxes_img, found.scores
    (height, width), boxes = frame.image.shape[:2], read_boxes(config.boxes)
    outside = crops.outside_image(boxes, (height, width))
    if outside.any():
        raise UserError(f"{frame.name}: the box {boxes[outside][0].tolist()} is outside of its {width} x {height}")
    return boxes, np.ones(len(boxes))


def find_detector(config: Config, source: Source) -> Detector | None:
    """Who finds the boxes; None where they are given. Raises UserError."""
    if config.detections:
        file = DetectionFile(config.detections, config.min_score or 0.0)
        file.check(source)
        return file
    if config.boxes:
        return None
    device = common.device.resolve(config.device)
    return open_detector(config.detector, config.min_score, config.max_overlap, device)


def line_of(name: str, people: MergedPeople, boxes_img: Floats, networks: Networks, least_score: float) -> str:
    """A picture's line of people.jsonl."""
    found = people.detections
    rows = [
        {
            "keypoints": found.keypoints[row].astype(np.float64).round(2).tolist(),
            "score": round(float(found.scores[row]), 4),
            "box": boxes_img[people.boxes[row]].tolist(),
            "lambda": networks.lambdas[people.modes[row]] if networks.lambdas else None,
        }
        for row in np.flatnonzero(found.scores >= least_score)
    ]
    return json.dumps({"image": name, "people": rows}) + "\n"


def run(config: Config, networks: Networks) -> int:
    """Takes the pictures one by one; returns how many. Raises UserError for what cannot be read or written."""
    source = open_source(config.images or config.source, config.on_bad_image)
    if source.moves:
        raise UserError(f"{config.source}: a film or camera; pictures are needed")
    detector = find_detector(config, source)
    folder, lines = output_folder(Path(config.output_dir), source), []
    pictures = PictureWriter(folder)
    for frame in source.frames():
        boxes, scores = boxes_in(frame, config, detector)
        people = people_in(frame.image, boxes, scores, networks) if len(boxes) else None
        drawn = draw(frame.image, people, networks, config) if people else frame.image
        written = pictures.write(drawn, frame.name)
        if people is None:
            print(f"note: {frame.name}: no boxes from {config.detections or config.detector}")  # noqa: T201
            lines.append(json.dumps({"image": frame.name, "people": []}) + "\n")
            continue
        lines.append(line_of(frame.name, people, boxes, networks, config.least_score))
        sheet = draw_sweep(frame.image, boxes, networks, config.threshold)
        if sheet is not None:
            common.media.drawing.save_png(written.with_name(f"{written.stem}_sweep.png"), sheet)
    common.files.write_atomically(folder / "people.jsonl", "".join(lines).encode())
    skipped = f", {len(source.bad)} skipped as unreadable" if source.bad else ""
    colours = ", ".join(lambda_name((value,)) for value in networks.lambdas) or "no lambda"
    print(f"{len(lines)} pictures{skipped} ({colours}): {folder / 'people.jsonl'}")  # noqa: T201
    return len(lines)


def join_images(words: Sequence[str]) -> list[str]:
    """`--images a.jpg b.jpg` in the form of one flag with one value: `--images=a.jpg,b.jpg`."""
    joined: list[str] = []
    for word in words:
        more = not (word.startswith("--") or recipe_file.KEY.fullmatch(word))
        if more and joined and joined[-1].startswith("--images"):
            joined[-1] += ("," if "=" in joined[-1] else "=") + word
        else:
            joined.append(word)
    return joined


def main() -> None:
    """The command line."""
    flags, pairs = recipe_file.split(join_images(sys.argv[1:]))
    config = common.cli.parse(Config, {}, flags, ALIASES, RETIRED, recipe_file.published_words)
    config.check()
    run(config, open_networks(config, recipe_file.fields_of(recipe_file.COMMAND_LINE, pairs)))


if __name__ == "__main__":
    common.cli.run(main)
