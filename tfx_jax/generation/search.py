"""The search of one batch with a model, in a few compiled programs.

One program starts a search, another continues it, so that the host can look at the outputs in
between. Attention reads the whole capacity of the cache, generated or not, and most outputs are
much shorter than the longest that is allowed. So the cache starts small and grows during a search.
Each capacity costs a program, and a program costs a second or more to compile, so there are three.
"""

import functools
from typing import NamedTuple, cast

import jax
import numpy as np
import numpy.typing as npt

from tfx_jax.common.tree import Tree
from tfx_jax.decoding import beam, diverse, frames, sample
from tfx_jax.decoding.coverage import coverage_penalty
from tfx_jax.decoding.loop import NO_TOKEN, Output
from tfx_jax.errors import UserError
from tfx_jax.generation.in_flight import Program
from tfx_jax.layers import cache as caches
from tfx_jax.layers import cpu_layout
from tfx_jax.models.model import Cache, Model, Params, Prompt
from tfx_jax.models.quantized import dequantize
from tfx_jax.parallel import Parallel

SearchSettings = (
  beam.BeamSettings | diverse.DiverseSettings | sample.SampleSettings | frames.FrameSettings
)
# The type of the settings selects the search.
SEARCHES = {
  beam.BeamSettings: beam,
  diverse.DiverseSettings: diverse,
  sample.SampleSettings: sample,
  frames.FrameSettings: frames,
}
State = beam.BeamState | diverse.DiverseState | sample.SampleState | frames.FrameState


class SearchBatch(NamedTuple):
  """Arrays that the search of a batch reads.

  Attributes:
    prompt: the inputs.
    active: bool [B], false for rows that only fill the batch.
    settings: settings of the search.
    coverage_weight: weight of the coverage penalty, scalar; None for no such penalty.
  """

  prompt: Prompt
  active: jax.Array
  settings: SearchSettings
  coverage_weight: jax.Array | None = None


class SearchShape(NamedTuple):
  """Sizes that the programs of a search are compiled for.

  Attributes:
    capacity: T, most elements of an output.
    cache_lengths: capacities that the cache grows through, ascending; the last one is T.
    width: W, beams or samples of a row.
    num_return: R, hypotheses that beam search keeps of each row.
    alignment_layer: decoder layer whose attention is summed for the coverage penalty, or None.
  """

  capacity: int
  cache_lengths: tuple[int, ...]
  width: int = 1
  num_return: int = 1
  alignment_layer: int | None = None


class SearchResult(NamedTuple):
  """Outputs of a search over tokens.

  Attributes:
    tokens: int32 [B,R,T], `NO_TOKEN` after EOS.
    score: [B,R], which hypotheses are ranked by; minus infinity for an empty place.
    log_prob: [B,R], log-probability by the model.
  """

  tokens: jax.Array
  score: jax.Array
  log_prob: jax.Array


class SearchPrograms:
  """The programs of a model; each is compiled when it is first needed, and then kept.

  Args:
    model: the model.
    parallel: the mesh.
  """

  def __init__(self, model: Model, parallel: Parallel):
    self.model, self.parallel = model, parallel
    donated = "state", "cache"
    self.prepare = Program(_prepare, parallel)
    self.begin = Program(self._begin, parallel, static_argnames=("shape", "cache_length"))
    self.advance = Program(self._advance, parallel, donate_argnames=donated)
    # A cache that grows cannot be donated: it has another shape afterwards.
    self.grow = Program(
      self._grow, parallel, donate_argnames="state", static_argnames="cache_length"
    )
    self.cut = Program(self._cut, parallel, donate_argnames="state")

  def _begin(
    self,
    params: Params,
    batch: SearchBatch,
    steps: jax.Array | None,
    shape: SearchShape,
    cache_length: int,
  ) -> tuple[State, Cache]:
    """Returns the state of a search after the first element and `steps` more, and the cache.

    None is for no more: then the program has no loop and is compiled sooner.
    """
    model = self.model.bind({"params": params})
    prefilled = model.prefill(batch.prompt, cache_length, shape.width, shape.alignment_layer)
    state, cache = _first_state(batch, shape, *prefilled), prefilled[1]
    if steps is not None:
      return self._advance(params, batch, state, cache, steps)
    return self.parallel.split_rows((state, cache))

  def _advance(
    self, params: Params, batch: SearchBatch, state: State, cache: Cache, steps: jax.Array
  ) -> tuple[State, Cache]:
    """Returns the state of a search and the cache after at most `steps` more elements."""
    step = self.model.bind({"params": params}).decode
    search = SEARCHES[type(batch.settings)]
    penalty = (_end_penalty(batch),) if search in (beam, diverse) else ()
    advanced = search.advance(step, state, cache, batch.settings, steps, *penalty)
    return self.parallel.split_rows(advanced)

  def _grow(
    self,
    params: Params,
    batch: SearchBatch,
    state: State,
    cache: Cache,
    steps: jax.Array,
    cache_length: int,
  ) -> tuple[State, Cache]:
    """Extends the capacity of the cache to `cache_length` steps in all, then advances."""
    return self._advance(params, batch, state, caches.grow(cache, cache_length), steps)

  def _cut(self, state: sample.SampleState, keep: jax.Array) -> sample.SampleState:
    return self.parallel.split_rows(sample.cut(state, keep))


