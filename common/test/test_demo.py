# SPDX-License-Identifier: Apache-2.0
"""What the demos share."""

import os
import signal
import time

from common.cli import UserError
from common.media.demo import FrameClock, prepare, stop_on_signals, writable

import pytest


def test_the_clock_leaves_the_first_frame_out() -> None:
    clock = FrameClock()
    for pause_s in (0.2, 0.001, 0.001):
        with clock.part("work"):
            time.sleep(pause_s)
        clock.frame_done()
        assert "frames a second; milliseconds a frame: work" in clock.summary()
    assert clock.total == 3 and float(clock.summary().rpartition(" ")[2]) < 100


def test_first_signal_asks_the_second_interrupts() -> None:
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have made us deaf to it
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(5)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            stop.wait(5)
            signal.pause()
    assert signal.signal(signal.SIGINT, outer) is signal.default_int_handler


def test_a_full_disk_names_the_folder() -> None:
    message = "out: cannot be written .No space.; choose another --output_dir"
    with pytest.raises(UserError, match=message), writable("out"):
        raise OSError(28, "No space")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--images", "a.jpg", "b.jpg", "--cpu"], ["--images=a.jpg,b.jpg", "--cpu"]),
        (["--cpu", "--images=a.jpg", "b.jpg"], ["--cpu", "--images=a.jpg,b.jpg"]),
        (["--images", "a.jpg,b.jpg"], ["--images=a.jpg,b.jpg"]),
        (["--video", "0", "--track", "1"], ["--video", "0", "--track", "1"]),
        (["--images", "--cpu"], ["--images", "--cpu"]),
    ],
)
def test_published_form_of_images(words, expected) -> None:
    assert prepare(words) == expected
