# SPDX-License-Identifier: Apache-2.0
"""Trains on two servers that lose ranks, launchers, each other and themselves; see cluster.sh."""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common.cli import UserError
from common.coco.mini import dataset
from common.train.checkpoint import state_dict
from common.train.store import Store

import project
import torch
from two_servers import DELAY_S, RATE, Server, two_servers

PORT = 29400
DEADLINE_S = 900
AFTER_END_S = 10  # in which the other server ends, too
SMALL = ("--device=cpu", "--amp=O0", "--num_workers=1", "--print_freq=1")
LIGHTWEIGHT = "--step=1 --net_input_size=64 --base_height=64 --num_refinement_stages=0 --batch_size=4 --eval_freq=0"
MIPNET = "--image_size=64,64 --heatmap_size=16,16 --batch_size=2 --eval_freq=0"
COMMANDS = {"Lightweight_OpenPose": LIGHTWEIGHT, "MIPNet": MIPNET}


class Training:
    """One run into a folder of its own."""

    def __init__(self, model: str, work: Path, name: str, *flags: str) -> None:
        self.folder = work / f"{model}_{name}"
        place = (f"--data_path={work / 'data'}", f"--output_dir={self.folder}", f"--log_dir={self.folder / 'logs'}")
        script = str(project.ROOT / model / "test" / "train_smoke_1p.sh")
        self.command = ["bash", script, *COMMANDS[model].split(), *SMALL, *place, *flags]

    def on(self, servers: list[Server], number: str = "2") -> list[str]:
        """The command for each of some servers."""
        return [*self.command, f"--nnodes={number}", f"--rdzv_endpoint={servers[0].name}:{PORT}"]

    def alone(self) -> None:
        """The same on one server with two ranks."""
        variables = {**os.environ, "OMP_NUM_THREADS": "1"}
        run = subprocess.run([*self.command, "--ranks=2"], env=variables, capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(run.stdout + run.stderr)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What the metrics say so far."""
        files = list(self.folder.rglob("metrics.jsonl"))
        lines = files[0].read_text().splitlines() if files else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Every step that was ever logged, repeated ones too."""
        return [event for event in self.events if event["event"] == "step"]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Of the newest checkpoint that a training would resume from. Raises UserError where none can be read."""
        folder = next(self.folder.rglob("metrics.jsonl")).parent
        content = Store(folder, keep=1).newest(lambda damage: None)
        if content is None:
            raise UserError(f"{folder}: no checkpoint")
        return state_dict(content)

    def wait_for_steps(self, count: int, servers: list[Server]) -> float:
        """Waits until this many are logged, or the run has ended; seconds."""
        began = time.monotonic()
        while len(self.steps) < count and not (_have_ended(servers) or _is_over(servers)):
            if time.monotonic() > began + DEADLINE_S:
                raise SystemExit(f"no step {count} of {self.folder}: {_words(servers)}")
            time.sleep(0.2)
        return time.monotonic() - began

    def finish(self, servers: list[Server]) -> None:
        """Waits for the end of all launchers, and for what it leaves."""
        for server in servers:
            if server.launcher and server.launcher.wait(DEADLINE_S):
                raise SystemExit(f"{server.name} ended with {server.launcher.returncode}: {_words(servers)}")
        if left := [number for server in servers for number in server.processes()]:
            raise SystemExit(f"left over: {left}")


def _have_ended(servers: list[Server]) -> bool:
    return all(server.launcher and server.launcher.poll() is not None for server in servers)


def _is_over(servers: list[Server]) -> bool:
    """Whether the run has come to its end on a server."""
    return any(server.launcher and server.launcher.poll() == 0 for server in servers)


def _those_at_the_end(servers: list[Server]) -> list[Server]:
    """All servers, without one that came back after the end, which would wait for the others: it is ended."""
    while not _is_over(servers) and not _have_ended(servers):
        time.sleep(0.2)
    time.sleep(AFTER_END_S)
    late = [server for server in servers if server.launcher and server.launcher.poll() is None]
    for server in late:
        server.kill_launcher()
    return [server for server in servers if server not in late]


def _words(servers: list[Server]) -> str:
    return "\n".join(f"--- {server.name}\n{server.words.read_text()[-3000:]}" for server in servers)


def difference(one: Training, other: Training) -> float:
    """The largest between two runs' weights."""
    first, second = one.weights, other.weights
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


def equal_weights(work: Path) -> Iterator[str]:
    """Two servers against one with as many ranks."""
    for model in COMMANDS:
        flags = ("--epochs=1",)
        one, two = Training(model, work, "one", *flags), Training(model, work, "two", *flags)
        one.alone()
        with two_servers(work) as servers:
            for server in servers:
                server.start(two.on(servers))
            two.finish(servers)
        largest = difference(one, two)
        if largest > 1e-6:
            raise SystemExit(f"{model}: weights differ by {largest}")
        yield f"{model}: two servers against one with two ranks | weights differ by {largest:.1e} | <= 1e-6"


def lost_and_back(work: Path) -> Iterator[str]:
    """Each server is killed once, and comes back."""
    flags = ("--epochs=2", "--save_every=1")
    whole = Training("Lightweight_OpenPose", work, "whole", *flags)
    whole.alone()
    for lost in (1, 0):
        run = Training("Lightweight_OpenPose", work, f"lost_{lost}", *flags)
        with two_servers(work) as servers:
            for server in servers:
                server.start(run.on(servers))
            run.wait_for_steps(5, servers)
            servers[lost].kill()
            began, count = time.monotonic(), len(run.steps)
            servers[lost].start(run.on(servers))
            run.wait_for_steps(count + 1, servers)
            seconds = time.monotonic() - began
            run.finish(servers)
        if difference(whole, run):
            raise SystemExit(f"server {lost} lost: weights differ by {difference(whole, run)}")
        where = "with the endpoint" if lost == 0 else "without the endpoint"
        yield f"server {where} killed with its link, back | next step {seconds:.0f} s later, weights bit-equal | equal"


def lost_for_good(work: Path) -> Iterator[str]:
    """With --nnodes=1:2 the remaining one continues, with the batches of both."""
    flags = ("--epochs=2", "--save_every=1")
    whole = Training("Lightweight_OpenPose", work, "both", *flags)
    whole.alone()
    for how, lose in (("killed for good", Server.kill), ("cut off", Server.cut_off)):
        run = Training("Lightweight_OpenPose", work, lose.__name__, *flags)
        with two_servers(work) as servers:
            for server in servers:
                server.words.unlink(missing_ok=True)
                server.start(run.on(servers, "1:2"))
            run.wait_for_steps(5, servers)
            lose(servers[1])
            began, count = time.monotonic(), len(run.steps)
            run.wait_for_steps(count + 1, servers)
            seconds = time.monotonic() - began
            assert servers[0].launcher
            code, words = servers[0].launcher.wait(DEADLINE_S), servers[0].words.read_text()
        if code or "1 of 2 ranks share the" not in words or "resumed at epoch" not in words:
            raise SystemExit(f"ended with {code}: {words[-3000:]}")
        largest = max(_loss_differences(whole, run))
        if largest > 1e-3:
            raise SystemExit(f"losses differ by {largest}")
        end = f"goes on after {seconds:.0f} s and ends by itself; losses within {largest:.1e} of both servers'"
        yield f"a server {how}, --nnodes=1:2 | {end} | <= 1e-3"


def _loss_differences(one: Training, other: Training) -> list[float]:
    """Relative, of each step's total."""
    first, second = (
        {(step["epoch"], step["step"]): sum(step["losses"].values()) for step in run.steps} for run in (one, other)
    )
    if first.keys() != second.keys():
        raise SystemExit(f"other steps: {sorted(first.keys() ^ second.keys())}")
    return [abs(second[step] - loss) / abs(loss) for step, loss in first.items()]


def random_kills(work: Path, kills: int, seed: int, hang_s: int) -> Iterator[str]:
    """Ranks, launchers and servers are killed; what has died is started again."""
    chance, done, longest, number = random.Random(seed), 0, 0.0, 0
    kinds = {"rank": Server.kill_rank, "launcher": Server.kill_launcher, "server": Server.kill}
    counts = dict.fromkeys(kinds, 0)
    flags = ("--epochs=30", "--save_every=2")
    whole = Training("Lightweight_OpenPose", work, "undisturbed", *flags)
    whole.alone()
    while done < kills:
        run = Training("Lightweight_OpenPose", work, f"storm_{number}", *flags)
        with two_servers(work) as servers:
            for server in servers:
                server.start(run.on(servers))
            run.wait_for_steps(3, servers)
            while done < kills and not _is_over(servers):
                time.sleep(chance.uniform(0, 5))
                kind, victim = chance.choice(list(kinds)), chance.choice(servers)
                if _is_over(servers):
                    break
                kinds[kind](victim)
                assert run.weights  # there is a whole checkpoint at any time
                count, done, counts[kind] = len(run.steps), done + 1, counts[kind] + 1
                time.sleep(chance.uniform(0, 2))
                if kind != "rank":
                    victim.start(run.on(servers))
                seconds = run.wait_for_steps(count + 1, servers)
                longest = max(longest, seconds)
                sys.stderr.write(f"{done}: {kind} of {victim.name}, next step {seconds:.1f} s later\n")
                if seconds > hang_s:
                    raise SystemExit(f"hung for {seconds:.0f} s: {_words(servers)}")
            run.finish(_those_at_the_end(servers))
        if difference(whole, run):
            raise SystemExit(f"weights differ by {difference(whole, run)}")
        number += 1
    kinds_of = ", ".join(f"{count} {name}s" for name, count in counts.items())
    end = f"longest time to the next step {longest:.0f} s, no orphan, every checkpoint whole, weights bit-equal"
    yield f"{kills} random kills ({kinds_of}) in {number} runs | {end} | <= {hang_s} s"


def slow_link(work: Path) -> Iterator[str]:
    """100 Mbit/s and 20 ms, and the share of a step that they take."""
    for is_slow in (False, True):
        run = Training("Lightweight_OpenPose", work, f"slow_{is_slow}", "--epochs=1")
        with two_servers(work, is_slow) as servers:
            for server in servers:
                server.start(run.on(servers))
            run.finish(servers)
        step = run.steps[-1]
        share = step["communication_s"] / step["step_s"]
        link = f"{RATE[:-4]} Mbit/s, {1000 * DELAY_S:.0f} ms each way" if is_slow else "veth"
        times = f"{step['step_s']:.2f} s a step, {step['communication_s']:.2f} s ({share:.0%}) of them"
        yield f"link of {link} | {times} exchange of gradients | trains"


def main() -> None:
    """Reads the flags, trains, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts: dict[str, Callable[..., Iterator[str]]] = {
        one.__name__: one for one in (equal_weights, lost_and_back, lost_for_good, slow_link)
    }
    parser.add_argument("--only", choices=[*parts, "random_kills"], action="append", help="one part; else all")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--hang", type=int, default=60, help="seconds without a step that count as a hang [60]")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    parts["random_kills"] = lambda work: random_kills(work, flags.kills, flags.seed, flags.hang)
    sys.stdout.write("| what | measured | asked |\n|---|---|---|\n")
    for name in flags.only or list(parts):
        with tempfile.TemporaryDirectory() as folder:
            dataset.write(Path(folder) / "data", num_train=24, num_val=4)
            for line in parts[name](Path(folder)):
                sys.stdout.write(f"| {line} |\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
