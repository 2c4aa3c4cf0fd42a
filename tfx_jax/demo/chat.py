"""The page of a conversation, whose answers are shown while they are generated."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gradio as gr

from tfx_jax.demo.parts import ONE_AT_A_TIME, bounded, chunks, errors_as_notes, note_line, noted
from tfx_jax.demo.settings import SettingsPanel
from tfx_jax.run.run import Run
from tfx_jax.tasks.conversation import MODEL, Conversation
from tfx_jax.tasks.dialogue import DialogueTask, Turn


class _Said(NamedTuple):
  """State of a conversation.

  Attributes:
    turns: the turns that the model remembers.
    messages: all that was said, as Gradio shows it.
  """

  turns: Sequence[Turn] = ()
  messages: Sequence[dict[str, str]] = ()


def chat(run: Run, task: DialogueTask) -> None:
  """Makes the page: the conversation, a field for the next turn, and the settings beside them."""
  with gr.Row():
    with gr.Column(scale=3):
      shown = gr.Chatbot(
        show_label=False, height=460, render_markdown=False, buttons=[], elem_id="conversation"
      )
      note = note_line()
      turn = gr.Textbox(
        show_label=False, placeholder="Say something", autofocus=True, lines=1, elem_id="turn"
      )
      with gr.Row():
        send = gr.Button("Send", variant="primary", elem_id="send")
        stop = gr.Button("Stop", elem_id="stop_button")
        reset = gr.Button("Forget everything", elem_id="reset")
    with gr.Column(scale=2):
      panel = SettingsPanel(run)
  state = gr.State(_Said())

  @errors_as_notes(gr.skip(), gr.skip(), gr.skip())
  def answer(text: str, said: _Said, *values: Any) -> Iterator:
    part, note = bounded(run, text)
    changes = panel.changes(values)
    run.generator.settings.replace(**changes)  # a mistake is found before the turn counts
    conversation = Conversation(task.source_of, run.reads_whole)
    conversation.turns = list(said.turns)
    source, forgotten = conversation.ask(task.clean(part))
    if forgotten:
      note = f"The first {forgotten} turns that were remembered no longer fit, and are forgotten."
    messages = [*said.messages, {"role": "user", "content": text}]
    yield "", _Said(conversation.turns, messages), messages, noted(note)
    output = ""
    for chunk in chunks(run, source, len(said.messages) // 2, changes):
      output += chunk
      # The turns are kept after each chunk, for the answer may be stopped.
      turns = [*conversation.turns, *[Turn(MODEL, output.strip())] * bool(output.strip())]
      spoken = [*messages, {"role": "assistant", "content": output}]
      yield gr.skip(), _Said(turns, spoken), spoken, gr.skip()

  events = [send.click, turn.submit]
  outputs = [turn, state, shown, note]
  running = gr.on(events, answer, [turn, state, *panel.fields], outputs, **ONE_AT_A_TIME)
  stop.click(None, cancels=[running], api_visibility="private")
  # Gradio has a button of its own that empties the conversation.
  gr.on(
    [reset.click, shown.clear],
    lambda: (_Said(), [], noted("")),
    None,
    [state, shown, note],
    cancels=[running],
    api_visibility="private",
  )
