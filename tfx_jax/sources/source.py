"""The contract of a source of records."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

# The fields of one example of a data set, by name; the task makes examples of it.
Record = Mapping[str, Any]


class Source(Protocol):
  """Records that can be iterated over any number of times."""

  @property
  def fingerprint(self) -> str:
    """A hash that changes exactly when the records do."""
    ...

  def __iter__(self) -> Iterator[Record]:
    """Yields {field: value} for each record, and its 'kind' if the data names one."""
    ...
