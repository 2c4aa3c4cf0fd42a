import base64
import sys
import types

import pytest

from tfx_jax.report.live import LiveReport


@pytest.fixture
def shown(monkeypatch):
  """What a notebook shows: the data of each place, in order."""
  places = []

  def display(data, raw, display_id):
    assert raw and display_id
    places.append(data)
    number = len(places) - 1

    def update(data, raw, metadata):
      assert raw
      places[number] = data

    return types.SimpleNamespace(update=update)

  module = types.SimpleNamespace(display=display)
  monkeypatch.setitem(sys.modules, "IPython.display", module)
  return places


@pytest.fixture
def notebook(monkeypatch):
  monkeypatch.setitem(sys.modules, "ipykernel", types.SimpleNamespace())


def test_a_notebook_shows_the_last_picture_above_the_last_text(notebook, shown, tmp_path):
  path = tmp_path / "curves.png"
  report = LiveReport()
  for number in range(3):
    path.write_bytes(bytes([number]))
    report.text(f"text {number}")
    report.picture(str(path))
  picture, text = shown
  assert base64.b64decode(picture["image/png"]) == bytes([2])
  assert text == {"text/plain": "text 2"}


def test_elsewhere_nothing_is_shown(shown, tmp_path, monkeypatch):
  monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
  report = LiveReport()
  report.text("text")
  report.picture(str(tmp_path / "missing.png"))
  assert shown == []
