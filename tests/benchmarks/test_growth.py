import json
import math

import growth
import growth_report
import numpy as np
import pytest


def figures(axis="width", values=(64, 128, 256), exponent=2.0):
  return [
    {
      "what": "training",
      "axis": axis,
      "value": value,
      "seconds": 3 * value**exponent,
      "expected_flops": value**1.5,
      "peak_mb": 1.0 * value,
      "program_mb": 2.0 * value,
      "expected_mb": 5.0 * value,
    }
    for value in values
  ]


def test_slopes_are_the_exponents():
  seconds, planned, seen = growth_report.curves(figures())
  assert seconds["kind"] == "seconds"
  assert seconds["measured_slope"] == pytest.approx(2)
  assert seconds["expected_slope"] == pytest.approx(1.5)
  for memory in (planned, seen):
    assert memory["measured_slope"] == pytest.approx(1)
    assert memory["expected_slope"] == pytest.approx(1)


def test_two_axes_are_not_mixed_and_one_size_has_no_slope():
  found = growth_report.curves(figures() + figures("depth", (4,)))
  assert [(c["axis"], len(c["x"])) for c in found] == [("width", 3)] * 3 + [("depth", 1)] * 3
  assert math.isnan(found[-1]["measured_slope"])


def test_decoding_has_time_alone():
  only = [{"what": "decoding", "axis": "beam", "value": v, "seconds": v, "expected_flops": v,
           "peak_mb": 1.0} for v in (1, 2)]  # fmt: skip
  assert [c["kind"] for c in growth_report.curves(only)] == ["seconds"]


def test_a_table_and_a_picture_are_written(tmp_path):
  growth_report.write(str(tmp_path / "growth"), figures() + figures("depth", (1, 2)))
  lines = (tmp_path / "growth.md").read_text().splitlines()
  assert len(lines) == 2 + 6
  assert "| width | 64, 128, 256 |" in lines[2] and lines[2].endswith("| 2.00 | 1.50 |")
  assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
  assert len(json.loads((tmp_path / "growth.json").read_text())["curves"]) == 6


def slope_along(count, axis, values, **changes):
  points = [growth.POINT | changes | {axis: value} for value in values]
  return growth_report.slope(values, [count(point) for point in points])


@pytest.mark.parametrize(
  ("axis", "values", "changes", "expected"),
  [
    # Far out, where one term is all there is.
    ("width", (2**14, 2**15), {"vocabulary": 8, "length": 2}, 2),
    ("depth", (1000, 2000), {}, 1),
    ("length", (2**20, 2**21), {}, 2),
    ("length", (2, 4), {"width": 4096}, 1),
    ("batch", (1, 100), {}, 1),
    ("vocabulary", (10**8, 10**9), {}, 1),
    ("vocabulary", (8, 16), {"width": 4096}, 0),
  ],
)
def test_operations_of_training_grow_as_theory_has_it(axis, values, changes, expected):
  found = slope_along(lambda p: growth.operations("training", p), axis, values, **changes)
  assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
  ("axis", "values", "changes", "expected"),
  [
    ("beam", (1000, 2000), {}, 1),
    ("batch", (1, 64), {}, 1),
    ("length", (2**20, 2**21), {}, 2),
  ],
)
def test_operations_of_decoding_grow_as_theory_has_it(axis, values, changes, expected):
  found = slope_along(lambda p: growth.operations("decoding", p), axis, values, **changes)
  assert found == pytest.approx(expected, abs=0.02)


def test_expected_memory_grows_with_kept_numbers():
  far = {"width": 64, "depth": 64, "vocabulary": 100}
  assert slope_along(growth.numbers_held, "length", (2**12, 2**13), **far) == pytest.approx(
    2, abs=0.1
  )
  assert slope_along(growth.numbers_held, "batch", (512, 1024), **far) == pytest.approx(1, abs=0.02)
  few = {"batch": 1, "length": 2, "vocabulary": 8}
  assert slope_along(growth.numbers_held, "width", (2**14, 2**15), **few) == pytest.approx(
    2, abs=0.02
  )


def test_all_axes_are_sizes_of_a_point():
  for axes in growth.AXES.values():
    for axis, values in axes.items():
      assert axis in growth.POINT
      assert list(values) == sorted(set(values)) and np.min(values) >= 1
