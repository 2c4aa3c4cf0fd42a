"""The two sides of a task: texts or pictures, and how long they are."""

from ml_collections import ConfigDict

from tfx_jax.builders.data import make_task
from tfx_jax.codecs.image.grid import count_patches
from tfx_jax.errors import UserError
from tfx_jax.layers.position import Grid

KINDS = ("text", "image")


def side_kinds(config: ConfigDict) -> tuple[str, str]:
  """Returns the kinds of sources and targets: `kinds` of the task, by default texts.

  Raises:
    UserError: for a kind that is not one of KINDS.
  """
  kinds = tuple(getattr(make_task(config), "kinds", ("text", "text")))
  if len(kinds) != 2 or not set(kinds) <= set(KINDS):
    raise UserError(f"task.name='{config.task.name}': its kinds are {kinds}, not two of {KINDS}")
  return kinds


def side_lengths(config: ConfigDict) -> tuple[int, int]:
  """Returns the tokens of every source and of every target, without EOS; 0 where they differ."""
  length = count_patches(config.image.size, config.image.patch)
  source, target = (length if kind == "image" else 0 for kind in side_kinds(config))
  return source, target


def side_grids(config: ConfigDict) -> tuple[Grid | None, Grid | None]:
  """Returns the grid of positions in sources and in targets; None for texts.

  A position is a patch, or where targets are grouped, a block of patches.
  """
  size, patch, block = config.image.size, config.image.patch, config.image.block
  rows, columns = (n // p for n, p in zip(size, patch, strict=True))
  source, target = side_kinds(config)
  return (
    Grid(rows, columns) if source == "image" else None,
    Grid(rows // block[0], columns // block[1]) if target == "image" else None,
  )
