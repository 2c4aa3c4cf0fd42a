"""A progress bar, or lines where nobody watches."""

import os
import sys
import time
from collections.abc import Mapping
from typing import TextIO


class Progress:
  """How far a run is: steps, real target tokens/s, loss, learning rate and time left, on stderr.

  A bar on a terminal or in a notebook; elsewhere (a cluster's log file) a plain line now and then.
  """

  _LINE = "{percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}] {desc}"
  _BAR = _LINE.replace("% ", "%|{bar}| ", 1)
  _FIGURES = {
    "tokens_per_second": "{:,.0f} tok/s",
    "loss": "loss {:.3f}",
    "learning_rate": "lr {:.3g}",
  }

  def __init__(
    self, total: int, start: int = 0, line_every_seconds: float = 30.0, shown: bool = True
  ) -> None:
    """Begins to measure time.

    Args:
      total: steps of the whole run.
      start: steps done before this session.
      line_every_seconds: least time between two plain lines.
      shown: whether anything is.
    """
    self._total, self._start, self._step = total, start, start
    self._line_every_seconds = line_every_seconds
    self._figures: dict[str, float] = {}
    self._bar, self._shown = None, shown
    if not shown:
      return
    if "ipykernel" in sys.modules or _is_screen(sys.stderr):
      from tqdm.auto import tqdm

      # The long smoothing is for the pauses of validation; tqdm's own is a second or so.
      self._bar = tqdm(
        total=total,
        initial=start,
        file=sys.stderr,
        bar_format=self._BAR,
        dynamic_ncols=True,
        mininterval=0.5,
        miniters=1,
        smoothing=0.05,
      )
    self._began = self._line_time = time.monotonic()
    self._line_step = start
    self._rate: float | None = None

  def update(self, step: int, figures: Mapping[str, float]) -> None:
    """Moves to `step`.

    Args:
      step: steps done so far, those before this session included.
      figures: any of tokens_per_second, loss, learning_rate; those not given stay as they were.
    """
    self._figures.update(figures)
    self._step = step
    if not self._shown:
      return
    if self._bar is not None:
      self._bar.set_description_str(self._description(), refresh=False)
      self._bar.update(step - self._bar.n)
      return
    now = time.monotonic()
    seconds = now - self._line_time
    if seconds >= self._line_every_seconds and step > self._line_step:
      rate = (step - self._line_step) / max(seconds, 1e-9)
      self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate
      self._print_line(now)

  def message(self, text: str) -> None:
    """Prints `text` above the bar."""
    if not self._shown:
      return
    if self._bar is not None:
      self._bar.write(text, file=sys.stderr)
    else:
      print(text, file=sys.stderr, flush=True)

  def close(self) -> None:
    """Leaves the bar as it stands, or prints the last line."""
    if self._bar is not None:
      self._bar.close()
    elif self._shown and self._step > self._line_step:
      self._print_line(time.monotonic())

  def _print_line(self, now: float) -> None:
    from tqdm import tqdm

    line = tqdm.format_meter(
      self._step,
      self._total,
      now - self._began,
      initial=self._start,
      rate=self._rate,
      bar_format=self._LINE,
      prefix=self._description(),
    )
    print(line.rstrip(), file=sys.stderr, flush=True)
    self._line_step, self._line_time = self._step, now

  def _description(self) -> str:
    known = self._FIGURES.items()
    return " ".join(f.format(self._figures[name]) for name, f in known if name in self._figures)


def _is_screen(stream: TextIO) -> bool:
  # A container's terminal may have no size; a bar would be cut to nothing there.
  return stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0
