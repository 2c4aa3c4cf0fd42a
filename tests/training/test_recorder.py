"""A line's speed is of its own steps, whether they have ended when they are added or not."""

import dataclasses
import time
from types import SimpleNamespace

import pytest

from tfx_jax.data.loader import Position
from tfx_jax.training.recorder import Counters, Recorder

TOKENS = 100.0


class Number(float):
  """Of a step, which has `ended` or still runs."""

  ended = True

  def is_ready(self):
    return self.ended


class Running(Number):
  ended = False


def figures(kind):
  mean = SimpleNamespace(total=kind(TOKENS), count=TOKENS)
  value = SimpleNamespace(value=0.0)
  return {"loss": mean, "objective": mean} | dict.fromkeys(
    ("learning_rate", "grad_norm", "skipped"), value
  )


class Log:
  def __init__(self):
    self.speeds = {}

  def write(self, step, split, line):
    self.speeds[step] = line.get("tokens_per_second")


@pytest.mark.parametrize("kind", [Number, Running])
def test_speed_of_each_step(kind):
  log, shown = Log(), SimpleNamespace(update=lambda step, figures: None)
  recorder = Recorder(log, None, shown, Counters(), every=1)
  durations = {1: 0.3, 2: 0.05, 3: 0.2, 4: 0.05, 5: 0.2}
  for step, seconds in durations.items():
    # One that runs while the next is asked for has ended when the next is added.
    if kind is Number:
      time.sleep(seconds)
    recorder.add(step, Position(), figures(kind))
    if kind is Running:
      time.sleep(seconds)
    if step == 3:
      recorder.flush()
      time.sleep(0.5)
      recorder.restart_clock()
  recorder.flush()
  assert log.speeds.pop(1) is None
  for step, speed in log.speeds.items():
    assert TOKENS / speed == pytest.approx(durations[step], abs=0.04)


def test_counters_of_another_version_are_read_with_a_warning(caplog):
  saved = dataclasses.asdict(Counters(evaluated=3, best_step=2)) | {"lookahead": 7}
  del saved["seconds"]
  assert Counters.from_saved(saved) == Counters(evaluated=3, best_step=2)
  (line,) = [record.getMessage() for record in caplog.records]
  assert line.endswith("of another version: lookahead")
