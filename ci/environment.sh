#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the Python environment beside the clone, once; the commands in ci/ source it.
#
#   bash ci/environment.sh
#
# The second call does nothing. It installs again when pyproject.toml or a setting below has changed, and starts over
# after an installation that was cut off. Settings, from the environment:
#
#   POSE_ZOO_PYTHON=python3.12  the interpreter to begin with [the first Python 3.10 or newer on PATH]
#   POSE_ZOO_VENV=/fast/venv    where the environment is [.venv in the clone]
#   POSE_ZOO_TORCH="torch==2.13.0"   what pip installs as torch: words of a pip command [torch==2.13.0, the tested one]
#     "torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu"   the small build, for machines without GPU
#     system                    keep the torch of that interpreter, such as a GPU server's or, with torch_npu, an NPU's
#
# Leaves two variables: root, the clone, and PYTHON, the environment's interpreter, which the launchers use.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${POSE_ZOO_VENV:-$root/.venv}
export PYTHON=$venv/bin/python
torch=${POSE_ZOO_TORCH:-torch==2.13.0}
extras=dev,infer,openvino,tensorboard,web
stamp=$venv/pose_zoo.installed   # what was installed, when it is whole
unfinished=$venv/pose_zoo.begun  # we made this folder and have not finished
log=$venv/pose_zoo.log

complain() {
  echo "error: $*" >&2
  return 1
}

expected() {
  echo "$root $extras $torch $(cksum <"$root/pyproject.toml")"
}

is_installed() {
  [[ -x $PYTHON && -f $stamp && $(<"$stamp") == "$(expected)" ]]
}

# What is wrong with an interpreter, in a few words; nothing where it will do.
flaw() {
  "$1" -c 'import sys
if sys.version_info < (3, 10):
    print("is older:", sys.version.split()[0])
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("lacks its venv module: install python3-venv, as your system calls it")' 2>/dev/null || echo "does not run"
}

find_python() {
  local name found flaws=""
  for name in ${POSE_ZOO_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10 python}; do
    [[ -n ${POSE_ZOO_PYTHON:-} || $(command -v "$name") ]] || continue
    found=$(flaw "$name")
    [[ $found ]] || { echo "$name" && return; }
    flaws+="; $name $found"
  done
  complain "no usable Python 3.10 or newer${flaws}. Install one, or name it: POSE_ZOO_PYTHON=/path/to/python3"
}

make_venv() {
  local python words=()
  [[ -f $unfinished ]] && echo "$venv: an installation was cut off; beginning anew"
  if [[ ! -f $unfinished && -f $venv/pyvenv.cfg ]] && "$PYTHON" -m pip --version &>/dev/null; then
    return 0 # whole, and perhaps not made by us: install into it
  fi
  if [[ ! -f $unfinished && ! -f $venv/pyvenv.cfg && $(ls -A "$venv" 2>/dev/null) ]]; then
    complain "$venv holds something else; name another folder: POSE_ZOO_VENV=/path/to/new_folder"
    return
  fi
  python=$(find_python) || return
  [[ $torch == system ]] && words+=(--system-site-packages)
  mkdir -p "$venv" && touch "$unfinished" || return
  # In the place of --clear, which takes the mark away, too: killed again, the folder would have no owner.
  find "$venv/" -mindepth 1 ! -name "${unfinished##*/}" -delete || return
  "$python" -m venv ${words[@]+"${words[@]}"} "$venv"
}

own_torch() {
  "$PYTHON" -c 'import importlib.metadata as m; print("torch==" + m.version("torch"))' 2>/dev/null ||
    complain "POSE_ZOO_TORCH=system, but the interpreter of $venv has no torch: remove $venv and set POSE_ZOO_PYTHON"
}

# Without compiling, which pip does on one core.
pip_install() {
  "$PYTHON" -m pip install --no-compile --disable-pip-version-check --progress-bar=off "$@" >>"$log" 2>&1
}

# On all cores. A program's start takes half as long, also where Python may not write compiled files later. Files that no
# Python of this version reads, some packages bring them along, are left as they are.
compile_packages() {
  "$PYTHON" -m compileall -qq -j 0 "$venv/lib" >>"$log" 2>&1 || true
}

install() {
  local words=()
  is_installed && return # by another call that this one has waited for
  make_venv || return
  rm -f "$stamp"
  if [[ $torch == system ]]; then
    words=("$(own_torch)") || return
  else
    read -ra words <<<"$torch"
  fi
  echo "installing into $venv, a minute or more; pip's words: $log"
  : >"$log"
  # editable_mode=compat: a plain path, which type checkers understand; it needs pip 23.1
  if ! { pip_install 'pip>=23.1' &&
    (cd "$root" && pip_install -e ".[$extras]" "${words[@]}" --config-settings editable_mode=compat) &&
    "$PYTHON" -c 'import common.device' >>"$log" 2>&1; }; then
    tail -n 15 "$log" >&2
    complain "the installation failed, see above and $log; mend that, then type the command again"
    return
  fi
  compile_packages
  rm -f "$unfinished" && expected >"$stamp"
}

# One call at a time: a second one waits for the first.
install_once() (
  is_installed && return
  exec 9<"$root/pyproject.toml"
  [[ $(command -v flock) ]] && flock 9
  install
)

install_once || return 1 2>/dev/null || exit 1
