"""What a run tells of itself while it goes: metrics on disk, a progress bar, sample outputs."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from absl import logging

from tfx_jax.errors import UserError

# Someone who watches TensorBoard sees figures at most this many seconds late.
_EVENTS_EVERY_SECONDS = 30


class MetricsLog:
  """WORKDIR/metrics.jsonl, one JSON object a line, and the same in WORKDIR/tensorboard.

  A line holds `step`, `split` ('train', 'validation' or 'test') and the figures. A figure that is
  not finite is null, and `not_finite` says what it was: {"loss": null, "not_finite": {"loss":
  "nan"}}. Only one process of a run writes. Every method raises UserError where the disk is full
  or the workdir unwritable.
  """

  def __init__(self, workdir: str, resume_at: int | None = None) -> None:
    """Opens the log for appending.

    Args:
      workdir: made if missing.
      resume_at: byte offset to which the file is cut back, for the steps after it will be done
        again: what `flush` returned when the checkpoint was written, 0 to begin anew. A shorter
        file is kept as it is, with a warning. None cuts nothing but the half line a kill left.
    """
    self._workdir = workdir
    with _writing(workdir):
      os.makedirs(workdir, exist_ok=True)
      path = os.path.join(workdir, "metrics.jsonl")
      with open(path, "a+b") as file:
        kept = _cut_back(file, resume_at)
      purge_step = None if resume_at is None else _step_after(kept)
      self._events = _Events(os.path.join(workdir, "tensorboard"), purge_step)
      self._file = open(path, "ab")

  def write(self, step: int, split: str, figures: Mapping[str, Any]) -> None:
    """Adds a line and, as SPLIT/NAME, TensorBoard scalars and texts.

    Args:
      step: of training.
      split: 'train', 'validation' or 'test'.
      figures: numbers (or arrays of one number) and strings by name.
    """
    values = {n: v.item() if hasattr(v, "item") else v for n, v in figures.items()}
    line: dict[str, Any] = {"step": int(step), "split": split}
    not_finite = {}
    for name, value in values.items():
      if isinstance(value, float) and not math.isfinite(value):
        not_finite[name], value = str(value), None
      line[name] = value
    if not_finite:
      line["not_finite"] = not_finite
    with _writing(self._workdir):
      self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
      self._file.flush()
      self._events.write(int(step), {f"{split}/{name}": v for name, v in values.items()})

  def flush(self) -> int:
    """Forces all lines to disk; returns the byte offset of their end, for `resume_at`."""
    with _writing(self._workdir):
      self._file.flush()
      os.fsync(self._file.fileno())
      self._events.flush()
      return self._file.tell()

  def close(self) -> None:
    """Flushes and closes; a second call does nothing."""
    if not self._file.closed:
      with _writing(self._workdir), self._file, contextlib.closing(self._events):
        self.flush()


class NoLog:
  """What a process that does not write has for a log."""

  def write(self, step: int, split: str, figures: Mapping[str, Any]) -> None:
    """Writes nothing."""

  def flush(self) -> int:
    """0, for there is nothing."""
    return 0

  def close(self) -> None:
    """Does nothing."""


class _Events:
  """TensorBoard's event file, written in the calling thread.

  tensorboardX's SummaryWriter hands its events to a thread through a bounded queue; where the disk
  is full that thread dies, and the training loop would wait on the queue for ever.
  """

  def __init__(self, folder: str, purge_step: int | None) -> None:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    os.makedirs(folder, exist_ok=True)
    # The name holds the second only: two sessions within one must not overwrite each other.
    self._writer = EventsWriter(os.path.join(folder, "events"), f".{time.time_ns()}")
    if purge_step is not None:  # TensorBoard then hides older events from this step on
      start = SessionLog(status=SessionLog.START)
      self._writer.write_event(Event(wall_time=time.time(), step=purge_step, session_log=start))
    self._flushed = time.monotonic()

  def write(self, step: int, values: Mapping[str, float | str]) -> None:
    from tensorboardX import summary
    from tensorboardX.proto.event_pb2 import Event

    event = Event(wall_time=time.time(), step=step)
    for tag, value in values.items():
      entry = summary.text(tag, value) if isinstance(value, str) else summary.scalar(tag, value)
      event.summary.value.extend(entry.value)
    self._writer.write_event(event)
    if time.monotonic() - self._flushed > _EVENTS_EVERY_SECONDS:
      self.flush()

  def flush(self) -> None:
    self._writer.flush()
    self._flushed = time.monotonic()

  def close(self) -> None:
    self._writer.close()


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


def write_samples(
  workdir: str, step: int, split: str, rows: Sequence[Mapping[str, str]], limit: int
) -> str:
  """Writes WORKDIR/samples/STEP-SPLIT.txt, a block of labelled texts for each row.

  Args:
    workdir: of the run.
    step: of training.
    split: 'validation' or 'test'.
    rows: texts by label, such as source, reference and prediction, in the order to show.
    limit: rows in the returned text; the file holds all.

  Returns:
    The heading and the first `limit` blocks, for the terminal.

  Raises:
    UserError: the disk is full or the workdir unwritable.
  """
  heading = f"samples of {split}, step {step:,}"
  blocks = [heading, *map(_block, rows)]
  with _writing(workdir):
    folder = os.path.join(workdir, "samples")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{step}-{split}.txt")
    with open(path + ".tmp", "w", encoding="utf-8", errors="replace") as f:
      f.write("\n\n".join(blocks) + "\n")
    os.replace(path + ".tmp", path)
  return "\n\n".join(blocks[: limit + 1])


def _block(row: Mapping[str, str]) -> str:
  width = max(map(len, row), default=0) + 2
  newline = "\n" + " " * (width + 2)
  return "\n".join(
    f"{label:>{width}}  {newline.join(text.splitlines())}" for label, text in row.items()
  )


def _cut_back(file: Any, size: int | None) -> bytes:
  """Truncates to the last whole line within `size` bytes; returns what is kept."""
  file.seek(0)
  content = file.read()
  if size is not None and len(content) < size:
    logging.warning("%s: %d bytes, %d when last saved", file.name, len(content), size)
  kept = content[:size]
  kept = kept[: kept.rfind(b"\n") + 1]
  if len(kept) < len(content):
    file.truncate(len(kept))
  return kept


def _step_after(lines: bytes) -> int | None:
  """Returns the step after that of the last line, 0 if there is none, None if it has no step."""
  try:
    return int(json.loads(lines.splitlines()[-1])["step"]) + 1 if lines else 0
  except (ValueError, KeyError, TypeError):
    return None


@contextlib.contextmanager
def _writing(workdir: str) -> Iterator[None]:
  try:
    yield
  except OSError as e:
    raise UserError(
      f"cannot write to workdir {workdir}: {e.strerror or e}; free its disk or choose another"
    ) from e
