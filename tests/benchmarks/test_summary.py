import pytest
import summary


def rounds_of(*pairs, others=0.0):
  return [
    {"seconds": seconds, "tokens": tokens, "processor_seconds": 2 * seconds, "other_cores": others}
    for seconds, tokens in pairs
  ]


def test_a_line_has_medians_over_rounds_and_their_spread():
  line = summary.line(rounds_of((2, 100), (1, 100), (4, 100)), "tokens", [50, 40, 60], peak=100)
  assert line["rounds"] == 3
  assert line["round_seconds"] == 2 and line["round_seconds_range"] == [1, 4]
  assert line["tokens_per_second"] == 50
  assert line["tokens_per_second_range"] == [25, 100]
  # 25, 40 and 15 operations a second.
  assert line["flops_per_second"] == 25 and line["share_of_peak"] == 0.25
  assert line["processor_seconds"] == 4


def test_without_a_peak_there_is_no_share():
  assert summary.line(rounds_of((2, 100)), "tokens", [50], peak=0)["share_of_peak"] is None


def test_ratios_are_of_rounds_that_followed_each_other():
  # The machine was half as fast in the second round, for both.
  figures = {
    "ours": rounds_of((1, 30), (2, 30), (1, 33)),
    "peer": rounds_of((1, 20), (2, 20), (1, 20)),
  }
  found = summary.ratios(figures, "tokens")
  assert found == {"peer": {"median": 1.5, "range": [1.5, 1.65]}}
  # Rounds a second, whatever number of tokens.
  assert summary.ratios(figures) == {"peer": {"median": 1.0, "range": [1.0, 1.0]}}


def test_a_busy_machine_is_reported():
  idle = summary.line(rounds_of((1, 1)), "tokens", [1], 0)
  busy = summary.line(rounds_of((1, 1)) + rounds_of((1, 1), others=0.7), "tokens", [1, 1], 0)
  assert summary.warning([idle]) == ""
  assert "up to 0.7 processors" in summary.warning([idle, busy])


@pytest.mark.parametrize(("x", "expected"), [(123456.0, 123500), (0.00123456, 0.001235), (0, 0)])
def test_numbers_are_rounded_to_four_digits(x, expected):
  assert summary.rounded(x) == expected
