"""Pages that answer one text with another: translation, summaries, and tasks of one's own."""

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from tfx_jax.demo.parts import ONE_AT_A_TIME, bounded, errors_as_notes, note_line, noted
from tfx_jax.demo.settings import SettingsPanel
from tfx_jax.report.heat_map import make_heat_map
from tfx_jax.run.run import Run
from tfx_jax.tasks.task import Task
from tfx_jax.tasks.translate import Translate

# Most tokens of a side whose attention is drawn: a picture of more can hardly be read.
_MOST_TOKENS = 80


def translation(run: Run, task: Translate) -> None:
  """Makes the page of a translation, with the alignment."""
  _page(run, "Translate", (task.source, task.target), lines=4, aligned=True)


def summary(run: Run, task: Task) -> None:
  """Makes the page of a summary."""
  _page(run, "Summarize", ("text", "summary"), lines=12, aligned=False)


def text_to_text(run: Run, task: Task) -> None:
  """Makes the page of another task that has a source, with the alignment."""
  _page(run, "Generate", ("input", "output"), lines=6, aligned=True)


def _page(run: Run, verb: str, sides: Sequence[str], lines: int, aligned: bool) -> None:
  """Makes fields for a text and its outputs, best first, and the alignment of one of them.

  Args:
    run: the run.
    verb: label of the button.
    sides: labels of the text and of the output.
    lines: height of the fields.
    aligned: whether the attention is drawn, if the model has one to its source.
  """
  aligned = aligned and run.config.model.architecture == "encoder_decoder"
  picture = None
  with gr.Row():
    with gr.Column(scale=2):
      source = gr.Textbox(label=sides[0], lines=lines, autofocus=True, elem_id="source")
      button = gr.Button(verb, variant="primary", elem_id="generate")
      note = note_line()
      panel = SettingsPanel(run, several=True)
    with gr.Column(scale=3):
      best = gr.Textbox(label=sides[1], lines=lines, buttons=["copy"], elem_id="output")
      table = gr.Dataframe(
        headers=["score", "log-prob.", "text"],
        datatype=["number", "number", "str"],
        column_widths=["15%", "15%", "70%"],
        label="outputs, best first" + "; choose one to see its alignment" * aligned,
        interactive=False,
        wrap=True,
        buttons=[],
        elem_id="outputs",
      )
      if aligned:
        picture = gr.Plot(show_label=False, elem_id="alignment")
  # The input and the tokens of its outputs.
  found = gr.State()

  @errors_as_notes(None, None, None)
  def generate(text: str, *values: Any) -> Iterator:
    part, cut = bounded(run, text)
    (hypotheses,) = run.generate([part], **panel.changes(values))
    rows = [[round(x.score, 4), round(x.log_prob, 4), x.text] for x in hypotheses]
    tokens = part, [x.tokens for x in hypotheses]
    yield hypotheses[0].text, rows, tokens, noted(cut)

  events = [button.click, source.submit]
  done = gr.on(
    events, generate, [source, *panel.fields], [best, table, found, note], **ONE_AT_A_TIME
  )
  if picture is not None:
    done.then(lambda found: _alignment(run, found, 0), found, picture, **ONE_AT_A_TIME)

    def choose(found: Any, chosen: gr.SelectData) -> Any:
      return _alignment(run, found, chosen.index[0])

    table.select(choose, found, picture, **ONE_AT_A_TIME)


def _alignment(run: Run, found: tuple[str, list[list[int]]] | None, number: int) -> Any:
  """Returns the heat map of an output; None if there is none, or its sides are too long."""
  text, outputs = found or ("", [])
  if number >= len(outputs) or not outputs[number]:
    return None
  (alignment,) = run.attention([text], [outputs[number]], warn=False)
  if max(len(alignment.source), len(alignment.target)) > _MOST_TOKENS:
    return None
  return make_heat_map(alignment.source, alignment.target, alignment.weights)
