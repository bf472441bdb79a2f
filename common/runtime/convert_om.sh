#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An exported network of any directory -> an .om for an Ascend chip, with ATC. Names and shapes come from the file.
#
#   bash common/runtime/convert_om.sh --model=fastpose.onnx --batch_size=1,4,16 --precision_mode=allow_mix_precision
#   bash common/runtime/convert_om.sh --model=pose.onnx --image_size=368x640 --aipp=BGR --soc_version=Ascend310P3
#
# --help lists the flags; docs/om.md shows INT8 and 8-bit input. Without ATC the command that would run is printed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python} # the environment that ci/environment.sh makes, else the user's own
[[ ${PYTHON:-} || -x $python ]] || python=python3

# The toolkit's environment, where there is one: atc is not on PATH before.
for env_file in "${ASCEND_HOME:-/usr/local/Ascend}"/{cann,ascend-toolkit,latest}/set_env.sh; do
  [[ -f $env_file ]] || continue
  set +u
  # shellcheck disable=SC1090
  source "$env_file"
  set -u
  break
done
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m common.runtime.convert_om "$@"
