"""TensorBoard's event files."""

import contextlib
import importlib
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from types import ModuleType

from PIL import Image

# TensorBoard shows metrics at most this many seconds late.
_FLUSH_EVERY_SECONDS = 30


class Events:
  """An event file of TensorBoard, written in the calling thread.

  tensorboardX's SummaryWriter passes events to a thread through a bounded queue. If the disk is
  full, that thread dies and the training loop would wait for the queue forever.

  Args:
    folder: folder of the event files; created if missing.
    purge_step: step from which TensorBoard hides older events, after a resumption; None: hide none.
  """

  def __init__(self, folder: str, purge_step: int | None) -> None:
    with _without_torch():
      from tensorboardX.event_file_writer import EventsWriter

    messages = _messages()

    os.makedirs(folder, exist_ok=True)
    # EventsWriter's name only has the second; two sessions of one second must not share a file.
    self._writer = EventsWriter(os.path.join(folder, "events"), f".{time.time_ns()}")
    if purge_step is not None:
      start = messages.SessionLog(status=messages.SessionLog.START)
      event = messages.Event(wall_time=time.time(), step=purge_step, session_log=start)
      self._writer.write_event(event)
    self._flushed = time.monotonic()

  def write(self, step: int, values: Mapping[str, float | str | bytes]) -> None:
    """Writes scalars, texts and pictures, which are the content of PNG files, by tag."""
    from tensorboardX import summary

    event = _messages().Event(wall_time=time.time(), step=step)
    for tag, value in values.items():
      if isinstance(value, bytes):
        with Image.open(io.BytesIO(value)) as image:
          size = {"width": image.width, "height": image.height}
        event.summary.value.add(tag=tag, image=size | {"encoded_image_string": value})
        continue
      entry = summary.text(tag, value) if isinstance(value, str) else summary.scalar(tag, value)
      event.summary.value.extend(entry.value)
    self._writer.write_event(event)
    if time.monotonic() - self._flushed > _FLUSH_EVERY_SECONDS:
      self.flush()

  def flush(self) -> None:
    """Flushes all events to the file."""
    self._writer.flush()
    self._flushed = time.monotonic()

  def close(self) -> None:
    """Flushes and closes the file."""
    self._writer.close()


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
  """Makes `import torch` fail, unless it is imported already.

  tensorboardX imports PyTorch where it is installed, only to accept its tensors, in seconds.
  """
  if "torch" in sys.modules:
    yield
    return
  sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
  try:
    yield
  finally:
    del sys.modules["torch"]


def _messages() -> ModuleType:
  """Returns the module of TensorBoard's messages, whose classes only exist at run time."""
  return importlib.import_module("tensorboardX.proto.event_pb2")
