#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The network alone, on noise: samples/s and latency, as the published benchmark prints them, and as JSON.
#   bash test/performance.sh --model=output/human-pose-estimation.onnx --batch_size=1 --provider=cpu
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[[ -x $python ]] || python=$(command -v python3)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m OpenPose_infer.benchmark --loop=50 --result_path="$root/OpenPose_infer/result" "$@"
