"""Systems that take turns: each is a separate process, and only one computes at a time.

A system is a function `make(**arguments) -> (run, facts)` that does all slow preparation;
`run(number) -> results` does the work of a round and returns when it is done. `Child` starts

    python benchmarks/rounds.py PACKAGE.MODULE:make JSON

which reads and writes lines of JSON. First it writes `{"ready": facts}`; then it reads `{"round":
number}` and writes `{"round": number, "seconds": …, "processor_seconds": …, "other_cores": …,
…results}`. An error is `{"error": traceback}`. It ends at the end of its input. Output of libraries
goes to standard error.
"""

import contextlib
import json
import os
import pkgutil
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

HERE = os.path.dirname(os.path.abspath(__file__))
# Makes glibc keep large buffers.
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Seconds between rounds, in which threads of the previous system stop spinning.
PAUSE = 0.3


class Failed(Exception):
  """Raised when a system ended or failed; the message has its output."""


class Child:
  """A system in a separate process.

  Args:
    name: name of the system in reports.
    target: "PACKAGE.MODULE:FUNCTION", relative to this folder.
    arguments: arguments of the function, of JSON's types.
    threads: number of processors it may use, the first of those of this process; 0: all.
    environment: additional environment variables. Allocator settings are not inherited.
  """

  def __init__(
    self,
    name: str,
    target: str,
    arguments: Mapping[str, Any],
    threads: int = 0,
    environment: Mapping[str, str] | None = None,
  ):
    self.name = name
    environment = child_environment(threads, environment or {})
    self._errors = tempfile.TemporaryFile()
    begin = time.perf_counter()
    self._process = subprocess.Popen(
      [sys.executable, os.path.join(HERE, "rounds.py"), target, json.dumps(dict(arguments))],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      env=environment,
    )
    self.facts = self._read()["ready"] | {"ready_seconds": round(time.perf_counter() - begin, 1)}

  def run(self, number: int) -> dict[str, Any]:
    """Runs round `number` and waits for its results.

    Raises:
      Failed: if the system fails.
    """
    try:
      self._process.stdin.write(json.dumps({"round": number}).encode() + b"\n")
      self._process.stdin.flush()
    except BrokenPipeError:
      pass  # reported by reading
    return self._read()

  def close(self) -> None:
    """Ends the process."""
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    try:
      self._process.wait(timeout=10)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._process.stdout.close()
    self._errors.close()

  def _read(self) -> dict[str, Any]:
    line = self._process.stdout.readline()
    try:
      answer = json.loads(line)
    except ValueError:
      answer = {"error": f"ended with {self._process.wait()}" if not line else f"said {line!r}"}
    if "error" in answer:
      self._errors.seek(0, os.SEEK_END)
      self._errors.seek(max(self._errors.tell() - 3000, 0))
      said = self._errors.read().decode(errors="replace")
      self._process.kill()
      self.close()
      raise Failed(f"{self.name}: {answer['error']}\n{said}")
    return answer


def child_environment(threads: int, more: Mapping[str, str]) -> dict[str, str]:
  """Returns the environment of a child that may use a number of processors.

  Raises:
    Failed: if there are fewer.
  """
  kept = {
    key: value
    for key, value in os.environ.items()
    if not key.startswith("MALLOC_") and key != "GLIBC_TUNABLES"
  }
  places = processors()
  count = threads or len(places)
  if count > len(places):
    raise Failed(f"--threads={threads}: this process may use {len(places)}")
  chosen = {"BENCHMARK_PROCESSORS": ",".join(map(str, places[:count]))}
  return kept | dict.fromkeys(THREADS, str(count)) | chosen | dict(more)


def processors() -> list[int]:
  """Returns the processors that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))


def report_errors(command: Callable[[], int | None]) -> NoReturn:
  """Runs a command and exits with its status; an error that a user can cause is one line."""
  from tfx_jax.errors import UserError

  try:
    sys.exit(command())
  except (UserError, Failed) as error:
    sys.exit(f"error: {error}")


@contextlib.contextmanager
def children(specifications: Sequence[Mapping[str, Any]]) -> Iterator[list[Child]]:
  """Starts systems one after the other, with arguments of `Child`; ends them after the block."""
  with contextlib.ExitStack() as stack:
    started = []
    for specification in specifications:
      child = Child(**specification)
      stack.callback(child.close)
      started.append(child)
    yield started


def interleave(
  systems: Sequence[Any], rounds: int, warm_up: bool = True
) -> dict[str, list[dict[str, Any]]]:
  """Runs rounds A B A B …; the first one, which compiles and warms up, is discarded.

  Args:
    systems: systems with `name` and `run(number)`; the discarded round has the number 0.
    rounds: number of further rounds.
    warm_up: whether there is a round to discard.

  Returns:
    The results of the rounds, by the systems' names.
  """
  results: dict[str, list] = {system.name: [] for system in systems}
  for number in range(0 if warm_up else 1, rounds + 1):
    for system in systems:
      time.sleep(PAUSE)
      answer = system.run(number)
      if number:
        results[system.name].append(answer)
  return results


def measured(run: Any, number: int) -> dict[str, Any]:
  """Returns the results of `run(number)` and its time.

  Also the processor seconds of this process and of those that it waited for, and the mean number of
  processors that other programs kept busy meanwhile.
  """
  before, busy, own = time.perf_counter(), _busy(), _own()
  results = run(number)
  seconds, own = time.perf_counter() - before, _own() - own
  others = None if busy is None else max(0.0, round((_busy() - busy - own) / seconds, 2))
  times = {"seconds": seconds, "processor_seconds": own, "other_cores": others}
  return {"round": number, **times, **results}


def _own() -> float:
  """Returns the processor seconds of this process and of its children that have ended."""
  children = resource.getrusage(resource.RUSAGE_CHILDREN)
  return time.process_time() + children.ru_utime + children.ru_stime


def _busy() -> float | None:
  """Returns the processor seconds of the whole machine since it started, or None if unknown."""
  try:
    with open("/proc/stat") as file:
      user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
  except (OSError, ValueError):
    return None
  return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def serve(target: str, arguments: str) -> None:
  """Serves a `Child`: makes the system, then runs a round for each request."""
  answers = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)

  def say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), file=answers, flush=True)

  try:
    run, facts = pkgutil.resolve_name(target)(**json.loads(arguments))
    say({"ready": facts})
    for line in sys.stdin:
      say(measured(run, json.loads(line)["round"]))
  except Exception:
    say({"error": traceback.format_exc()})


if __name__ == "__main__":
  if hasattr(os, "sched_setaffinity"):
    # Before imports of libraries that count processors.
    os.sched_setaffinity(0, map(int, os.environ["BENCHMARK_PROCESSORS"].split(",")))
  serve(*sys.argv[1:])
