# SPDX-License-Identifier: Apache-2.0
"""The table at the end of ci/quickstart.sh: AP, images a second, seconds, and where each file is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import cli
from tools import runs


@dataclass(frozen=True)
class Options:
    """Prints what a quickstart has left in its folder."""

    folder: str = "quickstart"
    run: str = "quickstart/smoke_checkpoints"
    data: str = "mini"
    seconds: int = 0


def rows(options: Options, training: dict[str, Any], evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """Title and value of each line, of the records of two runs. Raises UserError where one of them has not finished."""
    folder = Path(options.folder)
    if not {"start", "end"} <= training.keys() or "evaluate" not in evaluation:
        raise cli.UserError(f"{folder}: training or evaluation has not finished; type the command again")
    record, end = evaluation["evaluate"], training["end"]
    metrics, protocol, ms = record["metrics"], record["protocol"], record["ms_an_image"]["total"]
    epochs, place = training["start"]["config"]["epochs"], training["start"]["device"]
    return [
        ("AP", f"{metrics['AP']:.3f} (AP50 {metrics['AP50']:.3f}) on {protocol['images']} images not trained on"),
        ("training", f"{end['images_per_s']:.1f} images/s, {end['seconds']:.0f} s, epochs: {epochs}, {place}"),
        ("evaluation", f"{1000 / ms if ms else 0:.1f} images/s, {ms * protocol['images'] / 1000:.0f} s"),
        ("this command", f"{options.seconds} s on --data_path={options.data}"),
        ("pictures", f"{folder}/eval_step1/pictures.png (input, ground truth, prediction)"),
        ("curves", f"tensorboard --logdir {options.run} (loss, AP)"),
        ("checkpoint", f"{options.run}/model_best.pth"),
        ("detections", f"{folder}/eval_step1/detections.json"),
        ("all numbers", f"{options.run}/metrics.jsonl, {folder}/eval_step1/metrics.jsonl"),
        ("logs, result files", f"{folder}/test/output/"),
    ]


def main() -> None:
    """Reads the flags, prints the table."""
    options = cli.parse(Options, {})
    folders = Path(options.run), Path(options.folder) / "eval_step1"
    training, evaluation = (runs.records(folder / "metrics.jsonl") for folder in folders)
    table = rows(options, training, evaluation)
    width = max(len(title) for title, _ in table)
    print("Lightweight OpenPose")
    for title, value in table:
        print(f"  {title:<{width}}  {value}")


if __name__ == "__main__":
    cli.run(main)
