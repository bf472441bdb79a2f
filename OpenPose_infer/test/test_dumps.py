# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.cli import UserError
from common.skeleton import OPENPOSE
from OpenPose_infer import dumps

import numpy as np
import pytest

CELLS = (5, 7)
SHAPES = ((OPENPOSE.num_heatmaps, *CELLS), (OPENPOSE.num_pafs, *CELLS))


def outputs(seed: int = 0) -> list[np.ndarray]:
    """Two stages, with small values, zeros and an exponent."""
    random = np.random.default_rng(seed)
    maps = [(random.standard_normal(shape) * 0.01).astype(np.float32) for shape in SHAPES * 2]
    maps[2][0, 0, :3] = 0, 1e-20, -3e8
    return maps


def refusal(folder: Path, stem: str = "a") -> str:
    with pytest.raises(UserError) as caught:
        dumps.read_maps(dumps.find(folder), stem, OPENPOSE, CELLS)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("binary", [False, True])
def test_written_maps_are_read_back_to_the_last_bit(tmp_path, binary):
    written = outputs()
    dumps.begin(tmp_path / "new" / "folder")
    dumps.write(tmp_path / "new" / "folder", "000_b", written, binary)
    dumps.finish(tmp_path / "new" / "folder")
    results = dumps.find(tmp_path / "new" / "folder")
    suffix = "bin" if binary else "txt"
    assert {path.name for path in results.folder.iterdir()} == {*(f"000_b_{n}.{suffix}" for n in (1, 2, 3, 4))}
    assert (results.stems, results.last) == (("000_b",), 4)
    for mine, theirs in zip(dumps.read_maps(results, "000_b", OPENPOSE, CELLS), written[2:], strict=True):
        assert np.array_equal(mine.view(np.uint32), theirs.view(np.uint32))


@pytest.mark.parametrize(
    "word", ["__import__('os').system('touch", "nan", "-inf", "1e39", "0x10", "1,2", "1e", "--1", "1.2.3", "\0", "\xb2"]
)
def test_anything_but_finite_numbers_is_refused(tmp_path, word):
    dumps.write(tmp_path, "a", outputs(), binary=False)
    numbers = (tmp_path / "a_3.txt").read_text().split()
    (tmp_path / "a_3.txt").write_text(" ".join([*numbers[:2], word, *numbers[3:]]), "latin-1")
    assert "a_3.txt: " in refusal(tmp_path)


def test_files_of_the_newer_tool_count_from_nought_and_have_several_lines(tmp_path):
    for number, maps in enumerate(outputs()):
        rows = maps.reshape(-1, CELLS[1])
        (tmp_path / f"a_{number}.txt").write_text("\n".join(" ".join(map(repr, row)) for row in rows.tolist()))
    results = dumps.find(tmp_path)
    heatmaps, pafs = dumps.read_maps(results, "a", OPENPOSE, CELLS)
    assert np.array_equal(heatmaps, outputs()[2]) and np.array_equal(pafs, outputs()[3])


@pytest.mark.parametrize("binary", [False, True])
def test_too_few_and_too_many_numbers_are_refused_with_both_counts(tmp_path, binary):
    for extra in (-1, 1):
        maps = outputs()
        maps[3] = np.resize(maps[3], maps[3].size + extra)
        dumps.write(tmp_path, "a", maps, binary)
        wanted = int(np.prod(SHAPES[1]))
        assert f"a_4.{'bin' if binary else 'txt'}: {wanted + extra} numbers, {wanted} expected" in refusal(tmp_path)


def test_cut_or_poisoned_binary_is_refused(tmp_path):
    dumps.write(tmp_path, "a", outputs(), binary=True)
    whole = (tmp_path / "a_4.bin").read_bytes()
    (tmp_path / "a_4.bin").write_bytes(whole[:-1])
    assert "no float32 numbers" in refusal(tmp_path)
    (tmp_path / "a_4.bin").write_bytes(np.float32(np.nan).tobytes() + whole[4:])
    assert "a_4.bin: NaN or infinity" in refusal(tmp_path)
    with pytest.raises(UserError, match="result for b has NaN"):
        dumps.write(tmp_path, "b", [np.float32([np.inf])], binary=True)


def test_one_of_a_pair_missing_is_named_and_nothing_shifts(tmp_path):
    for stem in ("a", "b", "c"):
        dumps.write(tmp_path, stem, outputs(), binary=True)
    (tmp_path / "b_3.bin").unlink()
    with pytest.raises(UserError, match=r"b_3\.bin: missing"):
        dumps.find(tmp_path)


def test_folders_that_cannot_be_meant(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        dumps.find(tmp_path / "none")
    with pytest.raises(UserError, match="no files"):
        dumps.find(tmp_path)
    dumps.begin(tmp_path)
    dumps.write(tmp_path, "a", outputs(), binary=True)
    with pytest.raises(UserError, match="half written"):
        dumps.find(tmp_path)
    dumps.finish(tmp_path)
    assert dumps.find(tmp_path).stems == ("a",)
    dumps.write(tmp_path, "a", outputs(), binary=False)
    with pytest.raises(UserError, match="text and binary"):
        dumps.find(tmp_path)


def test_beginning_removes_old_results_and_nothing_else(tmp_path):
    dumps.write(tmp_path, "old", outputs(), binary=True)
    mine = [tmp_path / name for name in ("notes.txt", "result.json", "weights.bin")]
    for path in mine:
        path.write_text("mine")
    (tmp_path / "folder_1.bin").mkdir()
    dumps.begin(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*(path.name for path in mine), "folder_1.bin", dumps.UNFINISHED}
