#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An ONNX file -> an .om for an Ascend chip, with ATC.
#   bash convert_om.sh --model=./output/human-pose-estimation.onnx --output=./output/human-pose-estimation_bs1 \
#     --batch_size=1 --soc_version=Ascend310P3
# --output is the name without .om [the model's, with _bs<batch_size>]. Several batch sizes (--batch_size=1,4,16) make
# one file for all of them. `npu-smi info` shows the chip: Ascend310 for a 310, Ascend310P3 for a 710 or 310P3.
set -euo pipefail

complain() {
  echo "error: $*" >&2
  exit 2
}

# The toolkit's environment, where there is one: atc is not on PATH before.
source_cann() {
  local env_file
  for env_file in "${ASCEND_HOME:-/usr/local/Ascend}"/{cann,ascend-toolkit,latest}/set_env.sh; do
    [[ -f $env_file ]] || continue
    set +u
    # shellcheck disable=SC1090
    source "$env_file"
    set -u
    return
  done
}

model=./output/human-pose-estimation.onnx output="" batch_size=1 soc_version=Ascend310P3 height=368 width=640
for argument in "$@"; do
  case $argument in
    --model=*) model=${argument#*=} ;;
    --output=*) output=${argument#*=} ;;
    --batch_size=*) batch_size=${argument#*=} ;;
    --soc_version=*) soc_version=${argument#*=} ;;
    --height=*) height=${argument#*=} ;;
    --width=*) width=${argument#*=} ;;
    *) complain "$argument: not a flag; --model --output --batch_size --soc_version --height --width, each with =" ;;
  esac
done
[[ -f $model ]] || complain "--model=$model: no such file; OpenPose_pth2onnx.py writes it"
[[ $batch_size =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]] || complain "--batch_size=$batch_size: a number, or several as 1,4,16"
[[ $height =~ ^[1-9][0-9]*$ && $width =~ ^[1-9][0-9]*$ ]] || complain "--height=$height --width=$width: numbers of pixels"
output=${output:-${model%.onnx}_bs${batch_size//,/_}}
output=${output%.om}

source_cann
command -v atc >/dev/null || complain "no atc on PATH: install CANN and source its set_env.sh (or set ASCEND_HOME)"
mkdir -p "$(dirname "$output")" || complain "--output=$output: its folder cannot be made"

shape=$batch_size batches=()
if [[ $batch_size == *,* ]]; then
  shape=-1 batches=("--dynamic_batch_size=$batch_size")
fi
began=$(mktemp) # an .om older than this is not of now
trap 'rm -f "$began"' EXIT
if ! atc --framework=5 "--model=$model" "--output=$output" --input_format=NCHW \
  "--input_shape=data:$shape,3,$height,$width" ${batches[@]+"${batches[@]}"} --log=error \
  "--soc_version=$soc_version" || [[ ! -f $output.om || $output.om -ot $began ]]; then
  echo "error: atc did not write $output.om; its lines above say why (--soc_version=$soc_version, opset 11?)" >&2
  exit 1
fi
echo "$output.om: batch $batch_size, $soc_version"
