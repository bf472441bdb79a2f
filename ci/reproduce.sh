#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The published figures again: fetches the published checkpoints, evaluates each by its published protocol, measures
# images a second of training and evaluation on this machine's device, and writes the results into the READMEs.
#
#   bash ci/reproduce.sh --data_path=/data/coco
#   bash ci/reproduce.sh --data_path=/data/coco --only=AlphaPose,checkpoint_iter_370000.pth
#
# Makes the environment where it is missing. What was measured is not measured again. --help lists the flags.
set -euo pipefail

# shellcheck source=ci/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" "$root/ci/reproduce.py" "$@"
