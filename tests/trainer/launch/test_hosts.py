"""One run started once on each of two hosts; here two launchers on one, which meet over the network."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from test_launch import ROOT, assert_same_run, await_, events, has_made, in_group, in_processes

from trainer.config import RunConfig, dump
from trainer.errors import TrainingError
from trainer.events import MemorySink
from trainer.launch.hosts import Share, share_of
from trainer.launch.launcher import environment
from trainer.loop import train

JOB = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


def started(config: RunConfig, folder: Path, host: int, port: int, hosts: int = 2) -> subprocess.Popen:
    """The program as a job starts it on a host: in a session of its own."""
    given = folder.parent / f"{folder.name}-{host}.yaml"
    given.write_text(dump(config))
    job = {"WORLD_SIZE": str(hosts), "RANK": str(host), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-m", "trainer", str(given), "--output", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **job},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Hosts:
    """The same run started on both."""

    def __init__(self, stack: ExitStack, configs: list[RunConfig], folder: Path):
        port = free_port()
        self.launchers = [
            stack.enter_context(started(config, folder, host, port)) for host, config in enumerate(configs)
        ]
        stack.callback(self._end)

    def ended(self) -> list[tuple[int, str]]:
        """Exit code and last line of each."""
        said = [launcher.communicate(timeout=200)[1] for launcher in self.launchers]
        return [
            (one.returncode, (text.splitlines() or [""])[-1]) for one, text in zip(self.launchers, said, strict=True)
        ]

    def _end(self) -> None:
        for launcher in self.launchers:
            for left in in_group(launcher.pid):
                left.kill()


@pytest.mark.slow
def test_a_run_on_two_hosts_is_the_run_of_one_process_stops_on_both_and_goes_on(tiny_run, tmp_path):
    config, folder = in_processes(tiny_run, 2), tmp_path / "two"
    alone = MemorySink()
    assert train(in_processes(config, 1), tmp_path / "alone", alone) == "finished"
    with ExitStack() as stack:
        hosts = Hosts(stack, [config] * 2, folder)
        await_(has_made(folder, 2))
        os.killpg(hosts.launchers[1].pid, signal.SIGTERM)  # asked of one
        assert hosts.ended() == [(3, "stopped: asked to stop; a checkpoint was saved")] * 2
    first = events(folder)
    assert (first[0]["processes"], first[0]["device"]) == (2, "2 x cpu on 2 hosts")
    assert first[0]["pid"] == hosts.launchers[0].pid
    assert [event["type"] for event in first].count("ended") == 1
    assert first[-1]["step"] < config.steps
    with ExitStack() as stack:
        assert Hosts(stack, [config] * 2, folder).ended() == [(0, "finished: all steps done")] * 2
    found = events(folder)
    assert found[len(first)]["resumed_from"] == first[-1]["step"]
    assert [event["type"] for event in found].count("ended") == 2
    assert_same_run(found, alone.events)


@pytest.mark.slow
def test_what_dies_on_one_host_ends_the_other_and_different_configurations_are_refused(tiny_run, tmp_path):
    config = in_processes(tiny_run, 2, steps=100_000, checkpoint={"every": 100_000})
    with ExitStack() as stack:
        hosts = Hosts(stack, [config] * 2, tmp_path / "run")
        await_(has_made(tmp_path / "run", 1))
        os.killpg(hosts.launchers[1].pid, signal.SIGKILL)
        (code, said), (killed, _) = hosts.ended()
        assert (code, killed) == (1, -signal.SIGKILL)
        assert said.startswith("failed: another process of the run does not answer: ")
    assert events(tmp_path / "run")[-1]["message"] == said.removeprefix("failed: ")
    other = in_processes(config, 2, optimizer={"lr": 0.5})
    with ExitStack() as stack:
        ends = Hosts(stack, [config, other], tmp_path / "differing").ended()
    host = socket.gethostname()
    words = f"{host} was given another configuration than {host}; give every host the same file and --set"
    assert ends == [(1, f"failed: {words}")] * 2


@pytest.mark.slow
def test_a_launcher_whose_others_never_come_can_be_stopped(tiny_run, tmp_path):
    with socket.socket() as first_host:  # which listens, and never answers
        first_host.bind(("127.0.0.1", 0))
        first_host.listen()
        first_host.settimeout(200)
        port = first_host.getsockname()[1]
        with started(in_processes(tiny_run, 2), tmp_path / "run", 1, port) as process, first_host.accept()[0]:
            os.killpg(process.pid, signal.SIGTERM)
            _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (3, "stopped: asked to stop before the training had begun")
    assert not (tmp_path / "run").exists()


def test_each_launcher_starts_its_share():
    assert share_of(4, {}) == share_of(4, {"WORLD_SIZE": "1"}) == Share(0, 4, 4, 0, 4)
    second = share_of(16, JOB)
    assert second == Share(8, 8, 16, 0, 8, "10.0.0.1:29500")
    assert (share_of(16, {**JOB, "RANK": "0"}).is_main, second.is_main) == (True, False)
    # One launcher per process, as `torchrun --nproc-per-node 8` starts them.
    by_process = {**JOB, "WORLD_SIZE": "16", "RANK": "11", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8"}
    assert share_of(16, by_process) == Share(11, 1, 16, 3, 8, "10.0.0.1:29500")
    given = environment(second, 2)
    assert {name: given[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")} == {
        "RANK": "10",
        "LOCAL_RANK": "2",
        "WORLD_SIZE": "16",
        "LOCAL_WORLD_SIZE": "8",
    }
    assert environment(share_of(2, {}), 0).get("GLOO_SOCKET_IFNAME") == "lo"
    assert environment(second, 0).get("GLOO_SOCKET_IFNAME") == os.environ.get("GLOO_SOCKET_IFNAME")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MASTER_PORT": ""}, "2 launchers make this run together, but MASTER_PORT is not set"),
        ({"RANK": "2"}, "RANK=2 in the environment, of WORLD_SIZE=2"),
        ({"WORLD_SIZE": "3"}, "launch.num_processes: 4 asked for, but 3 launchers were started"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two in the environment is no number"),
    ],
)
def test_a_job_that_cannot_make_the_run_is_refused_in_words(change, words):
    with pytest.raises(TrainingError) as refused:
        share_of(4, {**JOB, **change})
    assert words in str(refused.value)


def test_a_refused_job_leaves_no_folder(tiny_run, tmp_path):
    with started(in_processes(tiny_run, 1), tmp_path / "run", 0, 1) as process:
        _, said = process.communicate(timeout=60)
    assert (process.returncode, (tmp_path / "run").exists()) == (1, False)
    assert said.startswith("launch.num_processes: 1 asked for, but 2 launchers were started (WORLD_SIZE)")
