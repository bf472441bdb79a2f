#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The page: drop in an image, a video or the camera, and see every model at work.
#
#   bash ci/page.sh                        the network that ci/quickstart.sh has trained
#   bash ci/page.sh --model=Lightweight_OpenPose:model_best.pth --model=MIPNet:mipnet.onnx
#
# Makes the environment where it is missing, trains nothing. --help lists the flags; docs/page.md shows each part.
set -euo pipefail

# shellcheck source=ci/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" -m tools.page "$@"
