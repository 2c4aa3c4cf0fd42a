"""Texts in, hypotheses out: sorting, batching, the jitted search, and back to text."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import linen as nn

from tfx_jax.data.packing import lay_out
from tfx_jax.data.tokenizer import BOS, EOS, PAD, Tokenizer
from tfx_jax.decoding.beam import PENALTY_OFFSETS, BeamSettings, BeamState, advance, begin
from tfx_jax.decoding.coverage import coverage_penalty
from tfx_jax.errors import UserError, nearest
from tfx_jax.parallel import Parallel

# Tokens that an output may always have, whatever the ratio to its source.
SPARE_LENGTH = 10


class Hypothesis(NamedTuple):
  """One output.

  Attributes:
    text: the detokenised text.
    score: what hypotheses are ranked by, see `decoding/beam.py`.
    log_prob: sum of the tokens' log-probabilities in nats, EOS counted.
    tokens: ids, EOS included.
  """

  text: str
  score: float
  log_prob: float
  tokens: list[int]


@dataclasses.dataclass(frozen=True)
class GenerateSettings:
  """How texts are generated.

  Attributes:
    beam_size: W; 1 is greedy search, where the length penalty plays no part.
    num_return: hypotheses per input, at most `beam_size`.
    length_penalty_form: "gnmt" or "power", see `decoding/beam.py`.
    length_penalty: its exponent.
    coverage_penalty: weight of the penalty on sources left unread, see `decoding/coverage.py`; 0:
      none, and attention is not looked at. With `beam_size` 1 it plays no part.
    alignment_layer: the decoder layer whose attention that is, the mean of its heads; -1: the last.
    min_length: least tokens of an output, EOS counted.
    max_length: most tokens of an output.
    max_length_ratio: also at most this many tokens per source token, plus `SPARE_LENGTH`;
      0: no such limit.
    max_source_length: longer inputs are cut, with a warning.
    batch_size: inputs decoded at a time.

  Raises:
    UserError: for a value that makes no sense.
  """

  beam_size: int = 4
  num_return: int = 1
  length_penalty_form: str = "gnmt"
  length_penalty: float = 0.6
  coverage_penalty: float = 0.0
  alignment_layer: int = -1
  min_length: int = 1
  max_length: int = 128
  max_length_ratio: float = 2.0
  max_source_length: int = 256
  batch_size: int = 32

  def __post_init__(self):
    if self.length_penalty_form not in PENALTY_OFFSETS:
      hint = nearest(self.length_penalty_form, PENALTY_OFFSETS)
      raise UserError(f"generate.length_penalty_form='{self.length_penalty_form}'{hint}")
    for name in ("beam_size", "num_return", "max_length", "max_source_length", "batch_size"):
      if getattr(self, name) < 1:
        raise UserError(f"generate.{name}={getattr(self, name)}: use 1 or more")
    if not 0 <= self.coverage_penalty < math.inf:
      raise UserError(f"generate.coverage_penalty={self.coverage_penalty}: use 0 or more")
    if self.num_return > self.beam_size:
      raise UserError(
        f"generate.num_return={self.num_return} is more than generate.beam_size={self.beam_size}"
      )

  def replace(self, **changes: Any) -> "GenerateSettings":
    """The settings with some changed.

    Raises:
      UserError: for an unknown name.
    """
    known = [field.name for field in dataclasses.fields(self)]
    for name in changes:
      if name not in known:
        raise UserError(f"generate has no setting '{name}'{nearest(name, known)}")
    return dataclasses.replace(self, **changes)


class Generator:
  """Generates texts with a model; programs are compiled when first needed and then kept.

  There are few of them: sources are padded to one of three lengths, and batches are full or an
  eighth of it.

  Args:
    model: with the methods `prefill` and `decode`.
    parallel: the mesh.
    source_tokenizer: of the inputs.
    target_tokenizer: of the outputs.
    settings: see `GenerateSettings`.
  """

  def __init__(
    self,
    model: nn.Module,
    parallel: Parallel,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    settings: GenerateSettings,
  ):
    self.settings = settings
    self._parallel = parallel
    self._source_tokenizer = source_tokenizer
    self._target_tokenizer = target_tokenizer
    self._search = parallel.jit(
      functools.partial(_search, model),
      static_argnames=("width", "num_return", "length", "alignment_layer"),
    )

  def __call__(
    self,
    params: Any,
    texts: Sequence[str],
    on_batch: Callable[[int], None] = lambda count: None,
    **changes: Any,
  ) -> list[list[Hypothesis]]:
    """The hypotheses of each text, best first; an empty text has one empty hypothesis.

    Args:
      params: of the model.
      texts: the inputs, in any order of length.
      on_batch: called with the number of texts of each batch that is done.
      **changes: of the settings, for this call.
    """
    settings = self.settings.replace(**changes)
    sources = self._encode(texts, settings)
    found: list[list[Hypothesis]] = [[Hypothesis("", 0.0, 0.0, [])] for _ in texts]
    # The next batch is on its way before the last one's result is waited for.
    running: tuple[np.ndarray, BeamState] | None = None
    for members, length, rows in _batches(sources, settings, self._parallel.batch_shards):
      state = self._start(params, [sources[i] for i in members], length, rows, settings)
      if running:
        self._collect(*running, found)
        on_batch(len(running[0]))
      running = members, state
    if running:
      self._collect(*running, found)
      on_batch(len(running[0]))
    return found

  def _encode(self, texts: Sequence[str], settings: GenerateSettings) -> list[list[int]]:
    """Source tokens with EOS, at most as many as allowed; none for an empty or blank text."""
    limit, sources = settings.max_source_length, []
    texts = [text if text.strip() else "" for text in texts]
    for number, ids in enumerate(self._source_tokenizer.encode(texts), 1):
      if len(ids) >= limit:
        logging.warning(
          "input %d is cut from %d to %d tokens (generate.max_source_length)",
          *(number, len(ids) + 1, limit),
        )
      sources.append([*ids[: limit - 1], EOS] if ids else [])
    return sources

  def _start(
    self,
    params: Any,
    sources: list[list[int]],
    length: int,
    rows: int,
    settings: GenerateSettings,
  ) -> BeamState:
    room = settings.max_length
    limits = np.full(rows, room, np.int32)
    if settings.max_length_ratio:
      ratio = settings.max_length_ratio
      room = min(room, math.ceil(ratio * length) + SPARE_LENGTH)
      for row, source in enumerate(sources):
        limits[row] = min(room, math.ceil(ratio * len(source)) + SPARE_LENGTH)
    active = np.arange(rows) < len(sources)
    filled = sources + [[EOS]] * (rows - len(sources))
    inputs, segments, positions = lay_out([[source] for source in filled], length)
    ones = np.ones((rows, 1), np.int32)
    arrays = {
      "inputs": inputs,
      "inputs_segments": segments,
      "inputs_positions": positions,
      "decoder_inputs": ones * BOS,
      "targets_segments": ones,
      "targets_positions": ones * 0,
      "active": active,
      "min_length": np.full(rows, settings.min_length, np.int32),
      "max_length": limits,
    }
    batch = self._parallel.place(arrays)
    beam_settings = BeamSettings(
      length_penalty=np.float32(settings.length_penalty if settings.beam_size > 1 else 0.0),
      penalty_offset=np.float32(PENALTY_OFFSETS[settings.length_penalty_form]),
      min_length=batch.pop("min_length"),
      max_length=batch.pop("max_length"),
      eos=EOS,
      forbidden=(PAD, BOS),
    )
    covering = settings.coverage_penalty > 0 and settings.beam_size > 1
    return self._search(
      params,
      batch,
      beam_settings,
      np.float32(settings.coverage_penalty),
      alignment_layer=settings.alignment_layer if covering else None,
      width=settings.beam_size,
      num_return=settings.num_return,
      length=room,
    )

  def _collect(self, members: np.ndarray, state: BeamState, found: list[list[Hypothesis]]) -> None:
    """Puts the hypotheses of a batch where its members belong."""
    tokens, scores, log_probs = jax.device_get(
      (state.done_tokens, state.done_score, state.done_log_prob)
    )
    for row, member in enumerate(members):
      # A place with no score was never filled: a row may have fewer hypotheses than asked for.
      filled = np.isfinite(scores[row])
      ids = [_to_end(sequence) for sequence in tokens[row][filled].tolist()]
      texts = self._target_tokenizer.decode(ids)
      figures = (scores[row][filled].tolist(), log_probs[row][filled].tolist())
      found[member] = [Hypothesis(*item) for item in zip(texts, *figures, ids, strict=True)]


def _search(
  model: nn.Module,
  params: Any,
  batch: dict[str, jax.Array],
  settings: BeamSettings,
  coverage_weight: jax.Array,
  *,
  width: int,
  num_return: int,
  length: int,
  alignment_layer: int | None,
) -> BeamState:
  """The whole beam search of a batch, in one program; with a layer given, it looks at coverage."""
  apply = functools.partial(model.apply, {"params": params})
  logits, cache = apply(batch, length, width, alignment_layer, method="prefill")
  real = batch["inputs_segments"] > 0

  def ending(cache: Any) -> jax.Array:
    return coverage_weight * coverage_penalty(apply(cache, method="coverage"), real)

  covering = alignment_layer is not None
  state = begin(
    logits,
    settings,
    batch["active"],
    width=width,
    num_return=num_return,
    length=length,
    at_end=ending(cache) if covering else None,
  )
  step = functools.partial(apply, method="decode")
  return advance(step, state, cache, settings, jnp.int32(length), ending if covering else None)[0]


def source_lengths(longest: int) -> list[int]:
  """The lengths sources are padded to, multiples of 8: about a quarter, a half and all."""
  return sorted({-(-longest // (8 * part)) * 8 for part in (4, 2, 1)})


def _batches(
  sources: Sequence[Sequence[int]], settings: GenerateSettings, shards: int
) -> list[tuple[np.ndarray, int, int]]:
  """Groups of similar length as (members, padded length, rows of the batch), longest first."""
  lengths = np.array([len(source) for source in sources], int)
  order = np.argsort(-lengths, kind="stable")
  order = order[lengths[order] > 0]
  if not len(order):
    return []
  full = -(-settings.batch_size // shards) * shards
  small = -(-settings.batch_size // (8 * shards)) * shards
  rows = small if len(order) <= small else full
  buckets = np.array(source_lengths(settings.max_source_length))
  bucket = np.searchsorted(buckets, lengths[order])
  batches, start = [], 0
  while start < len(order):
    # The last batch of a length is filled up from the next shorter one.
    count = np.count_nonzero(bucket[start:] == bucket[start])
    members = order[start : start + -(-count // rows) * rows]
    length = int(buckets[bucket[start]])
    for first in range(0, len(members), rows):
      batches.append((members[first : first + rows], length, rows))
    start += len(members)
  return batches


def _to_end(tokens: list[int]) -> list[int]:
  return tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens
