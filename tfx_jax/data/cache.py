"""The cache folder of corpora: folders that are left over, and errors of the disk."""

import contextlib
import glob
import os
import shutil
import time
from collections.abc import Iterator

from tfx_jax.errors import UserError

_OLD_SECONDS = 24 * 3600


def remove_old(cache_dir: str, pattern: str) -> None:
  """Deletes the folders of this pattern that have not been written to for a day."""
  for folder in glob.glob(os.path.join(glob.escape(cache_dir), pattern)):
    with contextlib.suppress(OSError):
      paths = [folder, *(entry.path for entry in os.scandir(folder))]
      if time.time() - max(map(os.path.getmtime, paths)) > _OLD_SECONDS:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def cache_errors(cache_dir: str) -> Iterator[None]:
  """Raises an OSError (a full disk, missing rights) as a UserError that names the setting."""
  try:
    yield
  except OSError as error:
    message = f"cannot use data.cache_dir={cache_dir}: {error.strerror or error}"
    raise UserError(message) from error
