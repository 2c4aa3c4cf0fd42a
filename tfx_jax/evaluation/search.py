"""Searches over a model in two programs: one begins a search, one goes on with it.

The host may look at it in between, whenever it likes.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from flax import struct

from tfx_jax.decoding import beam, diverse, sample
from tfx_jax.decoding.coverage import coverage_penalty
from tfx_jax.decoding.loop import NO_TOKEN
from tfx_jax.parallel import Parallel

Settings = beam.BeamSettings | diverse.DiverseSettings | sample.SampleSettings
SEARCHES = {
  beam.BeamSettings: beam,
  diverse.DiverseSettings: diverse,
  sample.SampleSettings: sample,
}


class Found(NamedTuple):
  """What a search has found.

  Attributes:
    tokens: int32 [B,R,T], `NO_TOKEN` after EOS.
    score: [B,R], what hypotheses are ranked by; minus infinity for an empty place.
    log_prob: [B,R], of the model.
  """

  tokens: jax.Array
  score: jax.Array
  log_prob: jax.Array


@struct.dataclass
class Coverage:
  """What a search of beams adds to scores for the source that was read.

  Attributes:
    weight: of `coverage_penalty`, scalar.
    segments: [B,S], above 0 where the source is real.
  """

  weight: jax.Array
  segments: jax.Array


class Searcher:
  """The programs of a model; they are compiled when first needed and then kept.

  Args:
    model: with the methods `prefill`, `decode` and `coverage`.
    parallel: the mesh.
  """

  def __init__(self, model: nn.Module, parallel: Parallel):
    self.parallel = parallel
    self.begin = parallel.jit(
      functools.partial(_begin, model, parallel),
      static_argnames=("width", "num_return", "length", "alignment_layer"),
    )
    self.advance = parallel.jit(
      functools.partial(_advance, model, parallel), donate_argnames=("state", "cache")
    )
    self.cut = parallel.jit(functools.partial(_cut, parallel), donate_argnames=("state",))


class Search:
  """A search of a batch that is under way.

  Args:
    searcher: its programs.
    params: of the model.
    batch: see `batches.model_arrays`.
    active: bool [B], which rows are real.
    settings: which they are chooses the search.
    coverage: None: attention is not looked at.
    **shape: `width` W, beams or samples of a row; `num_return` R, hypotheses that beams keep (of
      samples all W are kept); `length` T, room for tokens; `alignment_layer`, whose attention
      coverage is, or None.
  """

  def __init__(
    self,
    searcher: Searcher,
    params: Any,
    batch: Mapping[str, jax.Array],
    active: jax.Array,
    settings: Settings,
    coverage: Coverage | None = None,
    **shape: int | None,
  ):
    self._searcher = searcher
    self._fixed = {"params": params, "settings": settings, "coverage": coverage}
    self.state, self._cache = searcher.begin(batch=batch, active=active, **self._fixed, **shape)

  @property
  def room(self) -> int:
    """T."""
    return self.state.room

  def advance(self, steps: int) -> None:
    """Goes on for at most so many tokens, without waiting for them."""
    self.state, self._cache = self._searcher.advance(
      state=self.state, cache=self._cache, steps=np.int32(steps), **self._fixed
    )

  def cut(self, kept: np.ndarray) -> None:
    """Ends samples after `kept` [B,W] tokens; T: they are left as they are."""
    placed = self._searcher.parallel.place_whole({"kept": kept})
    self.state = self._searcher.cut(state=self.state, **placed)

  @property
  def finished(self) -> bool:
    """Whether samples have no token to come."""
    length, ended = self._fetch((self.state.length, self.state.ended))
    return bool(ended.all() or length == self.room)

  def samples(self) -> list[list[list[int]]]:
    """The tokens of each row's samples so far, EOS included."""
    return [[trimmed(ids) for ids in row] for row in self._fetch(self.state.tokens).tolist()]

  def found(self) -> Found:
    """What has been found, still on the device."""
    if isinstance(self.state, sample.SampleState):
      return Found(self.state.tokens, self.state.log_prob, self.state.log_prob)
    return Found(self.state.done_tokens, self.state.done_score, self.state.done_log_prob)

  def _fetch(self, tree: Any) -> Any:
    return self._searcher.parallel.fetch(tree)


def trimmed(tokens: list[int]) -> list[int]:
  """Without the padding at the end."""
  return tokens[: tokens.index(NO_TOKEN)] if NO_TOKEN in tokens else tokens


def _begin(
  model: nn.Module,
  parallel: Parallel,
  params: Any,
  batch: Mapping[str, jax.Array],
  active: jax.Array,
  settings: Settings,
  coverage: Coverage | None,
  *,
  width: int,
  num_return: int,
  length: int,
  alignment_layer: int | None,
) -> tuple[Any, Any]:
  """The state of a search after its first token, and the model's cache."""
  apply = functools.partial(model.apply, {"params": params})
  logits, cache = apply(batch, length, width, alignment_layer, method="prefill")
  shape = {"width": width, "length": length}
  if not isinstance(settings, sample.SampleSettings):
    ending = _ending(apply, coverage)
    shape |= {"num_return": num_return, "at_end": None if ending is None else ending(cache)}
  state = SEARCHES[type(settings)].begin(logits, settings, active, **shape)
  return parallel.split_rows((state, cache))


def _advance(
  model: nn.Module,
  parallel: Parallel,
  params: Any,
  state: Any,
  cache: Any,
  settings: Settings,
  coverage: Coverage | None,
  steps: jax.Array,
) -> tuple[Any, Any]:
  """The state of a search and the model's cache after at most so many more tokens."""
  apply = functools.partial(model.apply, {"params": params})
  step, ending = functools.partial(apply, method="decode"), _ending(apply, coverage)
  more = () if isinstance(settings, sample.SampleSettings) else (ending,)
  moved = SEARCHES[type(settings)].advance(step, state, cache, settings, steps, *more)
  return parallel.split_rows(moved)


def _cut(parallel: Parallel, state: sample.SampleState, kept: jax.Array) -> sample.SampleState:
  return parallel.split_rows(sample.cut(state, kept))


def _ending(apply: Callable, coverage: Coverage | None) -> beam.Ending | None:
  if coverage is None:
    return None

  def ending(cache: Any) -> jax.Array:
    read = apply(cache, method="coverage")
    return coverage.weight * coverage_penalty(read, coverage.segments > 0)

  return ending
