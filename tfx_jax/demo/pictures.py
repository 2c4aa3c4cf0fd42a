"""Pages of runs with pictures: drawing from a text, and describing a picture."""

from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
from PIL.Image import Image

from tfx_jax.demo.parts import ONE_AT_A_TIME, bounded, errors_as_notes, note_line, noted
from tfx_jax.demo.settings import SettingsPanel
from tfx_jax.errors import UserError
from tfx_jax.run.run import Run
from tfx_jax.tasks.task import Task

# Least height of a picture on the page, in pixels: smaller ones are enlarged by whole numbers.
_HEIGHT = 256


def drawing(run: Run, task: Task) -> None:
  """Makes the page of a task that draws pictures from texts."""
  with gr.Row():
    with gr.Column(scale=2):
      source = gr.Textbox(label="text", lines=3, autofocus=True, elem_id="source")
      button = gr.Button("Draw", variant="primary", elem_id="generate")
      note = note_line()
      panel = SettingsPanel(run, several=False)
    with gr.Column(scale=3):
      picture = gr.Image(
        label="picture", interactive=False, format="png", buttons=["download"], elem_id="picture"
      )

  @errors_as_notes(None)
  def draw(text: str, *values: Any) -> Iterator:
    part, cut = bounded(run, text)
    ((best, *_),) = run.generate([part], **panel.changes(values))
    yield _enlarged(best.value), noted(cut)

  events = [button.click, source.submit]
  gr.on(events, draw, [source, *panel.fields], [picture, note], **ONE_AT_A_TIME)


def describing(run: Run, task: Task) -> None:
  """Makes the page of a task that writes the texts of pictures."""
  with gr.Row():
    with gr.Column(scale=2):
      source = gr.Image(
        label="picture",
        type="pil",
        image_mode=None,
        sources=["upload", "clipboard"],
        elem_id="source",
      )
      button = gr.Button("Describe", variant="primary", elem_id="generate")
      note = note_line()
      panel = SettingsPanel(run, several=False)
    with gr.Column(scale=3):
      output = gr.Textbox(label="text", lines=3, buttons=["copy"], elem_id="output")

  @errors_as_notes("")
  def describe(picture: Image | None, *values: Any) -> Iterator:
    if picture is None:
      raise UserError("There is no picture: choose a file first.")
    ((best, *_),) = run.generate([picture], **panel.changes(values))
    yield best.text, noted("")

  gr.on([button.click], describe, [source, *panel.fields], [output, note], **ONE_AT_A_TIME)


def _enlarged(picture: np.ndarray) -> np.ndarray:
  """Returns a picture with each pixel repeated, [H,W,C] -> [nH,nW,C]."""
  times = -(-_HEIGHT // picture.shape[0])
  return picture.repeat(times, axis=0).repeat(times, axis=1)
