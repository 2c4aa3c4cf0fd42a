"""Progress of long work: a bar on a terminal, lines in a log file."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO


class Progress:
  """Progress on stderr: steps, time left, and metrics such as target tokens/s (without padding).

  It is a bar on a terminal or in a notebook; elsewhere, as in a cluster's log file, it is a plain
  line now and then. The time left is estimated from the second update on: the first one compiles.
  """

  _LINE = "{percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{left}] {desc}"
  _BAR = _LINE.replace("% ", "%|{bar}| ", 1)
  _METRICS = {
    "tokens_per_second": "{:,.0f} tok/s",
    "loss": "loss {:.3f}",
    "learning_rate": "lr {:.3g}",
  }

  def __init__(
    self, total: int, start: int = 0, line_every_seconds: float = 30.0, shown: bool = True
  ) -> None:
    """Starts measuring time.

    Args:
      total: number of steps of the whole run.
      start: number of steps done before this session.
      line_every_seconds: minimum time between two plain lines.
      shown: false to print nothing, as in all but one process of a run.
    """
    self._total, self._step = total, start
    self._line_every_seconds = line_every_seconds
    self._metrics: dict[str, float] = {}
    self._bar, self._shown = None, shown
    if not shown:
      return
    self._began = self._line_time = time.monotonic()
    self._line_step = start
    # Step and time after the first update.
    self._first: tuple[int, float] | None = None
    if "ipykernel" in sys.modules or _is_screen(sys.stderr):
      self._bar = self._make_bar(total, start)

  def update(self, step: int, metrics: Mapping[str, float] | None = None) -> None:
    """Advances to a step.

    Args:
      step: number of steps done, including those before this session.
      metrics: any of tokens_per_second, loss, learning_rate; missing ones keep their last value.
    """
    self._metrics.update(metrics or {})
    self._step = step
    if not self._shown:
      return
    now = time.monotonic()
    if self._first is None:
      self._first = step, now
    if self._bar is not None:
      self._bar.set_description_str(self._description(), refresh=False)
      self._bar.update(step - self._bar.n)
    elif now - self._line_time >= self._line_every_seconds and step > self._line_step:
      self._print_line(now)

  def message(self, text: str) -> None:
    """Prints a message, above the bar if there is one."""
    if not self._shown:
      return
    if self._bar is not None:
      self._bar.write(text, file=sys.stderr)
    else:
      print(text, file=sys.stderr, flush=True)

  def close(self) -> None:
    """Closes the bar, or prints the last line."""
    if self._bar is not None:
      self._bar.close()
    elif self._shown and self._step > self._line_step:
      self._print_line(time.monotonic())

  def _left(self) -> str:
    """Returns the time left, or "?" if the first update is the last one so far."""
    if self._step == self._total:
      return _interval(0)
    step, then = self._first or (self._step, 0.0)
    if step == self._step:
      return "?"
    return _interval((time.monotonic() - then) / (self._step - step) * (self._total - self._step))

  def _make_bar(self, total: int, start: int) -> Any:
    left = self._left

    class Bar(bars()):
      """A bar with another estimate of the time left."""

      @property
      def format_dict(self) -> dict[str, Any]:
        return {**super().format_dict, "left": left()}

    return Bar(
      total=total,
      initial=start,
      file=sys.stderr,
      bar_format=self._BAR,
      dynamic_ncols=True,
      mininterval=0.5,
      miniters=1,
    )

  def _print_line(self, now: float) -> None:
    from tqdm import tqdm

    line = tqdm.format_meter(
      self._step,
      self._total,
      now - self._began,
      bar_format=self._LINE.replace("{left}", self._left()),
      prefix=self._description(),
    )
    print(line.rstrip(), file=sys.stderr, flush=True)
    self._line_step, self._line_time = self._step, now

  def _description(self) -> str:
    known = self._METRICS.items()
    return " ".join(f.format(self._metrics[name]) for name, f in known if name in self._metrics)


def bars() -> Any:
  """Returns tqdm's class of bars: widgets in a notebook that has ipywidgets, otherwise text."""
  import warnings

  from tqdm import TqdmWarning

  with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # of a notebook without ipywidgets
    from tqdm.auto import tqdm
  return tqdm


def _interval(seconds: float) -> str:
  """Returns a time as minutes and seconds, and hours if there are any."""
  from tqdm import tqdm

  return tqdm.format_interval(seconds)


def _is_screen(stream: TextIO) -> bool:
  # The terminal of a container may have no width, which would leave no space for a bar.
  return stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0
