# SPDX-License-Identifier: Apache-2.0
"""The page in Chromium: every part, on images whose joints are known exactly, and no request to any other host."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from common.coco.mini.scenes import SCENES, draw_scene
from common.media.writers import VideoWriter
from common.skeleton import COCO
from tools.page import __main__ as program
from tools.page.models import open_model
from tools.page.service import FIRST_SAMPLE
from tools.page.test.fake import OFFSETS, SLOW, animated_gif, huge_png, picture, png
from tools.page.test.serving import Client, serving

import cv2
import numpy as np
import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
pytestmark = pytest.mark.skipif(not BROWSER, reason="no browser: apt-get install chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")

PLACES = [(100, 60), (220, 100)]
NEAR = 5  # pixels of the image
AT_ONCE = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
ANSWER_MS = 2000  # from a request to its answer: the video has arrived, its answer has not
FLAGS = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


def walk(number: int) -> np.ndarray:
    return picture([(80 + abs(20 - number % 40), 60), (230, 90)])


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving() as opened:
        yield opened


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    film = tmp_path_factory.mktemp("camera") / "walk.mjpeg"
    film.write_bytes(b"".join(cv2.imencode(".jpg", walk(number))[1].tobytes() for number in range(40)))
    with playwright.sync_playwright() as driver:
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={film}"]
        opened = driver.chromium.launch(executable_path=BROWSER, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, client: Client):
    opened = browser.new_page(viewport={"width": 800, "height": 900}, locale="en-GB")
    opened.set_default_timeout(60_000)
    playwright.expect.set_options(timeout=60_000)
    asked, faults = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(client.url)
    opened.wait_for_selector("html[data-ready]")
    yield opened
    foreign = [url for url in asked if not url.startswith((client.url, "blob:"))]
    opened.close()
    assert not foreign and not faults


def give(page, body: bytes, name: str = "two.png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": body})


HAND_OVER = """([kind, name, body]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([Uint8Array.from(atob(body), (sign) => sign.charCodeAt(0))], name, { type: "image/png" }));
  const words = { bubbles: true, cancelable: true, [kind === "paste" ? "clipboardData" : "dataTransfer"]: carried };
  const event = kind === "paste" ? new ClipboardEvent(kind, words) : new DragEvent(kind, words);
  document.body.dispatchEvent(event);
}"""


def hand_over(page, kind: str, body: bytes, name: str) -> None:
    """What the browser does when a user drags, drops or pastes a file."""
    page.evaluate(HAND_OVER, [kind, name, base64.b64encode(body).decode()])


def filled(page, name: str, words: str = ".+") -> None:
    playwright.expect(page.locator(f"#{name}")).to_have_text(re.compile(words))


def canvas(page, name: str, size: tuple[int, int] = (320, 240)) -> np.ndarray:
    """(h, w, 3) int RGB, in pixels of the image, whose size is (width, height)."""
    address = page.locator(f"#{name}").evaluate("canvas => canvas.toDataURL()")
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(int)[..., ::-1]


def is_drawn(pixels: np.ndarray, colour, place) -> bool:
    x, y = np.rint(place).astype(int)
    around = pixels[max(0, y - NEAR) : y + NEAR + 1, max(0, x - NEAR) : x + NEAR + 1]
    return bool((np.abs(around - colour).max(axis=-1) < 70).any())


def test_an_image_and_its_skeletons(page) -> None:
    page.click("#zoom-in")  # of nothing yet
    give(page, png(PLACES))
    filled(page, "image-answer", "^People: 2, in .*network")
    pixels = canvas(page, "image-canvas")
    sides = {"left": (110, 255, 80), "right": (255, 80, 245), "nose": (255, 255, 255)}
    for place in PLACES:
        for name, offset in zip(COCO.keypoints, OFFSETS, strict=True):
            assert is_drawn(pixels, sides[name.split("_")[0]], np.add(place, offset)), name
    page.locator("#threshold").fill("1")  # above every score
    assert not is_drawn(canvas(page, "image-canvas"), sides["left"], np.add(PLACES[0], OFFSETS[-2]))
    page.locator("#threshold").fill("0.1")
    plain = canvas(page, "image-canvas")
    for kind, place in (("heatmaps", (103, 57)), ("pafs", (300, 220))):  # between the limbs of the head, and anywhere
        page.select_option("#maps", kind)
        playwright.expect(page.locator("#image-canvas")).to_have_attribute("data-maps", kind)
        x, y = place
        assert np.abs(canvas(page, "image-canvas")[y, x] - plain[y, x]).max() > 30
    page.select_option("#maps", "")
    page.focus("#image-canvas")
    for key, changes in (("+", True), ("ArrowRight", True), ("0", False)):
        page.keyboard.press(key)
        assert (np.abs(canvas(page, "image-canvas") - plain).max() > 30) == changes
    with page.expect_download() as saved:
        page.click("[data-save=coco]")
    (first, _) = json.loads(Path(saved.value.path()).read_text())
    np.testing.assert_allclose(np.reshape(first["keypoints"], (-1, 3))[:, :2], OFFSETS + PLACES[0], atol=0.5)
    for kind, start in (("json", b"{"), ("csv", b"frame,time_s"), ("png", b"\x89PNG")):
        with page.expect_download() as saved:
            page.click(f"[data-save={kind}]")
        assert Path(saved.value.path()).read_bytes().startswith(start)
    assert page.input_value("#image-command").endswith("--images two.png --output_dir=people")


def test_an_image_is_dropped_or_pasted(page) -> None:
    for kind, places in (("drop", PLACES), ("paste", PLACES[:1])):
        hand_over(page, "dragover", b"", "")
        assert page.locator("body.dropping").count() == 1
        hand_over(page, kind, png(places), f"{kind}.png")
        if kind == "drop":
            playwright.expect(page.locator("body.dropping")).to_have_count(0)
        filled(page, "image-answer", f"^People: {len(places)}, in ")
        assert page.input_value("#image-command").endswith(f"--images {kind}.png --output_dir=people")
        assert is_drawn(canvas(page, "image-canvas"), (255, 255, 255), PLACES[0])
    hand_over(page, "drop", bytes(20), "walk.mkv")
    filled(page, "video-answer", "walk.mkv")
    page.click("#video-start")
    filled(page, "status", "not a video")


def test_a_bad_image_is_a_sentence_on_the_page(page) -> None:
    bad = ((b"text", "not an image"), (animated_gif(), "GIF may move"), (huge_png(), "more than 50 million pixels"))
    for body, sentence in bad:
        give(page, body, "bad.png")
        filled(page, "status", sentence)
    give(page, png(PLACES))
    filled(page, "image-answer", "^People: 2, ")


def test_keyboard_languages_and_a_narrow_screen(page) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    page.focus("#tab-image")
    for name in ("compare", "lambda", "video", "camera"):
        page.keyboard.press("ArrowRight")
        assert page.locator(f"#{name}").is_visible() and page.evaluate("document.documentElement.scrollWidth") <= 360
    page.select_option("#language", "zh")
    assert page.inner_text("#tab-camera") == "摄像头" and page.get_attribute("html", "lang") == "zh"
    give(page, b"text", "bad.png")
    filled(page, "status", "^不支持的图像格式，请使用：JPEG")
    page.reload()
    assert page.inner_text("#tab-camera") == "摄像头"
    unnamed = page.locator("input, select, button, canvas, video").evaluate_all(
        "all => all.filter(one => !(one.ariaLabel || one.labels?.[0]?.textContent.trim() || one.textContent.trim()"
        " || one.querySelector('img[alt]') || one.matches('canvas'))).map(one => one.outerHTML)"
    )
    assert not unnamed


def without_lambda(state: dict) -> dict:
    return {**state, "models": state["models"][:1]}


def test_models_side_by_side_and_lambda(page) -> None:
    give(page, png(PLACES))
    page.click("#tab-compare")
    row = page.locator("#compare-table tbody tr").nth(1).locator("td")
    playwright.expect(row.nth(6)).to_have_text(re.compile(r"^10\.\d\d$"))  # lambda 1 lies 10 pixels to the right
    assert row.nth(1).inner_text() == "2"
    page.click("#tab-lambda")
    filled(page, "lambda-answer", "^Boxes: 2; 11 steps")
    frame = page.locator("#lambda-canvas").bounding_box()
    scale = frame["width"] / 320
    page.mouse.move(frame["x"] + 180 * scale, frame["y"] + 60 * scale)
    page.mouse.down()
    page.mouse.move(frame["x"] + 300 * scale, frame["y"] + 230 * scale, steps=3)
    page.mouse.up()
    playwright.expect(page.locator("#lambda-boxes")).to_have_value(re.compile(r"^18\d|^179"))
    playwright.expect(page.locator("#status")).to_have_text("")
    for value, colour in (("0", (0, 120, 230)), ("1", (255, 140, 60))):
        page.locator("#lambda-slider").fill(value)
        nose = np.add(PLACES[1], (10 * int(value), 0))
        assert is_drawn(canvas(page, "lambda-canvas"), colour, nose)
        assert float(page.get_attribute("#lambda-canvas", "data-moved")) < 50  # milliseconds
    page.check("[value=merged]")
    page.route("**/api/state", lambda route: route.fulfill(json=without_lambda(route.fetch().json())))
    page.reload()
    page.click("#tab-lambda")
    filled(page, "status", "No open model takes lambda")


def test_a_video_plays_with_its_skeletons(page, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "walk.webm", 10.0) as writer:
        for number in range(20):
            writer.write(walk(number))
    page.click("#tab-video")
    page.set_input_files("#video-file", str(tmp_path / "walk.webm"))
    page.click("#video-start")
    filled(page, "video-answer", "^Done: 20 frames")
    page.locator("#video-player").evaluate("player => { player.currentTime = 1.25; }")
    playwright.expect(page.locator("#video-canvas")).to_have_attribute("data-frame", "12")
    with page.expect_download() as saved:
        page.click("[data-result='people.jsonl']")
    assert len(Path(saved.value.path()).read_text().splitlines()) == 20


def test_a_video_is_cancelled_and_a_cut_one_says_so(page, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "slow.webm", 10.0) as writer:
        for _ in range(40):
            writer.write(picture(PLACES, first=SLOW))
    whole = (tmp_path / "slow.webm").read_bytes()
    page.click("#tab-video")
    page.set_input_files("#video-file", {"name": "slow.webm", "mimeType": "video/webm", "buffer": whole})
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", {**AT_ONCE, "latency": ANSWER_MS})
    page.click("#video-start")
    filled(page, "status", "^Sending")
    page.click("#video-cancel")
    playwright.expect(page.locator("#status")).to_have_text("")
    network.send("Network.emulateNetworkConditions", AT_ONCE)
    page.click("#video-start")  # the server has nothing of the first one left
    filled(page, "video-answer", "of 40 frames; people in the last: 2")
    with page.expect_download() as saved:
        page.click("[data-result='people.csv']")  # while it runs
    assert Path(saved.value.path()).read_text().startswith("frame,time_s")
    page.reload()
    page.click("#tab-video")
    filled(page, "video-answer", "of 40 frames")  # it continues, and is still ours
    page.click("#video-cancel")
    filled(page, "video-answer", "^Cancelled after")
    with VideoWriter(tmp_path / "walk.webm", 10.0) as writer:
        for number in range(20):
            writer.write(walk(number))
    whole = (tmp_path / "walk.webm").read_bytes()
    cut = {"name": "cut.webm", "mimeType": "video/webm", "buffer": whole[: len(whole) * 2 // 3]}
    page.set_input_files("#video-file", cut)
    page.click("#video-start")
    filled(page, "status", "ends after .* of 20 frames")


def test_the_camera_keeps_up_and_ids_stay(page) -> None:
    page.click("#tab-camera")
    page.click("#camera-start")
    filled(page, "camera-answer", "people: 2")
    found = set()
    for _ in range(10):
        page.wait_for_timeout(150)
        found.add(page.get_attribute("#camera-canvas", "data-ids"))
    assert found <= {"0,1", "1,0"}
    assert float(page.get_attribute("#camera-canvas", "data-rate")) > 1  # ci/results has the measured one
    page.click("#camera-stop")
    assert page.is_enabled("#camera-start")


TRAINED = [program.ROOT / name for name in program.TRAINED]


@pytest.mark.slow
@pytest.mark.skipif(not any(map(Path.is_file, TRAINED)), reason="needs the network that ci/quickstart.sh trains")
def test_the_quickstarts_network_finds_the_drawn_joints(browser) -> None:
    specs = program.specs_of(program.Config())
    truth = np.stack(list(draw_scene(SCENES[0], np.random.default_rng([0, FIRST_SAMPLE])).people.values()))
    with serving(specs=specs, open_spec=open_model) as client:
        opened = browser.new_page(viewport={"width": 800, "height": 900})
        opened.goto(client.url)
        opened.click("#samples button:nth-child(1)")
        filled(opened, "image-answer")
        with opened.expect_download() as saved:
            opened.click("[data-save=json]")
        line = json.loads(Path(saved.value.path()).read_text())
        pixels = canvas(opened, "image-canvas", (line["width"], line["height"]))
        opened.close()
    joints = [
        (name, *point[:2]) for person in line["people"] for name, point in person["keypoints"].items() if point[2] > 0.1
    ]
    sides = {"left": (110, 255, 80), "right": (255, 80, 245)}
    assert all(is_drawn(pixels, sides.get(name.split("_")[0], (255, 255, 255)), (x, y)) for name, x, y in joints)
    known = [(COCO.keypoints.index(name), x, y) for name, x, y in joints if name in COCO.keypoints]
    away = [np.hypot(*(truth[:, place] - (x, y)).T).min() for place, x, y in known]
    assert len(line["people"]) >= len(truth) and np.median(away) < NEAR
