# SPDX-License-Identifier: Apache-2.0
"""What OpenCV does not say about JPEG files."""

import numpy as np
import numpy.typing as npt

START, SCAN, END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"  # markers of ITU-T T.81, annex B


def lacks_end(content: npt.NDArray[np.uint8]) -> bool:
    """Whether a JPEG's last scan has no end; OpenCV fills what is missing with grey, or not even that, and is silent.

    `content`: the bytes of a file, (n,) uint8. A preview in the header has an end of its own, which does not count.
    """
    if content[:2].tobytes() != START or content[-2:].tobytes() == END:
        return False
    stream = content.tobytes()  # something follows the image, or its end is missing
    return stream.rfind(END) < stream.rfind(SCAN)
