# SPDX-License-Identifier: Apache-2.0
"""DeepLabCut: CollectedData_<scorer>.csv of single- and multi-animal projects, beside the images in labeled-data.

Empty cells are not labelled; everything else is visible, DeepLabCut knows no other. Frames of videos have no EXIF tag.
"""

import csv
import io
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from tools.convert import reading
from tools.convert.dataset import VISIBLE, Category, Dataset, Image, Named, build
from tools.convert.reading import number

CURE = "Save the labels again in DeepLabCut: CollectedData_<scorer>.csv"
ANIMAL, SINGLE = "animal", "single"  # SINGLE: points that belong to no individual
HEADER = ("scorer", "individuals", "bodyparts", "coords")
NOTHING = frozenset({"", "nan", "na", "none"})


def read(source: Path) -> Dataset:
    """A CSV file, a folder of labelled frames, or a project. Raises UserError, naming file, line and cure."""
    source = source.with_suffix(".csv") if source.suffix.lower() in (".h5", ".hdf5") else source  # saved side by side
    patterns = ("CollectedData_*.csv", "*/CollectedData_*.csv", "labeled-data/*/CollectedData_*.csv", "*.csv")
    paths = reading.source_files(source, patterns, "a CollectedData_<scorer>.csv, or the project's folder")
    images = [image for path in paths for image in _images(path)]
    if not images:
        raise UserError(f"{source}: no labelled frame in it. {CURE}")
    return build(source, images, _known(source, paths))


def _known(source: Path, paths: list[Path]) -> list[Category]:
    """The limbs that the project's config.yaml draws."""
    places = [place / "config.yaml" for place in (source, *paths[0].parents[:3])]
    config = next((path for path in places if path.is_file()), None)
    if not config:
        return []
    values = files.read_yaml(config)
    drawn = values.get("skeleton") if isinstance(values, dict) else None
    pairs = [pair for pair in (drawn if isinstance(drawn, list) else []) if isinstance(pair, list) and len(pair) == 2]  # noqa: PLR2004
    return [Category(ANIMAL, (), tuple((str(a), str(b)) for a, b in pairs))] if pairs else []


def _images(path: Path) -> list[Image]:
    text = files.read_bytes(path).decode("utf-8-sig", "replace")
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise UserError(f"{path}: {error}. {CURE}") from error
    with reading.entry(path, "header", CURE):
        header = {row[0].strip(): row for row in rows[: len(HEADER)] if row[0].strip() in HEADER}
        if "bodyparts" not in header or "coords" not in header:
            raise ValueError("no rows `bodyparts` and `coords`")
        if "likelihood" in header["coords"]:
            raise ValueError("what a network found, not labels; extract frames in DeepLabCut and refine them there")
        width = len(header["coords"])
        if any(len(row) != width for row in header.values()):
            raise ValueError("its rows have different lengths")
        first = next((place for place in range(1, width) if header["coords"][place].strip()), width)
        columns = _columns(header, first)
    images = []
    for line, row in enumerate(rows[len(header) :], len(header) + 1):
        with reading.entry(path, f"line {line}", CURE):
            if len(row) != width:
                raise ValueError(f"{len(row)} cells, not {width}")
            images.append(_image(path, row, first, columns))
    return images


def _columns(header: dict[str, list[str]], first: int) -> dict[tuple[str, str], dict[str, int]]:
    """(individual, body part) -> the columns of x and y."""
    columns: dict[tuple[str, str], dict[str, int]] = {}
    people = header.get("individuals", [ANIMAL] * len(header["coords"]))
    for place in range(first, len(header["coords"])):
        key = people[place].strip(), reading.name_of(header["bodyparts"][place], "a body part")
        columns.setdefault(key, {})[header["coords"][place].strip()] = place
    for key, found in columns.items():
        if not {"x", "y"} <= set(found):
            raise ValueError(f"no columns x and y of {' '.join(key)}")
    return columns


def _image(path: Path, row: list[str], first: int, columns: dict[tuple[str, str], dict[str, int]]) -> Image:
    name = "/".join(cell.strip() for cell in row[:first]).replace("\\", "/")
    if not name.strip("/"):
        raise ValueError("it names no image")
    people: dict[str, dict[str, Any]] = {}
    for (individual, part), places in columns.items():
        x, y = row[places["x"]].strip(), row[places["y"]].strip()
        found = x.lower() not in NOTHING and y.lower() not in NOTHING
        people.setdefault(individual, {})[part] = (number(x), number(y), VISIBLE) if found else (0.0, 0.0, 0)
    labelled = {who: points for who, points in people.items() if any(v for _, _, v in points.values())}
    instances = tuple(Named(SINGLE if who == SINGLE else ANIMAL, points) for who, points in labelled.items())
    beside = path.parent / Path(name).name
    short = f"{path.parent.name}/{Path(name).name}"
    return Image(short, None, instances, file=beside if beside.is_file() else None)
