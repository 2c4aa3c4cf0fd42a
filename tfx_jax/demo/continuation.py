"""The page that continues a text, which is shown while it is generated."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from tfx_jax.demo.parts import ONE_AT_A_TIME, bounded, chunks, errors_as_notes, note_line, noted
from tfx_jax.demo.settings import SettingsPanel
from tfx_jax.run.run import Run
from tfx_jax.tasks.task import Task


def continuation(run: Run, task: Task) -> None:
  """Makes the page: a beginning, the text with its continuation, and the settings beside it."""
  with gr.Row():
    with gr.Column(scale=3):
      prompt = gr.Textbox(label="beginning", lines=4, autofocus=True, elem_id="source")
      with gr.Row():
        button = gr.Button("Continue", variant="primary", elem_id="generate")
        stop = gr.Button("Stop", elem_id="stop_button")
      note = note_line()
      output = gr.Textbox(label="text", lines=14, buttons=["copy"], elem_id="output")
    with gr.Column(scale=2):
      panel = SettingsPanel(run)

  @errors_as_notes(None)
  def generate(text: str, *values: Any) -> Iterator:
    part, cut = bounded(run, text)
    shown = text
    for chunk in chunks(run, part, 0, panel.changes(values)):
      shown += chunk
      yield shown, noted(cut)

  events = [button.click, prompt.submit]
  running = gr.on(events, generate, [prompt, *panel.fields], [output, note], **ONE_AT_A_TIME)
  stop.click(None, cancels=[running], api_visibility="private")
