# SPDX-License-Identifier: Apache-2.0
"""The table at the end of ci/quickstart.sh: AP, images a second, seconds, and where each file is."""

from dataclasses import dataclass
from pathlib import Path

from common import cli

from history import History, read


@dataclass(frozen=True)
class Options:
    """Prints what a quickstart has left in its folder."""

    folder: str = "quickstart"
    data: str = "mini"
    seconds: int = 0


def rows(options: Options, training: History, evaluation: History) -> list[tuple[str, str]]:
    """Title and value of each line. Raises UserError where training or evaluation has not finished."""
    folder = Path(options.folder)
    record = evaluation.evaluations.get(-1)
    if not record or not training.end:
        raise cli.UserError(f"{folder}: training or evaluation has not finished; type the command again")
    metrics, protocol, ms = record["metrics"], record["protocol"], record["ms_an_image"]["total"]
    end, place = training.end, training.start["device"]
    epochs = training.start["config"]["epochs"]
    return [
        ("AP", f"{metrics['AP']:.3f} (AP50 {metrics['AP50']:.3f}) on {protocol['images']} images not trained on"),
        ("training", f"{end['images_per_s']:.1f} images/s, {end['seconds']:.0f} s, epochs: {epochs}, {place}"),
        ("evaluation", f"{1000 / ms if ms else 0:.1f} images/s, {ms * protocol['images'] / 1000:.0f} s"),
        ("this command", f"{options.seconds} s on --data_path={options.data}"),
        ("pictures", f"{folder}/eval_step1/pictures.png (input, ground truth, prediction)"),
        ("curves", f"{folder}/curves.png (loss, AP)"),
        ("checkpoint", f"{folder}/step_one_checkpoints/model_best.pth"),
        ("detections", f"{folder}/eval_step1/detections.json"),
        ("all numbers", f"{folder}/step_one_checkpoints/metrics.jsonl, {folder}/eval_step1/metrics.jsonl"),
        ("logs, result files", f"{folder}/test/output/"),
    ]


def main() -> None:
    """Reads the flags, prints the table."""
    options = cli.parse(Options, {})
    folder = Path(options.folder)
    training, evaluation = (read(folder / part / "metrics.jsonl") for part in ("step_one_checkpoints", "eval_step1"))
    table = rows(options, training, evaluation)
    width = max(len(title) for title, _ in table)
    print("Lightweight OpenPose")
    for title, value in table:
        print(f"  {title:<{width}}  {value}")


if __name__ == "__main__":
    cli.run(main)
