# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

from common.train.log import Log


def test_the_device_that_names_the_folder_of_one_process_names_its_file(tmp_path: Path) -> None:
    for folder, name in (("3", "train_3.log"), ("mine", "train_0.log")):
        with Log(tmp_path / "metrics.jsonl", tmp_path / folder) as log:
            log.line("a line")
        assert (tmp_path / folder / name).read_text() == "a line\n"


def test_half_a_line_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"event": "st')
    with Log(tmp_path / "metrics.jsonl", tmp_path) as log:
        log.record("end", ap=0.5)
    half, whole = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert half == '{"event": "st' and json.loads(whole)["ap"] == 0.5
