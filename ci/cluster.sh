#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Trainings on two servers that are two network namespaces with a link between them: lost servers, random kills, a slow
# link. For root on Linux, half an hour on two cores; `--only=slow_link` takes one of its parts. The results are printed
# as the table that is kept in ci/results.
#   sudo bash ci/cluster.sh
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
if [[ $(id -u) != 0 ]] || ! command -v ip tc >/dev/null || ! ip netns list >/dev/null 2>&1; then
  echo "skipped: network namespaces need root, and ip and tc (Debian: iproute2)"
  exit 0
fi
export PYTHON=$python PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec "$python" "$root/ci/cluster.py" "$@"
