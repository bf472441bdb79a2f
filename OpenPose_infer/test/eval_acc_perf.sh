#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The published steps in a row, through files: accuracy, then performance at batch 1 and 16.
#   bash test/eval_acc_perf.sh --datasets_path=/data/coco --checkpoint_path=weights/checkpoint_iter_370000.pth
#   bash test/eval_acc_perf.sh --datasets_path=/data/coco --checkpoint_path=model_best.pth --soc_version=Ascend310P3
# With --soc_version the network is converted for an NPU, without it ONNX Runtime runs it. --output_dir=output is where
# everything is written, --batch_sizes=1,16 are the batches measured.
set -euo pipefail

model_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(dirname "$model_dir")
python=${PYTHON:-$root/.venv/bin/python}
[[ -x $python ]] || python=$(command -v python3)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
datasets_path="" soc_version="" output=$model_dir/output batch_sizes=1,16
checkpoint_path=$model_dir/weights/checkpoint_iter_370000.pth
for arg in "$@"; do
  case $arg in
    --datasets_path=* | --data_path=*) datasets_path=${arg#*=} ;;
    --checkpoint_path=*) checkpoint_path=${arg#*=} ;;
    --soc_version=*) soc_version=${arg#*=} ;;
    --output_dir=*) output=${arg#*=} ;;
    --batch_sizes=*) batch_sizes=${arg#*=} ;;
    *) echo "error: $arg is not known: --datasets_path --checkpoint_path --soc_version --output_dir --batch_sizes" >&2 && exit 2 ;;
  esac
done
[[ $datasets_path ]] || { echo "error: --datasets_path is needed: a COCO folder, or mini" >&2 && exit 2; }
[[ $datasets_path == mini ]] && datasets_path=$("$python" -c "import common.coco.images as i; print(i.data_folder('mini'))")
labels=$datasets_path/annotations/person_keypoints_val2017.json

# step NAME MODULE [WORDS ...]: one program; its own last line says why it failed
step() {
  local name=$1 module=$2
  shift 2
  "$python" -m "OpenPose_infer.$module" "$@" || { echo "$name fail!" >&2 && exit 1; }
}

# measure BATCH BINARY: the network alone, its outputs in result/dumpOutput_device0
measure() {
  local network=$output/human-pose-estimation.onnx
  if [[ $soc_version ]]; then
    network=$output/human-pose-estimation_bs$1.om
    bash "$model_dir/convert_om.sh" --model="$output/human-pose-estimation.onnx" --output="${network%.om}" \
      --batch_size="$1" --soc_version="$soc_version" || { echo "convert_om.sh fail!" >&2 && exit 1; }
  fi
  step benchmark benchmark -model_type=vision -device_id=0 -batch_size="$1" -om_path="$network" \
    -input_text_path="$output/openpose_prep_bin.info" -input_width=640 -input_height=368 -output_binary=True \
    -useDvpp=False --result_path="$output/result_bs$1"
}

mkdir -p "$output"
step preprocess OpenPose_preprocess --src_path="$datasets_path/val2017" --annotations="$labels" \
  --save_path="$output/prep_dataset" --pad_txt_path="$output/pad.txt"
step gen_dataset_info gen_dataset_info bin "$output/prep_dataset" "$output/openpose_prep_bin.info" 640 368
step pth2onnx OpenPose_pth2onnx --checkpoint_path="$checkpoint_path" --output_name="$output/human-pose-estimation.onnx"
for batch in ${batch_sizes//,/ }; do measure "$batch"; done
echo "====accuracy data===="
step postprocess OpenPose_postprocess --benchmark_result_path="$output/result_bs${batch_sizes%%,*}/dumpOutput_device0" \
  --labels="$labels" --pad_txt_path="$output/pad.txt" --detections_save_path="$output/result.json"
echo "====performance data===="
for batch in ${batch_sizes//,/ }; do
  "$python" "$model_dir/test/parse.py" "$output/result_bs$batch/perf_vision_batchsize_${batch}_device_0.txt"
done
echo "success"
