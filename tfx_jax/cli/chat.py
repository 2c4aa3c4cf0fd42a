"""Chats with a person: answers are written while they are generated."""

import contextlib
import io
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from ml_collections import ConfigDict

from tfx_jax.cli.console import BREAKS, say
from tfx_jax.run.chat import BLANK, Chat
from tfx_jax.run.loading import load
from tfx_jax.runtime.standard_streams import standard_input

HELP = "/reset forgets what was said, /quit ends; Ctrl-C stops an answer"


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
  say(f"loading {workdir}")
  conversation = load(workdir, config=config).chat()
  say(f"{HELP}; the first answer takes longer, because programs are compiled")
  for line in turns:
    if line == "/reset":
      conversation.reset()
      say("(forgotten)")
    elif line == "/quit":
      break
    elif line.startswith("/"):
      say(f"{line} is no command: {HELP}")
    elif line:
      _answer(conversation, line, target)
  return 0


def typed() -> Iterator[str]:
  """Yields the lines of standard input, stripped; on a terminal, with a prompt for each."""
  stdin = standard_input()
  if not stdin.isatty():
    # Only a line feed ends a line; a byte order mark at the start is skipped.
    if isinstance(stdin, io.TextIOWrapper):
      stdin.reconfigure(encoding="utf-8-sig", errors="replace", newline="\n")
    yield from (line.strip(BLANK) for line in stdin)
    return
  with contextlib.suppress(ImportError):
    import readline  # noqa: F401  (it lets lines be edited)
  while True:
    try:
      yield _ask("> ").strip(BLANK)
    except (EOFError, KeyboardInterrupt):
      say("")
      return


def _ask(prompt: str) -> str:
  """Returns a line from the terminal; the prompt never goes to a file or pipe of answers."""
  if sys.stdout.isatty():
    return input(prompt)  # so that the prompt stays while the line is edited
  print(prompt, end="", file=sys.stderr, flush=True)
  return input()


def _answer(conversation: Chat, line: str, target: TextIO) -> None:
  """Writes the answer to a turn while it is generated."""
  chunks = conversation.stream(line)
  if forgotten := conversation.forgotten:
    say(f"(the first {forgotten} turn(s) of what I remembered no longer fit, and are forgotten)")
  try:
    with contextlib.closing(chunks):
      for chunk in chunks:
        target.write(chunk.translate(BREAKS))
        target.flush()
  except KeyboardInterrupt:
    say(" (stopped)")
  finally:
    target.write("\n")
    target.flush()
