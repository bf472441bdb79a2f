#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Images a second on a GPU, batch 1 and 16: TensorRT alone with trtexec, and ONNX Runtime with TensorRT.
#   bash perf_gpu.sh --model=./output/human-pose-estimation.onnx --input_text_path=./output/prep_bin.info
# Writes OpenPose_b1.log and OpenPose_b16.log, and lines as `t4 bs1 fps:252.592`, named after the GPU. Without
# --input_text_path (gen_dataset_info.py writes that file) ONNX Runtime is left out. Another --batch_sizes=1,4,8,16,32.
set -euo pipefail

complain() {
  echo "error: $*" >&2
  exit 2
}

model=./output/human-pose-estimation.onnx input_text_path="" device_id=0 batch_sizes=1,16 width=640 height=368
for argument in "$@"; do
  case $argument in
    --model=*) model=${argument#*=} ;;
    --input_text_path=*) input_text_path=${argument#*=} ;;
    --device_id=*) device_id=${argument#*=} ;;
    --batch_sizes=*) batch_sizes=${argument#*=} ;;
    *) complain "$argument: not a flag; --model --input_text_path --device_id --batch_sizes, each with =" ;;
  esac
done
[[ -f $model ]] || complain "--model=$model: no such file; OpenPose_pth2onnx.py writes it"
[[ $batch_sizes =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]] || complain "--batch_sizes=$batch_sizes: numbers, as 1,16"
[[ -z $input_text_path || -f $input_text_path ]] ||
  complain "--input_text_path=$input_text_path: no such file; gen_dataset_info.py writes it"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[[ -x $python ]] || python=$(command -v python3)
status=0

# "Tesla T4" -> t4, "NVIDIA H100 80GB HBM3" -> h100-80gb-hbm3
gpu_name() {
  local name
  name=$(nvidia-smi --query-gpu=name --format=csv,noheader "--id=$device_id" 2>/dev/null) || name=""
  name=$(tr '[:upper:] ' '[:lower:]-' <<<"$name")
  name=${name#nvidia-}
  name=${name#tesla-}
  echo "${name:-gpu}"
}

# Images a second from trtexec's log: "Throughput: X qps" counts batches; older releases tell the mean time of one.
images_per_second() {
  awk -v batch="$2" '
    match($0, /Throughput: *[0-9.]+ *qps/) { split(substr($0, RSTART, RLENGTH), part, / +/); rate = part[2] }
    !mean && match($0, /[Mm]ean(:| =) *[0-9.]+ *ms/) {
      word = substr($0, RSTART, RLENGTH); gsub(/[^0-9.]/, "", word); mean = word
    }
    END {
      if (rate > 0) printf "%.3f\n", rate * batch
      else if (mean > 0) printf "%.3f\n", 1000 * batch / mean
      else exit 1
    }' "$1"
}

measure_tensorrt() {
  local batch=$1 log=OpenPose_b$1.log rate
  if ! trtexec "--onnx=$model" --fp16 "--shapes=data:${batch}x3x${height}x${width}" "--device=$device_id" >"$log" 2>&1 ||
    ! rate=$(images_per_second "$log" "$batch"); then
    echo "error: trtexec gave no figure for batch $batch; $log says why" >&2
    status=1
    return
  fi
  echo "$gpu bs$batch fps:$rate"
}

measure_onnxruntime() {
  echo "ONNX Runtime with TensorRT, batch $1"
  PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" "$python" -m OpenPose_infer.benchmark -model_type=vision \
    "-device_id=$device_id" "-batch_size=$1" "-om_path=$model" "-input_text_path=$input_text_path" \
    "-input_width=$width" "-input_height=$height" -output_binary=True -useDvpp=False --provider=tensorrt || status=1
}

gpu=$(gpu_name)
IFS=, read -r -a batches <<<"$batch_sizes"
if command -v trtexec >/dev/null; then
  for batch in "${batches[@]}"; do measure_tensorrt "$batch"; done
else
  echo "error: no trtexec on PATH: it comes with TensorRT, in its bin folder" >&2
  status=1
fi
if [[ -n $input_text_path ]]; then
  for batch in "${batches[@]}"; do measure_onnxruntime "$batch"; done
else
  echo "note: without --input_text_path ONNX Runtime with TensorRT is left out"
fi
exit $status
