# SPDX-License-Identifier: Apache-2.0
"""Draws loss and AP of a training run over its epochs.

python ci/curves.py --metrics=quickstart/step_one_checkpoints/metrics.jsonl --picture=curves.png
"""

from dataclasses import dataclass
from typing import Any

from common import cli
from common.media import drawing

from history import History, read

METRICS_SHOWN = ("AP", "AP50", "APm", "APl")
TERMS_SHOWN = 4  # of the loss, as many as a legend holds: those of the first and of the last stage
PANEL_SIZE = (560, 340)  # pixels


@dataclass(frozen=True)
class Options:
    """Draws loss and AP of a training run as a PNG."""

    metrics: str = ""
    picture: str = "curves.png"


def panels(history: History) -> dict[str, dict[str, Any]]:
    """Title -> name -> (epochs, values): terms of the loss, and those AP that the data set has."""
    steps, epochs = list(history.steps.values()), history.epochs
    names = list(steps[-1]["losses"]) if steps else []
    terms = names if len(names) <= TERMS_SHOWN else names[: TERMS_SHOWN // 2] + names[-TERMS_SHOWN // 2 :]
    losses = {term: (epochs, [step["losses"][term] for step in steps]) for term in terms}
    done = {epoch + 1: record["metrics"] for epoch, record in sorted(history.evaluations.items())}
    curves = {name: [metrics.get(name, -1.0) for metrics in done.values()] for name in METRICS_SHOWN}
    measured = {name: (list(done), values) for name, values in curves.items() if max(values, default=-1.0) >= 0}
    return {"loss of a step": losses, "average precision": measured}


def main() -> None:
    """Reads the flags, draws."""
    options = cli.parse(Options, {})
    if not options.metrics:
        raise cli.UserError("--metrics is needed: the metrics.jsonl of a run")
    chart = drawing.plot_panels(panels(read(options.metrics)), "epochs", PANEL_SIZE)
    drawing.save_png(options.picture, chart)


if __name__ == "__main__":
    cli.run(main)
