"""Parts that all pages share: bounded input, a line of notes, and one queue for the model."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from tfx_jax.errors import UserError
from tfx_jax.run.run import Run

# Keywords of an event that uses the model: all such events share a queue, and one runs at a time.
ONE_AT_A_TIME: Mapping[str, Any] = {
  "concurrency_id": "model",
  "concurrency_limit": 1,
  "api_visibility": "private",
}
# Characters that are looked at for each token of the longest input; no piece that SentencePiece
# learns has more.
_CHARACTERS = 16


def note_line() -> gr.Textbox:
  """Returns the component for notes and errors, which is hidden while there are none."""
  return gr.Textbox(show_label=False, container=False, visible=False, elem_id="note", max_lines=3)


def noted(note: str) -> Any:
  """Returns the value of the line of notes."""
  return gr.update(value=note, visible=bool(note))


def errors_as_notes(*after: Any) -> Callable[[Callable[..., Iterator]], Callable[..., Iterator]]:
  """Returns a decorator of event handlers, which shows mistakes of the user in the line of notes.

  Handlers are generators of tuples: values of the outputs, then that of the line of notes.

  Args:
    *after: values of the outputs after a mistake.
  """

  def decorate(handler: Callable[..., Iterator]) -> Callable[..., Iterator]:
    @functools.wraps(handler)
    def handle(*arguments: Any) -> Iterator:
      try:
        yield from handler(*arguments)
      except UserError as error:
        yield *after, noted(str(error))

    return handle

  return decorate


def bounded(run: Run, text: str) -> tuple[str, str]:
  """Returns the part of an input that is looked at, and a note if the run does not read all of it.

  Raises:
    UserError: for an empty text, where the model needs one.
  """
  if not text.strip() and not run.layout.continues:
    raise UserError("The text is empty: write one first.")
  limit, from_end = run.longest_input, run.layout.cut_start
  most = _CHARACTERS * limit
  part = text[-most:] if from_end else text[:most]
  if len(part) == len(text) and run.reads_whole(part):
    return part, ""
  read = "last" if from_end else "first"
  return part, f"The text is too long: only its {read} {limit} tokens are read."


def chunks(run: Run, text: str, number: int, changes: Mapping[str, Any]) -> Iterator[str]:
  """Yields an output while it is generated; all of it at the end if the search may change it.

  Args:
    run: the run.
    text: the input.
    number: number of the input among several; samples depend on it.
    changes: changes of the run's settings of generation.
  """
  if run.generator.settings.replace(**changes).streams:
    yield from run.stream(text, number, **changes)
  else:
    yield run.generate([text], **changes)[0][0].text
