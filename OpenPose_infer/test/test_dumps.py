# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.cli import UserError
from common.skeleton import OPENPOSE
from OpenPose_infer import dumps

import numpy as np
import pytest

CELLS = (5, 7)
SHAPES = ((OPENPOSE.num_heatmaps, *CELLS), (OPENPOSE.num_pafs, *CELLS))


def outputs() -> list[np.ndarray]:
    """Two stages, with small values, zeros and an exponent."""
    random = np.random.default_rng(0)
    maps = [(random.standard_normal(shape) * 0.01).astype(np.float32) for shape in SHAPES * 2]
    maps[2][0, 0, :3] = 0, 1e-20, -3e8
    return maps


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return dumps.read_maps(dumps.find(folder), "a", OPENPOSE, CELLS)


@pytest.mark.parametrize("binary", [False, True])
def test_written_maps_are_read_back_to_the_last_bit(tmp_path, binary):
    folder, mine = tmp_path / "new" / "folder", ("notes.txt", "result.json", "weights.bin")
    dumps.begin(folder)
    dumps.write(folder, "old", outputs(), not binary)
    for name in mine:
        (folder / name).touch()
    dumps.begin(folder)  # removes old results and nothing else
    dumps.write(folder, "a", outputs(), binary)
    written = {f"a_{number}.{'bin' if binary else 'txt'}" for number in (1, 2, 3, 4)}
    assert {path.name for path in folder.iterdir()} == {*mine, *written}
    for found, expected in zip(read(folder), outputs()[2:], strict=True):
        assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_files_of_the_newer_tool_count_from_nought_and_have_several_lines(tmp_path):
    for number, maps in enumerate(outputs()):
        rows = maps.reshape(-1, CELLS[1])
        (tmp_path / f"a_{number}.txt").write_text("\n".join(" ".join(map(repr, row)) for row in rows.tolist()))
    for found, expected in zip(read(tmp_path), outputs()[2:], strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "word", ["__import__('os').system('touch", "nan", "-inf", "1e39", "0x10", "1,2", "1e", "--1", "1.2.3", "\0", "\xb2"]
)
def test_anything_but_finite_numbers_is_refused(tmp_path, word):
    dumps.write(tmp_path, "a", outputs(), binary=False)
    numbers = (tmp_path / "a_3.txt").read_text().split()
    (tmp_path / "a_3.txt").write_text(" ".join([*numbers[:2], word, *numbers[3:]]), "latin-1")
    with pytest.raises(UserError, match=r"a_3\.txt: "):
        read(tmp_path)


def test_other_numbers_of_numbers_are_refused(tmp_path):
    dumps.write(tmp_path, "a", outputs(), binary=True)
    whole, number = (tmp_path / "a_4.bin").read_bytes(), int(np.prod(SHAPES[1]))
    for content, message in (
        (whole[:-4], f"{number - 1} numbers, {number} expected"),
        (whole + whole[:4], f"{number + 1} numbers, {number} expected"),
        (whole[:-1], "half written"),
        (np.float32(np.nan).tobytes() + whole[4:], "NaN or infinity"),
    ):
        (tmp_path / "a_4.bin").write_bytes(content)
        with pytest.raises(UserError, match=rf"a_4\.bin: .*{message}"):
            read(tmp_path)
    (tmp_path / "a_3.bin").unlink()
    with pytest.raises(UserError, match=r"a_3\.bin: No such file"):
        read(tmp_path)


def test_folders_that_cannot_be_meant(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        dumps.find(tmp_path / "none")
    with pytest.raises(UserError, match="no files"):
        dumps.find(tmp_path)
    for binary in (False, True):
        dumps.write(tmp_path, "a", outputs(), binary)
    with pytest.raises(UserError, match="text and binary"):
        dumps.find(tmp_path)
