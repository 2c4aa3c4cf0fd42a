import subprocess
import sys

import numpy as np
import pytest

from tfx_jax.errors import UserError
from tfx_jax.report.heat_map import draw_heat_map

SOURCE, TARGET = ["▁two", "▁$x_", "</s>"], ["▁zwei", "</s>"]
WEIGHTS = np.array([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]], np.float32)


def test_the_picture_has_the_format_of_its_ending(tmp_path):
  for name, head in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("plain", b"\x89PNG")):
    draw_heat_map(str(tmp_path / name), SOURCE, TARGET, WEIGHTS)
    assert (tmp_path / name).read_bytes().startswith(head)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "plain"]


def test_it_names_every_piece_in_order(tmp_path):
  draw_heat_map(
    str(tmp_path / "a.svg"), ["source" + str(i) for i in range(40)], TARGET, np.eye(2, 40)
  )
  text = (tmp_path / "a.svg").read_text()
  places = [text.index(f"<!-- source{i} -->") for i in range(40)]
  assert places == sorted(places) and "<!-- ▁zwei -->" in text


def test_pyplot_stays_out(tmp_path):
  code = (
    "import sys; from tfx_jax.report.heat_map import draw_heat_map; import numpy as np;"
    "draw_heat_map(sys.argv[1], ['a'], ['b'], np.ones((1, 1)));"
    "print('matplotlib.pyplot' in sys.modules)"
  )
  command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "a.png")]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
  ("name", "message"),
  [("no/a.png", "No such file or directory"), ("a.doc", "'doc' is not supported")],
)
def test_a_picture_that_cannot_be_drawn_is_one_line(tmp_path, name, message):
  with pytest.raises(UserError, match=f"cannot draw attention to .*{name}: .*{message}") as info:
    draw_heat_map(str(tmp_path / name), SOURCE, TARGET, WEIGHTS)
  assert "\n" not in str(info.value)
  assert not [*tmp_path.iterdir()]
