# SPDX-License-Identifier: Apache-2.0
"""How fast the page is: an image against the same call in Python, all steps of lambda, a camera's frames.

python -m tools.page.test.measure --model=Lightweight_OpenPose:model_best.pth --lambda_model=MIPNet:model_best.pth
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from common import cli
from common.cli import UserError, flag
from tools.models import Spec
from tools.page.models import open_model
from tools.page.service import decoded, sample
from tools.page.test.serving import serving

import numpy as np

CALLS, SWEEPS, FRAMES_S, LIMIT_S = 30, 5, 10.0, 300.0


@dataclass(frozen=True)
class Options:
    """Measures the page on a drawn image."""

    model: str = flag("Directory:weights", "")
    lambda_model: str = flag("MIPNet:weights, of a network that takes lambda; empty: not measured", "")


def milliseconds(number: int, *calls: Callable[[], object]) -> np.ndarray:
    """(number, functions) of some functions, called in turns."""
    taken = np.zeros((number, len(calls)))
    for row in taken:
        for place, call in enumerate(calls):
            began = time.perf_counter()
            call()
            row[place] = 1000 * (time.perf_counter() - began)
    return taken


def main() -> None:
    """The command line."""
    options, body = cli.parse(Options, {}), sample(0)
    if not options.model:
        raise UserError("--model is needed: Directory:weights, such as that of ci/quickstart.sh")
    specs = [Spec.of(words) for words in (options.model, options.lambda_model) if words]
    here = open_model(specs[0]).estimator
    with serving(limit_s=LIMIT_S, specs=specs, open_spec=open_model) as client:

        def ask(path: str, **words: str) -> None:
            answer = client.ask(f"/api/{path}", body, **words)
            assert answer.status == 200, answer.body

        pairs = milliseconds(CALLS, lambda: ask("people"), lambda: here(decoded(body)))[2:]
        (there, same), ratio = np.median(pairs, axis=0), np.median(pairs[:, 0] / pairs[:, 1])
        print(
            f"| image over the page, same call in Python, median ratio | {there:.1f} ms, {same:.1f} ms, {ratio:.2f} |"
        )
        if options.lambda_model:
            first, *later = milliseconds(SWEEPS, lambda: ask("sweep", model="1", boxes="[[60, 40, 160, 190]]"))[:, 0]
            print(
                f"| all steps of lambda in a box: first call, later ones | {first:.0f} ms, {np.median(later):.0f} ms |"
            )
        began = time.perf_counter()
        frames = 0
        while time.perf_counter() - began < FRAMES_S:
            ask("camera", session="a", time=f"{frames / 10}")
            frames += 1
        print(f"| frames a second of a camera, one in flight | {frames / (time.perf_counter() - began):.1f} |")


if __name__ == "__main__":
    cli.run(main)
