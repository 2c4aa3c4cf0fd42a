"""Outputs of a trained run by new processes, from the shell and from Python, beside the peers."""

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import calls
import comparison
import exported
import processes
import rounds
from processes import Process, environment, last_line, line, programs, seconds
from sentences import write_sources

# Steps of a process that opens a run and calls it: name, and whether with the whole test set.
STEPS = (("open", None), ("first", False), ("second", False), ("first", True), ("second", True))


@dataclasses.dataclass(frozen=True)
class Timed:
  """A copy of a trained run, its sources, and its exports.

  Attributes:
    origin: the workdir, which is left as it is.
    folder: folder of the copy and of everything below.
    beam: W.
    lines: number of sources of the test set.
    openers: the functions that open the peers, and their arguments, by the peers' names.
  """

  origin: str
  folder: str
  beam: int
  lines: int
  openers: Mapping[str, tuple[str, Mapping[str, Any]]]

  def path(self, name: str) -> str:
    """Returns a path in the folder."""
    return os.path.join(self.folder, name)

  def clear(self) -> None:
    """Makes the run as training left it, with nothing in the cache."""
    for name in ("run", "cache"):
      shutil.rmtree(self.path(name), ignore_errors=True)
    shutil.copytree(self.origin, self.path("run"))

  def systems(self, command: Sequence[str], inputs: Sequence[str]) -> list[Process]:
    """Returns JAX alone, our command with a cold and with a warm cache, and the peers.

    Args:
      command: our command.
      inputs: files that the peers are called with.
    """
    # As from a shell: `main.py` sets the allocator by itself, and a notebook does not.
    ours, theirs = environment({}, cache=self.path("cache")), environment({})
    facts = {"system": comparison.DEFAULT}
    cold, warm = (facts | {"compilation_cache": state} for state in ("cold", "warm"))
    systems = [
      processes.alone(),
      Process("cold", command, ours, self.clear, cold),
      Process("warm", command, ours, facts=warm),
    ]
    threads = {"threads": len(rounds.processors())}
    for name, (opener, arguments) in self.openers.items():
      called = self.calling(opener, {**arguments, **threads}, inputs)
      systems.append(Process(name, called, theirs, facts={"system": name}))
    return systems

  def calling(self, opener: str, arguments: Mapping[str, Any], inputs: Sequence[str]) -> list[str]:
    """Returns the command of `calls.py`."""
    words = [opener, json.dumps(arguments), self.path("output.txt"), *map(self.path, inputs)]
    return [calls.__file__, *words]


def make(folder: str, workdir: str, lines: int, beam: int | None, peers: Sequence[str]) -> Timed:
  """Writes the sources of a run's test set and exports the run, in a folder.

  Args:
    folder: the folder.
    workdir: the trained run.
    lines: largest number of sources.
    beam: W; None: the run's own.
    peers: names of the peers; they are left out, with a message, if they have no such model.
  """
  from tfx_jax.run import loading

  config = loading.read_config(workdir)
  beam = beam or config.generate.beam_size
  texts = write_sources(folder, config, workdir, lines).texts
  for name, text in (("first.txt", texts[0]), ("second.txt", texts[:2][-1])):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
      file.write(text + "\n")
  timed = Timed(workdir, folder, beam, len(texts), {})
  timed.clear()
  if peers:
    try:
      exported.export(timed.path("run"), folder)
    except rounds.Failed as error:
      print(f"without the peers: {error}", file=sys.stderr)
      return timed
  settings = exported.peer_settings(config.generate, beam)
  openers = {name: exported.opener(name, folder, settings) for name in peers}
  return dataclasses.replace(timed, openers=openers)


def from_shell(timed: Timed, count: int) -> None:
  """Prints the times of whole processes: one sentence, and the test set."""
  for name, number in (("first.txt", 1), ("texts.txt", timed.lines)):
    command = [
      *("-m", "tfx_jax.main", "--mode=generate", f"--workdir={timed.path('run')}"),
      *(f"--input={timed.path(name)}", f"--output={timed.path('output.txt')}"),
      f"--config.generate.beam_size={timed.beam}",
    ]
    systems = timed.systems(command, [name])
    taken = rounds.interleave(systems, count, warm_up=False)
    for system in systems[1:]:
      each = taken[system.name]
      facts = {"lines": number, "beam": timed.beam} | system.facts
      line("shell", facts | _programs(system, each), seconds(each), taken)


def from_python(timed: Timed, count: int) -> None:
  """Prints the times of the steps of a process that opens the run and calls it four times."""
  inputs = ["first.txt", "second.txt", "texts.txt", "texts.txt"]
  mine = {"workdir": timed.path("run"), "settings": {"beam_size": timed.beam}}
  systems = timed.systems(timed.calling("systems.ours:open_run", mine, inputs), inputs)
  taken = rounds.interleave(systems, count, warm_up=False)
  for system in systems[1:]:
    each = taken[system.name]
    for step, (name, whole) in enumerate(STEPS):
      lines = {} if whole is None else {"lines": timed.lines if whole else 1}
      facts = {"call": name, **lines, "beam": timed.beam} | system.facts
      times = [last_line(figures)["seconds"][step] for figures in each]
      line("python", facts | _programs(system, each, step), times, taken)


def _programs(system: Process, each: Sequence[Mapping[str, Any]], step: int = 0) -> dict[str, Any]:
  """Returns the numbers of programs of one of our processes, up to a step's end mark."""
  if "compilation_cache" not in system.facts:
    return {}
  messages = [figures["stderr"].split(calls.MARK)[step] for figures in each]
  return processes.most([programs(message) for message in messages])
