"""The page of a run: which kind it is follows from the run's task."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from tfx_jax.demo.chat import chat
from tfx_jax.demo.continuation import continuation
from tfx_jax.demo.pictures import describing, drawing
from tfx_jax.demo.text_to_text import summary, text_to_text, translation
from tfx_jax.run.run import Run
from tfx_jax.tasks.describe import Describe
from tfx_jax.tasks.dialogue import DialogueTask
from tfx_jax.tasks.draw import Draw
from tfx_jax.tasks.summarize import Summarize
from tfx_jax.tasks.task import Task
from tfx_jax.tasks.translate import Translate

# Requests that may wait; another one is refused with a message.
_MOST_WAITING = 32


def kind_of_page(task: Task) -> Callable[[Run, Any], None]:
  """Returns the function that makes the components for a task.

  It is called with a run and its task, inside of a Gradio page.
  """
  if isinstance(task, Draw):
    return drawing
  if isinstance(task, Describe):
    return describing
  if isinstance(task, DialogueTask):
    return chat
  if not task.has_source:
    return continuation
  if isinstance(task, Translate):
    return translation
  return summary if isinstance(task, Summarize) else text_to_text


def make_page(run: Run, task: Task, name: str) -> gr.Blocks:
  """Returns the page of a run.

  Args:
    run: the run.
    task: its task.
    name: name of the run, for the title.
  """
  with gr.Blocks(title=f"{name} - tfx_jax", analytics_enabled=False) as page:
    config = run.config
    facts = f"{config.task.name}, {config.model.architecture}, step {run.step}"
    gr.Markdown(f"## {name}\n{facts}")
    kind_of_page(task)(run, task)
  return page.queue(max_size=_MOST_WAITING, api_open=False)
