#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by every <Model>/test/*.sh. Knows devices, ranks, logs and exit codes; knows no model and no number of a
# recipe: each --flag=value goes to Python as it is, and Python rejects what it does not know.
#
#   launch <ranks> <module> [--flag=value ...] "$@"
#
# --device_id=N takes the accelerator N (else that of ASCEND_DEVICE_ID), --ranks=N another number of processes. On several
# servers, on each: --nnodes=2 or 1:4, --rdzv_endpoint=HOST:PORT of one of them, --rdzv_id=NAME (docs/clusters.md).
# DRY_RUN=1 prints the command and stops.
set -euo pipefail

model_dir=$(cd "$(dirname "${BASH_SOURCE[1]}")/.." && pwd)
model=$(basename "$model_dir")
root=$(dirname "$model_dir")
python=${PYTHON:-$root/.venv/bin/python} # the environment that ci/environment.sh makes, else the user's own
[[ ${PYTHON:-} || -x $python ]] || python=python3
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" TORCH_DEVICE_BACKEND_AUTOLOAD=${TORCH_DEVICE_BACKEND_AUTOLOAD:-0}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE} # threads that spin while they wait starve the workers that read data

# The NPU toolkit's environment, where there is one and the training platform has not set it already.
source_cann() {
  local env_file
  [[ ${etp_running_flag:-} == true ]] && return
  for env_file in "${ASCEND_HOME:-/usr/local/Ascend}"/{cann,ascend-toolkit,nnae}/set_env.sh; do
    [[ -f $env_file ]] || continue
    set +u
    # shellcheck disable=SC1090
    source "$env_file"
    set -u
    export HCCL_CONNECT_TIMEOUT=${HCCL_CONNECT_TIMEOUT:-1800} # seconds; ranks compile at different speeds
    export HCCL_WHITELIST_DISABLE=${HCCL_WHITELIST_DISABLE:-1} TASK_QUEUE_ENABLE=${TASK_QUEUE_ENABLE:-2}
    return
  done
}

# Too old a Python would end in a trace.
check_python() {
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && return
  echo "error: $python is no Python 3.10 or newer: name one with PYTHON=/path/to/python" >&2
  exit 2
}

# A path in which ~ is the home folder: the shell leaves it alone behind a =.
home() {
  # shellcheck disable=SC2088  # after an equals sign the shell does not expand it
  if [[ $1 == "~" || $1 == "~/"* ]]; then echo "$HOME${1:1}"; else echo "$1"; fi
}

launch() {
  local ranks=$1 module=$2 device=${ASCEND_DEVICE_ID:-0} output=$model_dir logs="" arg servers=() flags=()
  local from=ASCEND_DEVICE_ID
  shift 2
  for arg in "$@"; do
    case $arg in
      --device[_-]id=*) device=${arg#*=} from=--device_id ;;
      --ranks=*) ranks=${arg#*=} ;;
      --output_dir=* | --output-dir=*) output=$(home "${arg#*=}") ;;
      --log_dir=* | --log-dir=*) logs=$(home "${arg#*=}") ;;
      --nnodes=* | --rdzv[_-]endpoint=* | --rdzv[_-]id=*) servers+=("${arg/rdzv-/rdzv_}") ;;
      --device[_-]id | --ranks | --output[_-]dir | --log[_-]dir | --nnodes | --rdzv[_-]endpoint | --rdzv[_-]id)
        echo "error: $arg without a value: write $arg=VALUE" >&2
        exit 2
        ;;
      *) flags+=("$arg") ;;
    esac
  done
  if [[ ! $device =~ ^[0-9]{1,4}(,[0-9]{1,4})*$ ]]; then # it names a folder
    printf 'error: %s=%q: the number of a device\n' "$from" "$device" >&2
    exit 2
  fi
  if [[ $ranks == 1 ]]; then
    [[ $from != --device_id ]] || unset ASCEND_RT_VISIBLE_DEVICES CUDA_VISIBLE_DEVICES # the flag wins
    export ASCEND_RT_VISIBLE_DEVICES=${ASCEND_RT_VISIBLE_DEVICES:-$device}
    export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-$device}
  fi
  logs=${logs:-$output/test/output/$device}
  local command=("$python" -m common.launch "--ranks=$ranks" "--log_dir=$logs" ${servers[@]+"${servers[@]}"}
    -m "$model.$module"
    "--output_dir=$output" "--log_dir=$logs" ${flags[@]+"${flags[@]}"})
  if [[ ${DRY_RUN:-0} == 1 ]]; then
    local shown="python ${command[*]:1}"
    echo "${shown//$root\//}"
    return
  fi
  check_python
  source_cann
  exec "${command[@]}" # signals and the exit code are the program's own
}
