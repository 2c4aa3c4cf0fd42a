"""Settings of generation on a page: a field for each, which the search in use decides to show."""

import inspect
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import gradio as gr

from tfx_jax.common.ranges import RANGES
from tfx_jax.generation.settings import READ_BY, SEARCHES, GenerateSettings
from tfx_jax.run.run import Run

# Settings by the searches that read them, in the order of the page; the first three groups are
# shown for these searches only.
_BEAM = ("beam_size", "length_penalty")
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "seed")
_MBR = ("num_samples",)
_RULES = (
  "min_length",
  "max_length",
  "no_repeat_ngram_size",
  "repetition_penalty",
  "presence_penalty",
  "stop",
  "forbidden_phrases",
)
_SHOWN_FOR = dict.fromkeys(_BEAM, ("beam",)) | READ_BY


class _Slider(NamedTuple):
  """Values that a page offers: fewer than are allowed, for a request must not take minutes."""

  low: float
  high: float
  step: float


_SLIDERS = {
  "num_return": _Slider(1, 16, 1),
  "beam_size": _Slider(1, 16, 1),
  "length_penalty": _Slider(0, 2, 0.1),
  "temperature": _Slider(0.05, 2, 0.05),
  "top_k": _Slider(0, 200, 1),
  "top_p": _Slider(0.05, 1, 0.05),
  "min_p": _Slider(0, 0.5, 0.01),
  "typical_p": _Slider(0.05, 1, 0.05),
  "num_samples": _Slider(2, 64, 1),
  "no_repeat_ngram_size": _Slider(0, 10, 1),
  "repetition_penalty": _Slider(1, 2, 0.05),
  "presence_penalty": _Slider(-2, 2, 0.1),
}
# Outputs of an input that are shown at first, if the search finds so many at no further cost.
_SEVERAL = 4
# Characters of all stop strings, or of all forbidden phrases.
_MOST_CHARACTERS = 200


class SettingsPanel:
  """Fields for the settings of generation, with the run's values at first.

  Where several outputs can be asked for, some are at first. Outputs can be made no longer than the
  run's `generate.max_length`.

  Args:
    run: the run.
    several: whether several outputs of an input can be asked for.

  Attributes:
    fields: the fields, whose values `changes` takes.
  """

  def __init__(self, run: Run, several: bool = False):
    self._run, settings = run, run.generator.settings
    several_names = ("num_return",) if several else ()
    self._names = ("search", *several_names, *_BEAM, *_SAMPLING, *_MBR, *_RULES)
    described = _descriptions()
    with gr.Accordion("Settings", open=not several, elem_id="settings"):
      search = gr.Radio(SEARCHES, value=settings.search, label="search", info=described["search"])
      self.fields: list[Any] = [search]
      for name in self._names[1:]:
        visible = _shown(name, settings.search)
        self.fields.append(_field(name, settings, described[name], visible))
    search.change(
      lambda search: [gr.update(visible=_shown(name, search)) for name in self._names[1:]],
      search,
      self.fields[1:],
      queue=False,
      api_visibility="private",
    )

  def changes(self, values: Iterable[Any]) -> dict[str, Any]:
    """Returns the values of the fields as changes of the run's settings.

    A setting that the search does not read has its default.
    """
    given = dict(zip(self._names, values, strict=True))
    for name, value in given.items():
      kind = type(getattr(GenerateSettings, name))
      given[name] = tuple((value or "").splitlines()) if kind is tuple else kind(value)
    unread = [name for name, searches in READ_BY.items() if given["search"] not in searches]
    return given | {name: getattr(GenerateSettings, name) for name in unread}


def _shown(name: str, search: str) -> bool:
  return search in _SHOWN_FOR.get(name, SEARCHES)


def _field(name: str, settings: GenerateSettings, info: str, visible: bool) -> Any:
  """Returns the field of a setting with its present value."""
  value = getattr(settings, name)
  if name == "num_return":
    value = max(value, min(settings.width, _SEVERAL))
  common = {"label": name, "info": info, "visible": visible, "elem_id": name}
  if isinstance(value, tuple):
    text = "\n".join(value)
    return gr.Textbox(text, lines=1, max_length=max(_MOST_CHARACTERS, len(text)), **common)
  if name == "seed":
    most = RANGES["generate.seed"].high
    return gr.Number(value, precision=0, minimum=0, maximum=most, **common)
  most = settings.max_length
  slider = _SLIDERS.get(name, _Slider(0 if name == "min_length" else 1, most, 1))
  low, high = min(slider.low, value), max(slider.high, value)
  return gr.Slider(low, high, value, step=slider.step, **common)


def _descriptions() -> dict[str, str]:
  """Returns the description of each setting, from the docstring of the settings."""
  docstring = inspect.getdoc(GenerateSettings) or ""
  found = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", docstring, re.MULTILINE)
  described = {name: " ".join(text.split()) for name, text in found}
  return dict.fromkeys(GenerateSettings.__dataclass_fields__, "") | described
