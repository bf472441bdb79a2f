# SPDX-License-Identifier: Apache-2.0
"""Chooses the people to train on and writes them to a file that every rank reads in a second.

python scripts/prepare_train_labels.py --labels <COCO>/annotations/person_keypoints_train2017.json
"""

from dataclasses import dataclass, field

from common import cli
from common.skeleton import SkeletonError, load
from Lightweight_OpenPose.labels import NET_INPUT_SIZE, build, write

RETIRED = {"original_format": "the file is read by train.py alone"}


@dataclass(frozen=True)
class Config:
    """Prepare training labels from a COCO keypoint file."""

    labels: str = field(default="", metadata={"help": "annotation file, person_keypoints_train2017.json (required)"})
    output_name: str = field(default="prepared_train_annotation.pkl", metadata={"help": "file to write"})
    net_input_size: int = field(default=NET_INPUT_SIZE, metadata={"help": "side of the network's input, pixels"})
    skeleton: str = field(default="openpose", metadata={"help": "openpose, coco, crowdpose, or a YAML file"})


def main(argv: list[str] | None = None) -> None:
    """The command of this script."""
    config = cli.parse(Config, {}, argv, retired=RETIRED)
    if not config.labels:
        raise cli.UserError("--labels is required: the annotation file, person_keypoints_train2017.json")
    if config.net_input_size < 1:
        raise cli.UserError(f"--net-input-size {config.net_input_size}: pixels, at least 1")
    try:
        points = load(config.skeleton)
    except SkeletonError as error:
        raise cli.UserError(f"--skeleton: {error}") from error
    prepared = build(config.labels, config.net_input_size, points.num_keypoints)
    write(prepared, config.output_name)
    print(f"{config.output_name}: {len(prepared)} people to train on, in {len(set(prepared.images.tolist()))} images")


if __name__ == "__main__":
    cli.run(main)
