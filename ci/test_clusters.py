# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""The files of docs/clusters: they run with a scheduler's variables, and type what the launchers understand."""

import subprocess
from pathlib import Path
from typing import Any

import project
import pytest
import yaml

FOLDER = project.ROOT / "docs" / "clusters"
JOBS = sorted(FOLDER.glob("*.yaml"))
PLAIN = ("--data_path=/data/coco", "--step=1")
DEVICES = {"pytorchjob_gpu": "nvidia.com/gpu", "pytorchjob_npu": "huawei.com/Ascend910"}
ELASTIC = {"rdzvBackend", "rdzvId", "rdzvHost", "rdzvPort", "minReplicas", "maxReplicas", "maxRestarts"}  # v1's fields


def ran(folder: Path, *command: str, **variables: str) -> list[str]:
    """What a command prints on each server; programs of the scheduler are in `folder`."""
    path = f"{folder}:/usr/bin:/bin"
    run = subprocess.run(
        command,
        cwd=project.ROOT,
        env={"PATH": path, "DRY_RUN": "1", "PYTHON": "python", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.replace("\r", "").splitlines()


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
    (folder / name).chmod(0o755)


def launched(line: str, *words: str) -> bool:
    """Whether a line is a launch of eight ranks of a training with these words."""
    return line.startswith("python -m common.launch --ranks=8 ") and set(words) <= set(line.split())


def test_slurm(tmp_path: Path) -> None:
    program(tmp_path, "scontrol", '[[ $* == "show hostnames node[1-2]" ]] && printf "node1\\nnode2\\n"')
    program(tmp_path, "srun", 'for number in 1 2; do "$@"; done')
    variables = {
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "77",
        "SLURM_NTASKS": "2",
    }
    said = ran(tmp_path, "bash", "docs/clusters/slurm.sh", *PLAIN, **variables)
    words = ("--nnodes=2", "--rdzv_endpoint=node1:29400", "--rdzv_id=77", "Lightweight_OpenPose.train", *PLAIN)
    assert len(said) == 2 and all(launched(line, *words) for line in said), said


def test_slurm_asks_for_one_launcher_on_each_server() -> None:
    options = [line.split()[1] for line in (FOLDER / "slurm.sh").read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"--ntasks-per-node=1", "--requeue", "--no-kill", "--signal=TERM@120"} <= set(options)


def test_ssh(tmp_path: Path) -> None:
    program(tmp_path, "ssh", 'echo "$4" >&2; exec bash -c "$5"')
    said = ran(tmp_path, "bash", "docs/clusters/ssh.sh", "node1,node2", *PLAIN, "--output_dir=/two words")
    words = ("--nnodes=2", "--rdzv_endpoint=node1:29400", "Lightweight_OpenPose.train", *PLAIN)
    assert len(said) == 2 and all(launched(line, *words) and "/two words" in line for line in said), said


def test_ssh_tells_that_a_server_failed(tmp_path: Path) -> None:
    program(tmp_path, "ssh", "[[ $4 == node1 ]] || exit 7")
    run = subprocess.run(
        ["bash", str(FOLDER / "ssh.sh"), "node1,node2"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False
    )
    assert run.returncode == 7


def test_modelarts(tmp_path: Path) -> None:
    hosts = {"VC_WORKER_HOSTS": "job-worker-0.job,job-worker-1.job", "VC_TASK_INDEX": "1"}
    command = ("bash", "docs/clusters/modelarts.sh", *PLAIN)
    said = ran(tmp_path, *command, MA_NUM_HOSTS="2", MA_NUM_GPUS="8", **hosts)
    assert len(said) == 1 and launched(said[0], "--nnodes=2", "--rdzv_endpoint=job-worker-0.job:29400", *PLAIN)


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.stem)
def test_kubernetes(job: Path, tmp_path: Path) -> None:
    content: dict[str, Any] = yaml.safe_load(job.read_text())
    assert (content["apiVersion"], content["kind"]) == ("kubeflow.org/v1", "PyTorchJob") and content["metadata"]["name"]
    policy, worker = content["spec"]["elasticPolicy"], content["spec"]["pytorchReplicaSpecs"]["Worker"]
    assert policy.keys() <= ELASTIC and policy["minReplicas"] <= worker["replicas"] <= policy["maxReplicas"]
    assert worker["restartPolicy"] == "OnFailure"
    spec = worker["template"]["spec"]
    [container] = spec["containers"]
    assert container["name"] == "pytorch" and container["image"]
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert requests[DEVICES[job.stem]] == limits[DEVICES[job.stem]] == 8
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    variables = {"PET_NNODES": "1:4", "PET_RDZV_ENDPOINT": "pose-worker-0:23456", "PET_RDZV_ID": "pose"}
    said = ran(tmp_path, *container["command"], PET_MAX_RESTARTS="100", **variables)
    words = ("--nnodes=1:4", "--rdzv_endpoint=pose-worker-0:23456", "--rdzv_id=pose", *PLAIN)
    assert len(said) == 1 and launched(said[0], *words), said


def test_cluster_trainings_are_skipped_by_name_without_root(tmp_path: Path) -> None:
    program(tmp_path, "id", "echo 1000")
    assert ran(tmp_path, "bash", "ci/cluster.sh")[0].startswith("skipped: network namespaces need root")
