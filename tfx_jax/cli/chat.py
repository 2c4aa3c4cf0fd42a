"""Talks with a person: the model's answers are written while they are made."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from ml_collections import ConfigDict

from tfx_jax import builders
from tfx_jax.cli.console import BREAKS, say
from tfx_jax.errors import UserError
from tfx_jax.run.loading import load
from tfx_jax.run.run import Run
from tfx_jax.runtime.standard_streams import standard_input
from tfx_jax.tasks.conversation import Conversation

HELP = "/reset forgets what was said, /quit ends; Ctrl-C stops an answer"
# What is taken off both ends of a turn; other white space belongs to what is said.
_BLANK = " \t\r\n"


def chat(config: ConfigDict, workdir: str, turns: Iterable[str], target: TextIO) -> int:
  """Answers each turn of a person with a line, until there are no more, or /quit.

  All but the answers goes to standard error. Ctrl-C stops an answer, and between answers it ends
  the conversation.

  Args:
    config: of the run, with what the command line changes.
    workdir: of the run.
    turns: what the person says, as it comes; /reset and /quit are commands.
    target: where answers go.

  Raises:
    UserError: if the run is not of a task of dialogues.
  """
  run = load(workdir, config=config)
  task = builders.make_task(config)
  if not hasattr(task, "source_of"):
    raise UserError(f"--mode=chat needs a run of task.name='dialogue', not '{config.task.name}'")
  conversation = Conversation(task.source_of, run.reads_whole)
  say(HELP)
  for number, line in enumerate(turns):
    if line == "/reset":
      conversation.reset()
      say("(forgotten)")
    elif line == "/quit":
      break
    elif line.startswith("/"):
      say(f"{line} is no command: {HELP}")
    elif line:
      _answer(run, conversation, task.clean(line), number, target)
  return 0


def typed() -> Iterator[str]:
  """The lines of standard input, stripped; on a terminal each is asked for."""
  stdin = standard_input()
  if not stdin.isatty():
    # Only a line feed ends a line; a byte order mark in front is left out.
    stdin.reconfigure(encoding="utf-8-sig", errors="replace", newline="\n")
    yield from (line.strip(_BLANK) for line in stdin)
    return
  with contextlib.suppress(ImportError):
    import readline  # noqa: F401  (it lets lines be edited)
  while True:
    try:
      yield _ask("> ").strip(_BLANK)
    except (EOFError, KeyboardInterrupt):
      say("")
      return


def _ask(prompt: str) -> str:
  """A line of the terminal; the prompt is not written where answers go, to a file or pipe."""
  if sys.stdout.isatty():
    return input(prompt)  # so that it stays there while the line is edited
  print(prompt, end="", file=sys.stderr, flush=True)
  return input()


def _answer(run: Run, conversation: Conversation, line: str, number: int, target: TextIO) -> None:
  read, forgotten = conversation.ask(line)
  if forgotten:
    say(f"(the first {forgotten} turn(s) of what I remembered no longer fit, and are forgotten)")
  written = ""
  try:
    for piece in _pieces(run, read, number):
      written += piece
      target.write(piece.translate(BREAKS))
      target.flush()
  except KeyboardInterrupt:
    say(" (stopped)")
  finally:
    target.write("\n")
    target.flush()
  conversation.answer(written.strip(_BLANK))


def _pieces(run: Run, read: str, number: int) -> Iterator[str]:
  """The answer as it is written, where the search allows that; else all at once."""
  if run.generator.settings.streams:
    yield from run.stream(read, number, num_return=1)
  else:
    yield run.generate([read])[0][0].text
