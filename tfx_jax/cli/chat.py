"""Chats with a person: answers are written while they are generated."""

import contextlib
import io
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
from tfx_jax.tasks.dialogue import DialogueTask

HELP = "/reset forgets what was said, /quit ends; Ctrl-C stops an answer"
# Removed from both ends of a turn; other white space belongs to the turn.
_BLANK = " \t\r\n"


def chat(config: ConfigDict, workdir: str, turns: Iterable[str], target: TextIO) -> int:
  """Answers each turn of a person with a line, until there are no more turns, or /quit.

  Only answers go to `target`; everything else goes to standard error. Ctrl-C stops an answer;
  between answers it ends the conversation.

  Args:
    config: the run's configuration, with the changes of the command line.
    workdir: the run.
    turns: the person's turns; /reset and /quit are commands.
    target: file that answers are written to.

  Raises:
    UserError: if the run's task has no dialogues.
  """
  run = load(workdir, config=config)
  task = builders.make_task(config)
  if not isinstance(task, DialogueTask):
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
  """Yields the lines of standard input, stripped; on a terminal, with a prompt for each."""
  stdin = standard_input()
  if not stdin.isatty():
    # Only a line feed ends a line; a byte order mark at the start is skipped.
    if isinstance(stdin, io.TextIOWrapper):
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
  """Returns a line from the terminal; the prompt never goes to a file or pipe of answers."""
  if sys.stdout.isatty():
    return input(prompt)  # so that the prompt stays while the line is edited
  print(prompt, end="", file=sys.stderr, flush=True)
  return input()


def _answer(run: Run, conversation: Conversation, line: str, number: int, target: TextIO) -> None:
  """Writes the answer to a turn, and adds both to the conversation."""
  source, forgotten = conversation.ask(line)
  if forgotten:
    say(f"(the first {forgotten} turn(s) of what I remembered no longer fit, and are forgotten)")
  answer = ""
  try:
    for chunk in _chunks(run, source, number):
      answer += chunk
      target.write(chunk.translate(BREAKS))
      target.flush()
  except KeyboardInterrupt:
    say(" (stopped)")
  finally:
    target.write("\n")
    target.flush()
  conversation.answer(answer.strip(_BLANK))


def _chunks(run: Run, source: str, number: int) -> Iterator[str]:
  """Yields the answer while it is generated, or, with beams, all of it at the end."""
  if run.generator.settings.streams:
    yield from run.stream(source, number, num_return=1)
  else:
    yield run.generate([source])[0][0].text
