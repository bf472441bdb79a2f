# SPDX-License-Identifier: Apache-2.0
"""How fast the page is in Chromium: a camera, whose file shows drawn people who sway, and the slider of lambda.

python -m tools.page.test.measure_browser --model=Lightweight_OpenPose:model_best.pth --lambda_model=MIPNet:w32.pth
"""

import re
import tempfile
from pathlib import Path
from typing import Any

from common import cli
from common.cli import UserError
from tools.models import Spec
from tools.page.models import open_model
from tools.page.service import decoded, sample
from tools.page.test.measure import LIMIT_S, Options
from tools.page.test.serving import serving
from tools.page.test.test_browser import BROWSER, FLAGS

import cv2
import numpy as np
from playwright.sync_api import Page, expect, sync_playwright

FRAMES, SIZE, SWAY = 60, (640, 480), 12  # of the camera's file, in pixels
CAMERA_S, LOOKS = 20, 40
SLIDER_MS = """slider => new Promise((resolve) => {
  const began = performance.now();
  slider.value = VALUE;
  slider.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - began)));
})"""


def write_camera(path: Path) -> None:
    """Drawn people who sway, Motion JPEG."""
    image, frames = cv2.resize(decoded(sample(0)), SIZE), []
    for number in range(FRAMES):
        move = np.array([[1, 0, SWAY * np.sin(2 * np.pi * number / FRAMES)], [0, 1, 0]])
        moved = cv2.warpAffine(image, move, SIZE, borderMode=cv2.BORDER_REPLICATE)
        frames.append(cv2.imencode(".jpg", moved)[1].tobytes())
    path.write_bytes(b"".join(frames))


def measure_camera(page: Page) -> None:
    """The rate that the page shows, and all ids that people had."""
    page.click("#tab-camera")
    page.click("#camera-start")
    expect(page.locator("#camera-answer")).to_have_text(re.compile("people: "))
    found: set[Any] = set()
    for _ in range(LOOKS):
        page.wait_for_timeout(1000 * CAMERA_S / LOOKS)
        found.add(page.get_attribute("#camera-canvas", "data-ids"))
    print(f"| camera in Chromium | {page.inner_text('#camera-answer')}; ids {sorted(found)} |")
    page.click("#camera-stop")


def measure_slider(page: Page) -> None:
    """The first answer, and milliseconds from moving the slider to the next frame that is shown."""
    page.click("#tab-image")
    page.click("#samples button:nth-child(2)")
    expect(page.locator("#image-answer")).to_have_text(re.compile("People"))
    page.click("#tab-lambda")
    expect(page.locator("#lambda-slider")).to_be_enabled()
    slider = page.locator("#lambda-slider")
    moves = [slider.evaluate(SLIDER_MS.replace("VALUE", str(step / 10))) for step in range(11)]
    print(f"| first answer of lambda in Chromium | {page.inner_text('#lambda-answer')} |")
    print(f"| slider to the frame shown, median and worst | {np.median(moves):.0f} ms, {max(moves):.0f} ms |")


def main() -> None:
    """The command line."""
    options = cli.parse(Options, {})
    specs = [Spec.of(words) for words in (options.model, options.lambda_model) if words]
    if not specs or not BROWSER:
        raise UserError("--model is needed: Directory:weights, and a browser: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        write_camera(Path(folder) / "camera.mjpeg")
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={folder}/camera.mjpeg"]
        browser = driver.chromium.launch(executable_path=BROWSER, args=flags)
        with serving(limit_s=LIMIT_S, specs=specs, open_spec=open_model) as client:
            page = browser.new_page(locale="en-GB")
            expect.set_options(timeout=1000 * LIMIT_S)
            page.goto(client.url)
            page.wait_for_selector("html[data-ready]")
            measure_camera(page)
            if options.lambda_model:
                measure_slider(page)
        browser.close()


if __name__ == "__main__":
    cli.run(main)
