import struct

import pytest

from tfx_jax.errors import UserError
from tfx_jax.report import sweep_picture
from tfx_jax.report.sweep_picture import SweepRow

ROWS = [
  SweepRow("w=$8", "finished", [30.0, 32.0]),
  SweepRow("w=16", "failed", []),
  SweepRow("w=32", "finished", [20.0]),
]


def test_the_picture_is_a_png_that_grows_with_the_rows(tmp_path):
  heights = []
  for count in (1, 3):
    path = str(tmp_path / "sweep.png")
    assert sweep_picture.draw_sweep(ROWS[:count], "bleu", path, "sweep_$\\oops$") == path
    head = (tmp_path / "sweep.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">I", head[16:20])[0] == 1504
    heights.append(struct.unpack(">I", head[20:24])[0])
  assert heights[0] < heights[1]
  assert [p.name for p in tmp_path.iterdir()] == ["sweep.png"]


def test_points_means_and_deviations_are_drawn_at_their_values():
  (axes,) = sweep_picture._draw(ROWS, "bleu", "title").axes
  lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
  assert ([30.0, 32.0], [0, 0]) in lines and ([31.0], [0]) in lines and ([20.0], [2]) in lines
  of_two, of_one = (container.lines[2] for container in axes.containers)
  assert of_two[0].get_segments()[0][:, 0] == pytest.approx([31 - 2**0.5, 31 + 2**0.5])
  assert not of_one
  assert [text.get_text() for text in axes.get_yticklabels()] == ["w=$8", "w=16", "w=32"]
  assert sorted(text.get_text() for text in axes.texts) == ["20.00", "31.00", "failed"]


def test_without_values_nothing_is_drawn(tmp_path):
  assert sweep_picture.draw_sweep(ROWS[1:2], "bleu", str(tmp_path / "sweep.png"), "title") is None
  assert not list(tmp_path.iterdir())


def test_an_unwritable_picture_is_one_line(tmp_path):
  with pytest.raises(UserError, match=r"cannot draw .*No such file or directory"):
    sweep_picture.draw_sweep(ROWS, "bleu", str(tmp_path / "nowhere" / "sweep.png"), "title")
