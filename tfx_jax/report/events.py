"""Figures for TensorBoard."""

import os
import time
from collections.abc import Mapping

# Someone who watches TensorBoard sees figures at most this many seconds late.
_FLUSH_EVERY_SECONDS = 30


class Events:
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
    """Adds scalars and texts by tag."""
    from tensorboardX import summary
    from tensorboardX.proto.event_pb2 import Event

    event = Event(wall_time=time.time(), step=step)
    for tag, value in values.items():
      entry = summary.text(tag, value) if isinstance(value, str) else summary.scalar(tag, value)
      event.summary.value.extend(entry.value)
    self._writer.write_event(event)
    if time.monotonic() - self._flushed > _FLUSH_EVERY_SECONDS:
      self.flush()

  def flush(self) -> None:
    """Hands all that was written to the file."""
    self._writer.flush()
    self._flushed = time.monotonic()

  def close(self) -> None:
    """Flushes and closes."""
    self._writer.close()
