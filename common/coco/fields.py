# SPDX-License-Identifier: Apache-2.0
"""Single values of COCO files: unusual spellings of valid values are read, any other is a ValueError.

3.0 and "3" are whole numbers, null is no `iscrowd`.
"""

import re
import reprlib
from array import array
from typing import Any

DIGITS = re.compile(r"-?[0-9]{1,19}")
EXACT = 2**53  # up to here a float represents every whole number
LARGEST = 2**63  # ids have 64 bits
LARGEST_IMG = 1e7  # pixels; larger ones are broken numbers, not positions
LONGEST_NAME = 1024  # characters; in the index every name takes as much memory as the longest
FAULTS = (KeyError, TypeError, ValueError, OverflowError, AttributeError)  # what a wrong element raises
BOX_NUMBERS = 4
NO_CROWD_INDEX = -1.0
shown = reprlib.repr  # prints a value of a file: short, on one line, without control characters


def words(error: BaseException) -> str:
    """The message of one of FAULTS."""
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def whole(value: Any, name: str) -> int:
    """A whole number of 64 bits: 3, 3.0 or "3"."""
    number = value
    if isinstance(value, str) and DIGITS.fullmatch(value):
        number = int(value)
    if isinstance(value, float) and abs(value) < EXACT and value.is_integer():
        number = int(value)
    if type(number) is not int or not -LARGEST <= number < LARGEST:
        raise ValueError(f"{name} is {shown(value)}, no whole number of 64 bits that can be read exactly")
    return number


def yes_or_no(value: Any, name: str) -> bool:
    """0, 1, true, false; null means no."""
    if value not in (None, 0, 1, "0", "1"):
        raise ValueError(f"{name} is {shown(value)}, neither 0 nor 1")
    return bool(int(value or 0))


def category_of(value: Any) -> str:
    """The id of a category: 1, 1.0 and "1" are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def need_object(element: Any) -> None:
    """Raises ValueError where an element of a list is something else."""
    if not isinstance(element, dict):
        raise ValueError(f"{shown(element)} is no JSON object")


def image_of(element: dict[str, Any]) -> tuple[int, bytes, int, int, float]:
    """id, file name, height and width (pixels), and CrowdPose's crowdIndex of an image."""
    name, crowd_index = element["file_name"], element.get("crowdIndex")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"file_name is {shown(name)}, no name of a file")
    height, width = (whole(element[side], side) for side in ("height", "width"))
    if not 0 < min(height, width) <= max(height, width) < LARGEST_IMG:
        raise ValueError(f"height {height} and width {width} are no numbers of pixels")
    crowd_index = NO_CROWD_INDEX if crowd_index is None else float(crowd_index)
    return whole(element["id"], "id"), name.encode(), height, width, crowd_index


def category(element: dict[str, Any]) -> tuple[str, str, list[str]]:
    """id, name, and the names of the keypoints; none where it has no keypoints."""
    names = element.get("keypoints") or []
    if not isinstance(names, list) or not all(isinstance(name, str) and len(name) <= LONGEST_NAME for name in names):
        raise ValueError(f"keypoints are {shown(names)}, no list of names")
    return category_of(element.get("id")), str(element.get("name", "")), names


def numbers_of(element: dict[str, Any], name: str, kind: str = "d") -> "array[float]":
    """The numbers of a list in an element, as 64-bit floats or of another `kind`."""
    values = element[name]
    try:
        if isinstance(values, list):
            return array(kind, values)
    except (TypeError, OverflowError):
        pass
    raise ValueError(f"{name} is {shown(values)}, no list of numbers")


def box_of(element: dict[str, Any], name: str = "bbox") -> "array[float]":
    """left, top, width, height."""
    box = numbers_of(element, name)
    if len(box) != BOX_NUMBERS:
        raise ValueError(f"{name} has {len(box)} numbers, not left, top, width, height")
    return box


def area_of(element: dict[str, Any]) -> float:
    """px^2 of the segmentation; 0 if it is missing."""
    area = element.get("area")
    if isinstance(area, bool | str) or not 0 <= float(area or 0) < LARGEST_IMG**2:
        raise ValueError(f"area is {shown(area)}, no number of square pixels")
    return float(area or 0)
