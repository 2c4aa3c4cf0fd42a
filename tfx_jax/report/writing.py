"""Errors of writing into a workdir."""

import contextlib
from collections.abc import Iterator

from tfx_jax.errors import UserError


@contextlib.contextmanager
def writing(workdir: str) -> Iterator[None]:
  """Turns an OSError in a `with` block (a full disk, missing rights …) into a UserError."""
  try:
    yield
  except OSError as e:
    raise UserError(
      f"cannot write to workdir {workdir}: {e.strerror or e}; free its disk or choose another"
    ) from e
