"""Several processes that train together; benchmarks/processes.py does more of it."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import tissue

from benchmarks import processes as benchmark
from micronet_jax import processes
from micronet_jax.errors import InputError

STEPS = {"num_steps": 4, "eval_every": 2, "log_every": 1}


def test_two_processes_train_what_one_does(tmp_path):
  """With as many devices; what is written, once; and both end well."""
  data = tmp_path / "mine"
  tissue.write_folder(data, [tissue.dots(f"p{i}") for i in range(5)])
  told = {"data": data, "steps": STEPS}
  one = benchmark.Run(tmp_path / "one", count=1, devices=4, **told).end()
  assert one.statuses == [0], one.errors
  two = benchmark.Run(tmp_path / "two", count=2, devices=2, **told).end()
  assert two.statuses == [0, 0], two.errors
  found = benchmark.differences(tmp_path / "two", tmp_path / "one")
  assert found.keys() == {"loss", "weights", "report"}
  assert max(found.values()) <= benchmark.ALIKE, found
  # The first speaks for both.
  assert "step 4/4" in two.outputs[0]
  assert "step" not in two.outputs[1]
  assert two.errors == ["", ""]
  lines = (tmp_path / "two/log.jsonl").read_text().splitlines()
  assert sorted(json.loads(line)["step"] for line in lines) == [1, 2, 2, 3, 4, 4]


@pytest.mark.slow  # minutes
def test_a_process_that_is_stopped_or_killed(tmp_path):
  numbers = tmp_path / "numbers.json"
  assert benchmark.main(["--processes=2", f"--json={numbers}"]) == 0
  assert len(json.loads(numbers.read_text())["rows"]) == 4


SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_NTASKS": "8"}


@pytest.mark.parametrize(
  ("variables", "place"),
  [
    ({}, None),
    (SRUN, (2, 4)),
    ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),  # sbatch without srun
    ({**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
    ({**SRUN, "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", **SRUN}, (1, 2)),
    ({"PMI_SIZE": "3", "PMI_RANK": "0"}, (0, 3)),
  ],
)
def test_what_starters_say(monkeypatch, variables, place):
  for name in [name for pair in processes.STARTERS for name in pair]:
    monkeypatch.delenv(name, raising=False)
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  assert processes.place_among_processes() == place


@pytest.mark.parametrize("index", ["", "2", "-1", "one"])
def test_a_place_that_is_none(monkeypatch, index):
  monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
  monkeypatch.setenv("JAX_PROCESS_ID", index)
  with pytest.raises(InputError, match="JAX_NUM_PROCESSES is '2' and JAX_PROCESS_ID"):
    processes.place_among_processes()


# As JAX 0.10 prints it, shortened.
FATAL = (
  "F1127 23:29:57.926 10039 client.h:80] Terminating process because the JAX "
  "distributed service detected fatal errors. This most likely indicates. "
)
MISSED = (
  "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats):\n"
)


@pytest.mark.parametrize(
  ("said", "who"),
  [
    (FATAL + MISSED + "1\nThe tasks have crashed. Check\n*** stack ***", "process 1"),
    (FATAL + MISSED + "3\n12\nThe tasks have crashed.", "process 3, 12"),
    (FATAL + "UNAVAILABLE: Either the leader task was preempted", "process 0"),
    (FATAL + "Barrier failed because: Task 2 heartbeat timeout.", "process 2"),
    (FATAL + "INTERNAL: something else", "another process"),
  ],
)
def test_a_loss_is_one_sentence(said, who):
  sentence = processes.explain_loss(said)
  assert sentence.startswith(f"error: {who} has ended")
  assert "\n" not in sentence


def test_what_is_no_loss_is_not_replaced():
  assert processes.explain_loss("E1127 coordination_service: late") is None


WORK = """
import os, signal, sys, time
from micronet_jax import processes
processes._replace_last_words()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
os.write(2, b"as usual\\n")
if sys.argv[1] == "unheard":
  print("ready", flush=True)
  sys.stdin.readline()
  os.write(2, b"to nobody\\n")
  time.sleep(0.5)
  sys.exit(7)
if sys.argv[1] == "lost":
  os.write(2, b"E1127 coordination_service: 2 heartbeat timeout\\n" + (
    processes._ENDING + " shut down. Task 2 heartbeat timeout").encode())
  os.abort()
print("ready", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("end", ["lost", "stopped", "unheard"])
def test_the_last_words_are_one_sentence_also_of_process_1(first, end):
  """Process 1 of a container, with which all others end: here of a namespace."""
  command = [sys.executable, "-c", WORK, end]
  if first:
    command = ["unshare", "--pid", "--fork", *command]
    if subprocess.run([*command[:3], "true"], check=False).returncode:
      pytest.skip("no namespaces for this user")
  with subprocess.Popen(
    command, text=True, **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
  ) as process:
    if end == "unheard":  # the work goes on
      assert process.stdout.readline() == "ready\n"
      process.stderr.close()
      process.stdin.write("\n")
      process.stdin.flush()
      assert process.wait(timeout=300) == 7
      return
    if end == "stopped":
      assert process.stdout.readline() == "ready\n"
      pid = process.pid
      if first:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
        [pid] = map(int, children.read_text().split())
      os.kill(pid, signal.SIGTERM)
    said = process.communicate(timeout=300)[1].splitlines()
  assert said[0] == "as usual"
  if end == "stopped":
    assert (process.returncode, said[1:]) == (130, [])
  else:
    assert process.returncode in (134, -signal.SIGABRT)
    assert len(said) == 2
    assert said[1].startswith("error: process 2 has ended")


def test_one_process_asks_nobody():
  assert processes.process_count() == 1
  assert processes.is_first()
  assert processes.from_first(lambda: "mine") == "mine"
  assert processes.after_first(lambda: 3) == 3
  assert processes.any_process(True)
  assert not processes.any_process(False)
  assert processes.first_to_say("this")
  processes.check_alike("this", "words")
