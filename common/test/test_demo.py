# SPDX-License-Identifier: Apache-2.0
"""What the demos share."""

import os
import signal

from common.cli import UserError
from common.media.demo import Clock, join_images, stop_on_signals, writable

import pytest


def test_clock_adds_up_parts() -> None:
    clock = Clock()
    assert list(clock.waiting(iter([1, 2]))) == [1, 2]
    with clock.part("work"):
        clock.frame_done()
    assert set(clock.seconds) == {"read", "work"} and "frames a second; milliseconds a frame: read" in clock.summary()
    clock.frame_done()
    assert clock.total == 2 and clock.frames == 1 and not clock.seconds  # the first frame, which warms up, is left out


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
    message = "out: cannot be written .No space.; choose another --outdir"
    with pytest.raises(UserError, match=message), writable("out", "--outdir"):
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
    assert join_images(words) == expected
