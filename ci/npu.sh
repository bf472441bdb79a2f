#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Optional: the NPU path against the CPU (ci/npu_check.py). Says in one line when it is skipped, and why.
#
#   bash ci/npu.sh
#
# On a machine with an NPU (npu-smi, torch_npu, CANN's set_env.sh sourced) it runs there. Elsewhere it needs a simulated
# CANN and an environment of its own, for torch_npu without CANN breaks `import torch`. Settings, from the environment:
#
#   POSE_ZOO_NPU_VENV=/path/venv   an environment with torch_npu and what the project needs [.cache/npu/venv]
#   POSE_ZOO_CANN=/path/cann       the libraries of a simulated CANN and its site/ [built from ../shared/fake_cann]
#   POSE_ZOO_NPU=1                 make that environment where there is none: a minute, 1.5 GB
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache/npu
venv=${POSE_ZOO_NPU_VENV:-$cache/venv}
source=$root/../shared/fake_cann
export TORCH_DEVICE_BACKEND_AUTOLOAD=0 # torch must not load torch_npu by itself, see common/__init__.py
cd "$root"

skip() {
  echo "NPU check: skipped ($1)"
  exit 0
}

# Nothing where the interpreter sees an NPU; else why not, in one line.
flaw_of() {
  "$1" -c 'from common import device; print(device.load_npu())' 2>/dev/null | tail -n 1 || echo "$1 cannot import common"
}

make_venv() {
  [[ ${POSE_ZOO_NPU:-0} == 1 ]] || skip "no $venv: POSE_ZOO_NPU=1 makes it, POSE_ZOO_NPU_VENV names another"
  echo "installing torch_npu into $venv"
  "${PYTHON:-python3}" -m venv --clear "$venv.part"
  "$venv.part/bin/python" -m pip install --quiet --disable-pip-version-check 'pip>=23.1'
  "$venv.part/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 torch_npu==2.13.0 \
    -e "$root" --config-settings editable_mode=compat
  mv "$venv.part" "$venv"
}

build_cann() {
  [[ -f $source/build.sh ]] || skip "no NPU here, and no simulated one: POSE_ZOO_CANN names its folder"
  [[ $(command -v gcc) ]] || skip "building the simulated NPU needs gcc"
  bash "$source/build.sh" "$cache/cann"
  rm -rf "$cache/cann/site"
  cp -r --no-preserve=mode "$source/site" "$cache/cann/site"
  export POSE_ZOO_CANN=$cache/cann
}

if [[ $(command -v npu-smi) && -z ${POSE_ZOO_CANN:-} ]]; then
  python=${PYTHON:-python3}
  [[ ! -x $venv/bin/python ]] || python=$venv/bin/python
  flaw=$(flaw_of "$python")
  [[ -z $flaw ]] || skip "npu-smi is here, but $flaw"
else
  [[ -n ${POSE_ZOO_CANN:-} ]] || build_cann
  [[ -x $venv/bin/python ]] || make_venv
  python=$venv/bin/python
fi
exec "$python" -m ci.npu_check
