"""Outputs of executed notebooks as they are kept."""

import base64
import importlib.util
import io
import pathlib
import types

from PIL import Image, PngImagePlugin

PATH = pathlib.Path(__file__).parent.parent.parent / "notebooks" / "build.py"
SPEC = importlib.util.spec_from_file_location("build", PATH)
build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build)


def stream(text, name="stdout"):
  return types.SimpleNamespace(output_type="stream", name=name, text=text)


def test_a_bar_is_its_last_state_below_its_messages():
  pieces = [
    "begin\n\r  0%|",
    "\r 50%|#",
    "\r      \r",
    "a message\n",
    "\r 50%|#",
    "\r100%|##",
    "\nend\n",
  ]
  (output,) = map(build.settled, build.joined([stream(piece) for piece in pieces]))
  assert output.text == "begin\na message\n100%|##\nend\n"


def test_streams_that_are_not_neighbours_stay_apart():
  picture = types.SimpleNamespace(output_type="display_data", data={"text/plain": "x"})
  outputs = build.joined([stream("a"), stream("b", "stderr"), picture, stream("c"), stream("d")])
  assert [getattr(output, "text", None) for output in outputs] == ["a", "b", None, "cd"]


def test_a_picture_keeps_its_pixels_and_loses_its_texts():
  notes = PngImagePlugin.PngInfo()
  notes.add_text("Software", "a program, version 3")
  file = io.BytesIO()
  Image.new("RGB", (3, 2), "red").save(file, "png", pnginfo=notes)
  encoded = base64.b64encode(file.getvalue()).decode()
  output = types.SimpleNamespace(output_type="display_data", data={"image/png": encoded})
  kept = base64.b64decode(build.settled(output).data["image/png"])
  assert b"a program" in file.getvalue() and b"a program" not in kept
  opened = Image.open(io.BytesIO(kept))
  assert opened.size == (3, 2) and opened.getpixel((2, 1)) == (255, 0, 0)
