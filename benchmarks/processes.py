"""Whole processes that take turns: their time, and the programs that XLA compiled for them."""

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import rounds
from summary import rounded

from tfx_jax.runtime.allocator import KEPT_BUFFERS

# Name of the process that all others are compared with.
JAX = "jax.devices"
HERE = os.path.dirname(os.path.abspath(__file__))
# Messages of JAX with this setting; the first one also if the program was read from the disk.
LOG = {"JAX_LOG_COMPILES": "1"}
_NEEDED = re.compile(r"Finished XLA compilation of (.+) in ([\d.e+-]+) sec")
_READ = re.compile(r"Persistent compilation cache hit for ")


class Process:
  """A command that is one of the systems of `rounds.interleave`.

  Args:
    name: unique name.
    command: words after `python`.
    environment: the whole environment.
    before: called before each start, outside the measured time.
    facts: added to what is printed.
  """

  def __init__(
    self,
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    before: Callable[[], object] = lambda: None,
    facts: Mapping[str, Any] | None = None,
  ):
    self.name, self.facts = name, dict(facts or {})
    self._command, self._environment = [sys.executable, *command], dict(environment)
    self._before = before

  def run(self, number: int) -> dict[str, Any]:
    """Returns the time of the process, from its start to its end, and its output.

    Raises:
      rounds.Failed: with the end of its messages.
    """
    self._before()
    return rounds.measured(self._run, number)

  def _run(self, number: int) -> dict[str, str]:
    done = subprocess.run(
      self._command, capture_output=True, text=True, env=self._environment, errors="replace"
    )
    if done.returncode:
      said = done.stderr[-3000:].strip()
      raise rounds.Failed(f"{' '.join(self._command)} ended with {done.returncode}:\n{said}")
    return {"stdout": done.stdout, "stderr": done.stderr}


def programs(messages: str) -> dict[str, Any]:
  """Returns numbers of programs, by the messages of a process whose environment has `LOG`.

  Returns:
    `programs` that were needed, `programs_compiled` of them that were not on disk, and
    `compile_seconds`: the time of both, without tracing.
  """
  needed = _NEEDED.findall(messages)
  return {
    "programs": len(needed),
    "programs_compiled": len(needed) - len(_READ.findall(messages)),
    "compile_seconds": rounded(sum(float(seconds) for _, seconds in needed)),
  }


def most(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Returns the largest value of each key."""
  return {key: max(figures[key] for figures in each) for key in each[0]}


def alone() -> Process:
  """Returns the process that all others are compared with."""
  return Process(JAX, ["-c", "import jax; jax.devices()"], environment())


def prepare(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
  """Makes the tokenizer and the corpus of a run."""
  Process("prepare", ["-m", "tfx_jax.main", "--mode=prepare", *arguments], environment).run(0)


def watched(steps: int, arguments: Sequence[str]) -> list[str]:
  """Returns the command of `watched.py`."""
  return [os.path.join(HERE, "watched.py"), str(steps), *arguments]


def last_line(output: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the line of JSON at the end of a process's output."""
  return json.loads(output["stdout"].splitlines()[-1])


def environment(settings: Mapping[str, str] = KEPT_BUFFERS, cache: str = "") -> dict[str, str]:
  """Returns the environment of a process.

  Args:
    settings: the allocator's, by default those of `main.py`.
    cache: folder for all that tfx_jax keeps, in place of the user's; then the process also logs
      what it compiles.
  """
  own = rounds.child_environment(0, settings)
  if cache:
    own.pop("JAX_COMPILATION_CACHE_DIR", None)
    own |= LOG | {"TFX_JAX_CACHE": cache}
  return own


def pin(threads: int) -> None:
  """Limits this process and its children to a number of processors; 0: all."""
  if threads and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, rounds.processors()[:threads])


def line(
  name: str, facts: Mapping[str, Any], times: Sequence[float], taken: Mapping[str, Sequence]
) -> None:
  """Prints a figure, with its ratio to that of JAX alone in the same rounds.

  Args:
    name: name of the figure.
    facts: added to the line.
    times: seconds of each round.
    taken: results of all systems that took turns; the line also has how many processors other
      programs kept busy meanwhile.
  """
  ratio = statistics.median(times) / statistics.median(seconds(taken[JAX]))
  others = [figures["other_cores"] for each in taken.values() for figures in each]
  noise = max((cores for cores in others if cores is not None), default=None)
  compared = {"ratio_to_jax_devices": rounded(ratio), "other_cores": noise}
  show({"name": name, **facts} | spread(times) | compared)


def seconds(each: Sequence[Mapping[str, Any]]) -> list[float]:
  """Returns the seconds of each round."""
  return [figures["seconds"] for figures in each]


def spread(seconds: Sequence[float]) -> dict[str, Any]:
  """Returns median, minimum and maximum."""
  return {
    "seconds": rounded(statistics.median(seconds)),
    "seconds_range": [rounded(min(seconds)), rounded(max(seconds))],
    "rounds": len(seconds),
    "threads": len(rounds.processors()),
  }


def show(results: Mapping[str, Any]) -> None:
  print(json.dumps({**results, "load": rounded(os.getloadavg()[0])}), flush=True)
