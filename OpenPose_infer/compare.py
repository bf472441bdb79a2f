# SPDX-License-Identifier: Apache-2.0
"""An earlier name of `python -m tools.compare`, which compares the formats of all five networks."""

from common.cli import UserError, run

USAGE = "python -m tools.compare --network=OpenPose_infer --checkpoint_path=FILE --data_path=FOLDER"


def main() -> None:
    """Prints the command to use instead."""
    raise UserError(f"compare.py compares all five networks now, from the root of the project: {USAGE}")


if __name__ == "__main__":
    run(main)
