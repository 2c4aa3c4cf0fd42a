"""Failures to write into a workdir."""

import contextlib
from collections.abc import Iterator

from tfx_jax.errors import UserError


@contextlib.contextmanager
def writing(workdir: str) -> Iterator[None]:
  """Tells a full disk, missing rights and the like as the error of the workdir they are."""
  try:
    yield
  except OSError as e:
    raise UserError(
      f"cannot write to workdir {workdir}: {e.strerror or e}; free its disk or choose another"
    ) from e
