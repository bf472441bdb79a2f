#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A GPU or NPU in ten minutes: does it compute what the CPU computes, and how fast does it train, evaluate and infer.
# Results are written as they come, to ci/results/accelerator_<machine>_<date>.md.
#
#   bash ci/accelerator.sh
#   bash ci/accelerator.sh --only=training,inference --output=/results/accelerator.md
#   bash ci/accelerator.sh --device=cpu --tiny      whether the script itself works: a minute, numbers mean nothing
#
# PYTHON names the environment; without it ci/environment.sh makes one. --help lists the flags. What fails is a line of
# the results; the others follow, and the exit code is 1.
set -euo pipefail

if [[ -z ${PYTHON:-} ]]; then
  # shellcheck source=ci/environment.sh
  source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export TORCH_DEVICE_BACKEND_AUTOLOAD=0 # torch must not load torch_npu by itself, see common/__init__.py
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" -m ci.accelerator "$@"
