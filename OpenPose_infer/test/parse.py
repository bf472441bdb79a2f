# SPDX-License-Identifier: Apache-2.0
"""The rate of a benchmark as published: `python test/parse.py result/perf_vision_batchsize_1_device_0.txt`.

Prints `310 bs1 fps:...`: four times the rate of the network, as an Ascend 310 card has four chips and the benchmark
runs on one. Where the figures of our own benchmark lie beside the file, a second line says what was measured.
"""

import re
import sys
from pathlib import Path

from common.cli import UserError, run
from common.files import read_bytes, read_json

CHIPS = 4  # of an Ascend 310 card
PLACE = 7  # of the network's rate among all numbers of the file
USAGE = "usage: parse.py perf_vision_batchsize_N_device_M.txt"


def main() -> None:
    """Reads the file that the command line names and prints its rate."""
    source = Path(sys.argv[1] if len(sys.argv) == 2 else "")
    batch_size = re.search(r"batchsize_(\d+)", source.name)
    if batch_size is None:
        raise UserError(USAGE)
    values = re.findall(r":(.*?),", read_bytes(source).decode("utf-8", "replace").replace("\n", ",") + ",")
    try:
        rate = float(values[PLACE].replace("samples/s", ""))
    except (IndexError, ValueError) as error:
        raise UserError(f"{source}: no `Interface throughputRate` in it; run benchmark.py again") from error
    print(f"310 bs{batch_size[1]} fps:{CHIPS * rate:.6g}")
    about = source.with_suffix(".json")
    if about.is_file():
        figures = read_json(about)
        print(f"measured: {figures['network_throughput']:.6g} images/s, {figures['runtime']}")


if __name__ == "__main__":
    run(main)
