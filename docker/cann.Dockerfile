# SPDX-License-Identifier: Apache-2.0
# docker build -f docker/cann.Dockerfile -t pose_zoo:cann .
# docs/ascend.md has the command that runs it. CANN, torch and torch_npu go together: `python -m tools.doctor` knows which.
ARG CANN=8.5.0-910b-ubuntu22.04-py3.11
FROM quay.io/ascend/cann:${CANN}

ARG TORCH=2.9.0
ARG TORCH_NPU=2.9.0
RUN pip install --no-cache-dir "torch==${TORCH}" --index-url https://download.pytorch.org/whl/cpu && \
    pip install --no-cache-dir "torch_npu==${TORCH_NPU}"

WORKDIR /pose_zoo
COPY . .
RUN pip install --no-cache-dir --editable ".[infer,tensorboard,mindspore,web]"

# The driver's tools belong to the group HwHiAiUser of the machine: name its number with `docker run --user`.
ENV PYTHON=python3 PYTHONUNBUFFERED=1 TORCH_DEVICE_BACKEND_AUTOLOAD=0
ENTRYPOINT ["/bin/bash", "-c", "for file in /usr/local/Ascend/{cann,ascend-toolkit}/set_env.sh; do [ -f $file ] && . $file && break; done; exec \"$@\"", "--"]
CMD ["python3", "-m", "tools.doctor", "--device=npu"]
