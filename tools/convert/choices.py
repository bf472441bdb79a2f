# SPDX-License-Identifier: Apache-2.0
"""Selects from what was read: one category, keypoints in the order of a skeleton, some of the images."""

import dataclasses
import sys

from common import skeleton
from common.cli import UserError
from tools.convert import splitting
from tools.convert.dataset import Category, Dataset, Instance

PERSON = "person"


def note(text: str) -> None:
    """Prints a note on the error stream."""
    print(f"note: {text}", file=sys.stderr)  # noqa: T201


def category_of_skeleton(name: str) -> Category:
    """A skeleton's keypoints as those of a category, which has the name of one of your own. Raises UserError."""
    points = skeleton.load(name)
    limbs = tuple(limb for limb in points.drawn_limbs if set(limb) <= set(points.keypoints))
    title = PERSON if name in skeleton.BUILT_IN else points.name
    return Category(title, points.keypoints, limbs, points.flip_pairs)


def each_image_once(dataset: Dataset) -> Dataset:
    """The last annotation of an image that occurs again, by a second annotator or in a second file."""
    last = {(image.subset, image.file or image.name): image for image in dataset.images}
    if twice := len(dataset.images) - len(last):
        note(f"{twice} annotations of images that are annotated again further on are left out: the last one is taken")
    return dataclasses.replace(dataset, images=list(last.values()))


def one_category(dataset: Dataset, category: str) -> Dataset:
    """The data set with one category. Raises UserError where it is not clear which."""
    with_points = [name for name, one in dataset.categories.items() if one.keypoints]
    if category:
        chosen = [name for name in with_points if name == category]
    else:
        used = {one.category for image in dataset.images for one in image.instances}
        chosen = [name for name in with_points if name in used] or with_points
    if len(chosen) != 1:
        listed = ", ".join(f"{name} ({len(dataset.categories[name].keypoints)} keypoints)" for name in with_points)
        if not with_points:
            raise UserError(f"{dataset.source}: no category has keypoints. Annotate points, or name another --from")
        what = f"no category {category!r} with keypoints" if category else "several categories have keypoints"
        raise UserError(f"{dataset.source}: {what}; choose with --category: {listed}")
    others = sum(one.category != chosen[0] for image in dataset.images for one in image.instances)
    if others:
        note(f"{others} annotations of other categories are left out; {chosen[0]} is taken")
    images = [
        dataclasses.replace(image, instances=tuple(one for one in image.instances if one.category == chosen[0]))
        for image in dataset.images
    ]
    return dataclasses.replace(dataset, categories={chosen[0]: dataset.categories[chosen[0]]}, images=images)


def ordered(dataset: Dataset, name: str) -> Dataset:
    """Keypoints as a skeleton names and orders them; where the source has no names, by their number."""
    if not name:
        return dataset
    ((title, given),) = dataset.categories.items()
    target = category_of_skeleton(name)
    numbered = all(point.startswith("point_") for point in given.keypoints)
    if numbered and len(given.keypoints) == len(target.keypoints):
        order: list[int] = list(range(len(given.keypoints)))
    else:
        unknown = [point for point in given.keypoints if point not in target.keypoints]
        if unknown:
            raise UserError(
                f"--skeleton={name}: does not have {', '.join(unknown[:5])}, which {dataset.source} annotates; "
                f"its keypoints are {', '.join(target.keypoints)}"
            )
        order = [given.keypoints.index(point) if point in given.keypoints else -1 for point in target.keypoints]
    images = [
        dataclasses.replace(image, instances=tuple(_reordered(one, order) for one in image.instances))
        for image in dataset.images
    ]
    return dataclasses.replace(dataset, categories={title: dataclasses.replace(target, name=title)}, images=images)


def _reordered(one: Instance, order: list[int]) -> Instance:
    keypoints = one.keypoints[order]
    keypoints[[place < 0 for place in order]] = 0
    return dataclasses.replace(one, keypoints=keypoints)


def some_images(dataset: Dataset, subset: str, only_annotated: bool, count: int, seed: int) -> Dataset:
    """Images of one subset, with instances, limited in number; an empty word or 0 takes all. Raises UserError."""
    images = dataset.images
    if subset:
        subsets = sorted({image.subset for image in images})
        images = [image for image in images if image.subset.lower() == subset.lower()]
        if not images:
            raise UserError(f"--subset={subset}: no image of it; {dataset.source} has {', '.join(subsets) or 'none'}")
    if only_annotated:
        images = [image for image in images if image.instances]
    images = splitting.take(images, count, seed)
    if not any(image.instances for image in images):
        raise UserError(f"{dataset.source}: no instance in the images that are taken; annotate some, or take others")
    return dataclasses.replace(dataset, images=images)
