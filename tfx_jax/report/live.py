"""Curves and samples of a run in the output of a notebook, replaced while it is trained."""

import base64
import sys
from collections.abc import Mapping
from typing import Any

_WIDTH = 720


class LiveReport:
  """Two places in a notebook's output, one for a picture and one for a text; elsewhere nothing.

  The places are made at once, so that they stay above the progress bar.
  """

  def __init__(self) -> None:
    self._places: list[Any] = []
    if not in_notebook():
      return
    from IPython.display import display  # pyright: ignore[reportMissingImports]

    for _ in range(2):
      self._places.append(display({"text/plain": ""}, raw=True, display_id=True))

  def picture(self, path: str) -> None:
    """Shows a PNG file in place of the picture before."""
    if not self._places:
      return
    with open(path, "rb") as file:
      data = base64.b64encode(file.read()).decode()
    self._show(0, {"image/png": data, "text/plain": path}, {"image/png": {"width": _WIDTH}})

  def text(self, text: str) -> None:
    """Shows a text in place of the text before."""
    if self._places:
      self._show(1, {"text/plain": text}, {})

  def _show(self, place: int, data: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    self._places[place].update(data, raw=True, metadata=metadata)


def in_notebook() -> bool:
  """Returns whether the process is a notebook's kernel."""
  return "ipykernel" in sys.modules