class Search:
  """The search of one batch, in progress.

  Args:
    programs: the programs of the model.
    params: parameters, from `SearchPrograms.prepare`.
    batch: inputs and settings.
    shape: sizes.
    steps: elements to generate at once, at least 1; by default all.
  """

  def __init__(
    self,
    programs: SearchPrograms,
    params: Params,
    batch: SearchBatch,
    shape: SearchShape,
    steps: int | None = None,
  ):
    self.capacity = shape.capacity
    self._programs, self._params, self._batch = programs, params, batch
    self._cache_length, *self._longer = shape.cache_lengths
    steps = self.capacity if steps is None else steps
    # Elements asked for so far; the device generates fewer where all rows finish.
    self._length = min(steps, self._cache_length)
    self.state, self._cache = programs.begin(
      params=params,
      batch=batch,
      steps=np.int32(self._length - 1) if steps > 1 else None,
      shape=shape,
      cache_length=self._cache_length,
    )
    self.advance(steps - self._length)

  def advance(self, steps: int) -> None:
    """Generates up to `steps` more elements; waits for the device only when the cache must grow."""
    end = min(self._length + steps, self.capacity)
    while self._length < end:
      advance = self._programs.advance
      if self._length == self._cache_length:
        if self.finished:
          return
        self._cache_length = self._longer.pop(0)
        advance = functools.partial(self._programs.grow, cache_length=self._cache_length)
      length = min(end, self._cache_length)
      self.state, self._cache = advance(
        params=self._params,
        batch=self._batch,
        state=self.state,
        cache=self._cache,
        steps=np.int32(length - self._length),
      )
      self._length = length

  def cut(self, keep: np.ndarray) -> None:
    """Ends samples after `keep` tokens, int32 [B,W]; T leaves a sample as it is."""
    placed = self._programs.parallel.place_whole({"keep": keep})
    self.state = self._programs.cut(state=self.state, **placed)

  @property
  def finished(self) -> bool:
    """True if no element can follow; waits for the device."""
    finished, length = self._fetch((self.state.finished, self.state.length))
    return bool(finished.all() or length == self.capacity)

  def samples(self) -> list[list[list[int]]]:
    """Returns the tokens of each row's samples so far, EOS included; waits for the device.

    Raises:
      UserError: if the model's scores are not finite.
    """
    tokens, log_probs = self._fetch((self.state.tokens, self.state.log_probs))
    check_scores("generate", log_probs.sum(axis=2))
    return [[without_padding(ids) for ids in row] for row in tokens.tolist()]

  def results(self) -> list[SearchResult]:
    """Returns the outputs of a search over tokens, still on the device; of each group of beams."""
    if isinstance(self.state, sample.SampleState):
      return [SearchResult(self.state.tokens, self.state.log_prob, self.state.log_prob)]
    groups = self.state.groups if isinstance(self.state, diverse.DiverseState) else [self.state]
    return [
      SearchResult(group.done_tokens, group.done_score, group.done_log_prob) for group in groups
    ]

  def _fetch(self, tree: Tree) -> Tree:
    return self._programs.parallel.fetch(tree)


def traced(value: npt.ArrayLike, dtype: npt.DTypeLike) -> jax.Array:
  """Returns a value as an array, so that `jit` traces it and does not compile it in."""
  return cast(jax.Array, np.asarray(value, dtype))


def check_scores(name: str, scores: np.ndarray) -> None:
  """Checks scores of hypotheses. Minus infinity is an empty place, but not all may be empty.

  Raises:
    UserError: if one is NaN, or none is finite.
  """
  if np.isnan(scores).any() or not np.isfinite(scores).any():
    raise UserError(
      f"{name}: the model's scores are not finite: its parameters are damaged (NaN or infinity), "
      "or a number of section generate is too large"
    )


def without_padding(tokens: list[int]) -> list[int]:
  """Returns the tokens up to the first `NO_TOKEN`."""
  return tokens[: tokens.index(NO_TOKEN)] if NO_TOKEN in tokens else tokens


def _prepare(params: Params) -> Params:
  """Returns float parameters in the memory layout that decoding reads fastest."""
  return cpu_layout.prepare(dequantize(params))


def _first_state(batch: SearchBatch, shape: SearchShape, output: Output, cache: Cache) -> State:
  """Returns the state after the first element, given the output and the cache of `prefill`."""
  search = SEARCHES[type(batch.settings)]
  if isinstance(batch.settings, frames.FrameSettings):
    frame, stop_logit = output
    return frames.begin(frame, stop_logit, batch.settings, batch.active, capacity=shape.capacity)
  sizes = {"width": shape.width, "capacity": shape.capacity}
  if search is not sample:
    penalty = _end_penalty(batch)
    sizes |= {
      "num_return": shape.num_return,
      "end_penalty": None if penalty is None else penalty(cache),
    }
  return search.begin(output, batch.settings, batch.active, **sizes)


def _end_penalty(batch: SearchBatch) -> beam.EndPenalty | None:
  """Returns the coverage penalty as a function of the cache, or None if there is none."""
  weight = batch.coverage_weight
  if weight is None:
    return None
  real = batch.prompt["inputs_segments"] > 0

  def end_penalty(cache: Cache) -> jax.Array:
    return weight * coverage_penalty(caches.coverage(cache), real)

  return end_penalty
