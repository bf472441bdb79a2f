# SPDX-License-Identifier: Apache-2.0
"""What the demos share."""

import os
import signal

from common.media.demo import prepare, stop_on_signals

import pytest


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
