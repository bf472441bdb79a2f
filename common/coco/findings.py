# SPDX-License-Identifier: Apache-2.0
"""What the check of a data set finds, and what cures it."""

from dataclasses import dataclass

CURES = {
    "file": "Copy or export the annotation file again",
    "images": "Put the images there",
    "image": "Or take the image and its annotations out of the file",
    "exif": "If it was annotated as shown upright by a tool, use --exif=turn in the check, training and evaluation",
    "size": "Write the size that the image has, or restore the image that was annotated",
    "field": "See cocodataset.org, Data format, Keypoint detection",
    "duplicate": "Give each its own id",
    "unknown": "Take the annotation out, or add what it refers to",
    "count": "Write x, y, v of each keypoint of the skeleton; 0, 0, 0 where it is not labelled",
    "number": "Write finite numbers",
    "visibility": "v is 0 (not labelled), 1 (labelled but hidden) or 2 (visible)",
    "labelled": "Write how many keypoints have v > 0",
    "outside": "Write pixels of the original image; x, y, v are 0, 0, 0 where a keypoint is not labelled",
    "area": "Write the area of the segmentation in square pixels; leave `area` out, and that of the box counts",
    "category": "Name the category of people `person`",
    "box": "A box is left, top, width, height in pixels of the original image",
    "crowd": "Correct the segmentation, it must fit the image",
    "sides": "Exchange left and right: somebody who faces the camera has the right eye on the left of the picture",
    "people": "Training and evaluation need people with keypoints",
    "skeleton": "Correct the skeleton file or `categories`",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or (`is_error` False) worth a look."""

    file: str
    subject: str  # "image 42", "annotation 7", or "" for the whole file
    kind: str  # a key of CURES
    what: str
    is_error: bool = True

    def __str__(self) -> str:
        place = f"{self.file}: {self.subject}" if self.subject else self.file
        line = f"{'error' if self.is_error else 'warning'}: {place}: {self.what}. {CURES[self.kind]}"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
