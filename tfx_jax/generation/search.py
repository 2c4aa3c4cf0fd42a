"""Searches over a model in a few programs: one begins a search, one goes on with it.

The host may look at it in between, whenever it likes. Attention looks at all the room that the
cache has, written or not, and most outputs are much shorter than they may be: so the cache begins
small, and is grown while a search goes on.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct

from tfx_jax.decoding import beam, diverse, sample
from tfx_jax.decoding.coverage import coverage_penalty
from tfx_jax.decoding.loop import NO_TOKEN
from tfx_jax.errors import UserError
from tfx_jax.generation.in_flight import compiled_by_one
from tfx_jax.layers import cache as caches
from tfx_jax.layers import cpu_layout
from tfx_jax.models.model import Model
from tfx_jax.models.quantized import dequantize
from tfx_jax.parallel import Parallel

# Steps that a cache first has room for; it is doubled, up to what an output may be long.
FIRST_LENGTH = 16

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
    model: the model to search with.
    parallel: the mesh.
  """

  def __init__(self, model: Model, parallel: Parallel):
    self.parallel = parallel

    def jit(function: Callable, *fixed: Any, **options: Any) -> Callable:
      return compiled_by_one(parallel.jit(functools.partial(function, *fixed), **options))

    names = "width", "num_return", "length", "cache_length", "alignment_layer"
    donated = "state", "cache"
    self.prepare = jit(_prepare)
    self.begin = jit(_begin, model, parallel, static_argnames=names)
    self.advance = jit(_advance, model, parallel, donate_argnames=donated)
    self.grow = jit(_grow, parallel, static_argnames="length")
    self.cut = jit(_cut, parallel, donate_argnames="state")
    self.finished = jit(_finished)


class Search:
  """A search of a batch that is under way.

  Args:
    searcher: its programs.
    params: of the model, from `Searcher.prepare`.
    batch: see `batches.model_arrays`.
    active: bool [B], which rows are real.
    settings: which they are chooses the search.
    coverage: None: attention is not looked at.
    length: T, most tokens of an output.
    **shape: `width` W, beams or samples of a row; `num_return` R, hypotheses that beams keep (of
      samples all W are kept); `alignment_layer`, whose attention coverage is, or None.
  """

  def __init__(
    self,
    searcher: Searcher,
    params: Any,
    batch: Mapping[str, jax.Array],
    active: jax.Array,
    settings: Settings,
    coverage: Coverage | None = None,
    *,
    length: int,
    **shape: int | None,
  ):
    self._searcher = searcher
    self._fixed = {"params": params, "settings": settings, "coverage": coverage}
    self.room = length
    # Tokens that there are, and that the cache has room for; fewer are there if all have ended.
    self._reached, self._cache_length = 1, min(FIRST_LENGTH, length)
    self.state, self._cache = searcher.begin(
      batch=batch,
      active=active,
      length=length,
      cache_length=self._cache_length,
      **self._fixed,
      **shape,
    )

  def advance(self, steps: int) -> None:
    """Goes on for at most so many tokens, waiting for none but those that fill the cache."""
    end = min(self._reached + steps, self.room)
    while self._reached < end:
      if self._reached == self._cache_length:
        if self.finished:
          return
        self._cache_length = min(2 * self._cache_length, self.room)
        self._cache = self._searcher.grow(cache=self._cache, length=self._cache_length)
      reached = min(end, self._cache_length)
      self.state, self._cache = self._searcher.advance(
        state=self.state,
        cache=self._cache,
        steps=np.int32(reached - self._reached),
        **self._fixed,
      )
      self._reached = reached

  def cut(self, kept: np.ndarray) -> None:
    """Ends samples after `kept` [B,W] tokens; T: they are left as they are."""
    placed = self._searcher.parallel.place_whole({"kept": kept})
    self.state = self._searcher.cut(state=self.state, **placed)

  @property
  def finished(self) -> bool:
    """Whether there is no token to come; waits for those that are under way."""
    return bool(self._fetch(self._searcher.finished(state=self.state)))

  def samples(self) -> list[list[list[int]]]:
    """The tokens of each row's samples so far, EOS included.

    Raises:
      UserError: if the model's scores are not finite.
    """
    tokens, log_probs = self._fetch((self.state.tokens, self.state.log_probs))
    check_scores("generate", log_probs.sum(axis=2))
    return [[trimmed(ids) for ids in row] for row in tokens.tolist()]

  def found(self) -> Found:
    """What has been found, still on the device."""
    if isinstance(self.state, sample.SampleState):
      return Found(self.state.tokens, self.state.log_prob, self.state.log_prob)
    return Found(self.state.done_tokens, self.state.done_score, self.state.done_log_prob)

  def _fetch(self, tree: Any) -> Any:
    return self._searcher.parallel.fetch(tree)


def check_scores(name: str, scores: np.ndarray) -> None:
  """Checks scores of hypotheses. Minus infinity is an empty place, but not all are empty.

  Raises:
    UserError: if one is no number, or none is finite.
  """
  if np.isnan(scores).any() or not np.isfinite(scores).any():
    raise UserError(
      f"{name}: the model's scores are not finite: its parameters are damaged (NaN or infinity), "
      "or a number of generate is too great"
    )


def trimmed(tokens: list[int]) -> list[int]:
  """Without the padding at the end."""
  return tokens[: tokens.index(NO_TOKEN)] if NO_TOKEN in tokens else tokens


def _prepare(params: Any) -> Any:
  """Returns float parameters in the layout that decoding reads fastest."""
  return cpu_layout.prepare(dequantize(params))


def _begin(
  model: Model,
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
  cache_length: int,
  alignment_layer: int | None,
) -> tuple[Any, Any]:
  """The state of a search after its first token, and the model's cache."""
  bound = model.bind({"params": params})
  logits, cache = bound.prefill(batch, cache_length, width, alignment_layer)
  shape = {"width": width, "capacity": length}
  if not isinstance(settings, sample.SampleSettings):
    ending = _ending(coverage)
    shape |= {"num_return": num_return, "end_penalty": None if ending is None else ending(cache)}
  state = SEARCHES[type(settings)].begin(logits, settings, active, **shape)
  return parallel.split_rows((state, cache))


def _advance(
  model: Model,
  parallel: Parallel,
  params: Any,
  state: Any,
  cache: Any,
  settings: Settings,
  coverage: Coverage | None,
  steps: jax.Array,
) -> tuple[Any, Any]:
  """The state of a search and the model's cache after at most so many more tokens."""
  step = model.bind({"params": params}).decode
  more = () if isinstance(settings, sample.SampleSettings) else (_ending(coverage),)
  moved = SEARCHES[type(settings)].advance(step, state, cache, settings, steps, *more)
  return parallel.split_rows(moved)


def _grow(parallel: Parallel, cache: Any, length: int) -> Any:
  return parallel.split_rows(caches.grow(cache, length))


def _finished(state: Any) -> jax.Array:
  return state.finished.all() | (state.length == state.capacity)


def _cut(parallel: Parallel, state: sample.SampleState, kept: jax.Array) -> sample.SampleState:
  return parallel.split_rows(sample.cut(state, kept))


def _ending(coverage: Coverage | None) -> beam.EndPenalty | None:
  if coverage is None:
    return None

  def ending(cache: Any) -> jax.Array:
    attended = caches.coverage(cache)
    return coverage.weight * coverage_penalty(attended, coverage.segments > 0)

  return ending
