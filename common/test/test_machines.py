# SPDX-License-Identifier: Apache-2.0
"""Two launchers as two machines, with a folder each: they meet, agree on a checkpoint to resume, and come back."""

import socket
import subprocess
from pathlib import Path

from common.test import fault
from common.test.programs import SMALL_TRAINING, environment, launch_command, weights

DEADLINE_S = 240
FLAGS = (*SMALL_TRAINING, "--eval_freq=0", "--num_workers=1", "--save_every=1")
Machine = subprocess.Popen[str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def machine(
    number: int, port: int, data: Path, folder: Path, *flags: str, nodes: str = "2", **variables: str
) -> Machine:
    """The launcher of one of two machines; it writes into a folder of its own."""
    own = folder / str(number)
    place = (f"--data_path={data}", f"--output_dir={own}", f"--log_dir={own / 'logs'}")
    words = ("Lightweight_OpenPose.train", *FLAGS, *place, *flags)
    command = launch_command("common.test.fault", own / "logs", *words)
    variables = {"FAULT": "nothing step 9", **variables}
    place = {"NNODES": nodes, "NODE_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}  # the machines share the cores here
    variables = environment(FAULT_TIME=str(folder / "fault"), **place, **passive, **variables)
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(*machines: Machine) -> list[tuple[int, str]]:
    """Exit codes and words."""
    ends = []
    for process in machines:
        try:
            said = process.communicate(timeout=DEADLINE_S)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            said = "it hangs: " + process.communicate()[0]
        ends.append((process.returncode, said))
    return ends


def test_machines_without_a_shared_disk_go_on_from_rank_zeros_state_and_come_back(
    tiny_coco: Path, tmp_path: Path
) -> None:
    """The state is of a run on one machine that failed. One of two is killed with its launcher, and started again."""
    own = tmp_path / "0"
    place = (f"--data_path={tiny_coco}", f"--output_dir={own}", f"--log_dir={own / 'logs'}", "--epochs=1")
    assert fault.run("raise step 0", own, "Lightweight_OpenPose.train", *FLAGS, *place).code == 1
    port = free_port()
    first, second = (
        machine(number, port, tiny_coco, tmp_path, "--epochs=1", MAX_RESTARTS="3", FAULT="kill_launcher step 1")
        for number in (0, 1)
    )
    second.wait(DEADLINE_S)  # killed by its rank
    again = machine(1, port, tiny_coco, tmp_path, "--epochs=1", MAX_RESTARTS="3")
    ends = end(first, again)
    assert [code for code, _ in ends] == [0, 0], ends
    assert all(f"resumed at epoch 0, step {step}" in ends[0][1] for step in (1, 2)), ends
    assert "Final result" in ends[0][1] and "Final result" not in ends[1][1]
    assert second.communicate()[0] is not None
    assert weights(tmp_path / "0" / "step_one_checkpoints")
    assert not list((tmp_path / "1").rglob("*.pth"))


def test_a_server_with_other_flags_is_refused_and_a_fixed_number_ends_with_it(tiny_coco: Path, tmp_path: Path) -> None:
    port = free_port()
    flags = [("--base_lr=0.1",), ("--base_lr=0.2", "--num_workers=0")]  # the number of workers is each server's own
    servers = [machine(number, port, tiny_coco, tmp_path, *own, MAX_RESTARTS="3") for number, own in enumerate(flags)]
    for (code, said), reason in zip(end(*servers), ("another server has ended the run", "rank 1 on"), strict=True):
        assert code == 2 and said.count("error: ") == 1 and reason in said.splitlines()[-1], said
        assert "base_lr is 0.2, not 0.1" in said and "workers" not in said, said
    assert not list(tmp_path.rglob("*.pth"))


def test_a_free_folder_of_each_server_is_refused_where_they_may_change_places(tiny_coco: Path, tmp_path: Path) -> None:
    """With --nnodes=1:2 any server may become rank 0. The smaller address is that of rank 0, or the smaller process."""
    port = free_port()
    servers = [machine(number, port, tiny_coco, tmp_path, nodes="1:2") for number in (0, 1)]
    for code, said in end(*servers):
        assert code == 2 and "is not the same folder on all servers" in said and "--output_dir" in said, said
