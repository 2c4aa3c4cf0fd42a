"""From the settings of generation to a search over a model, in one program."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tfx_jax.data.tokenizer import EOS
from tfx_jax.decoding import beam, sample
from tfx_jax.decoding.coverage import coverage_penalty
from tfx_jax.decoding.rules import Rules
from tfx_jax.evaluation.generate_settings import GenerateSettings


class Found(NamedTuple):
  """What a search has found.

  Attributes:
    tokens: int32 [B,R,T], zeros after EOS.
    score: [B,R], what hypotheses are ranked by; minus infinity for an empty place.
    log_prob: [B,R], of the model.
  """

  tokens: jax.Array
  score: jax.Array
  log_prob: jax.Array


def search_settings(
  settings: GenerateSettings, forbidden: np.ndarray, arrays: Mapping[str, jax.Array]
) -> beam.BeamSettings | sample.SampleSettings:
  """The numbers that a search is traced with.

  Args:
    settings: of generation.
    forbidden: bool [V], tokens that are never generated.
    arrays: by row, see `batches.search_arrays`.
  """
  size, penalty = settings.no_repeat_ngram_size, settings.repetition_penalty
  rules = Rules(
    forbidden=forbidden,
    min_length=arrays["min_length"],
    max_length=arrays["max_length"],
    eos=EOS,
    prefix=arrays.get("prefix"),
    prefix_length=arrays.get("prefix_length"),
    no_repeat_ngram_size=np.int32(size) if size else None,
    repetition_penalty=np.float32(penalty) if penalty != 1 else None,
  )
  if settings.search == "beam":
    return beam.BeamSettings(
      rules=rules,
      length_penalty=np.float32(settings.length_penalty if settings.beam_size > 1 else 0.0),
      penalty_offset=np.float32(beam.PENALTY_OFFSETS[settings.length_penalty_form]),
    )
  in_each_row = functools.partial(np.full, arrays["number"].shape)
  return sample.SampleSettings(
    rules=rules,
    seed=np.uint32(settings.seed),
    number=arrays["number"],
    temperature=in_each_row(settings.temperature, np.float32),
    top_k=in_each_row(settings.top_k, np.int32) if settings.top_k else None,
    top_p=in_each_row(settings.top_p, np.float32) if settings.top_p < 1 else None,
  )


def search(
  model: nn.Module,
  params: Any,
  batch: Mapping[str, jax.Array],
  active: jax.Array,
  settings: beam.BeamSettings | sample.SampleSettings,
  *,
  width: int,
  num_return: int,
  length: int,
  coverage_weight: jax.Array | None = None,
  alignment_layer: int = -1,
) -> Found:
  """The whole search of a batch.

  Args:
    model: with the methods `prefill`, `decode` and `coverage`.
    params: of the model.
    batch: see `batches.model_arrays`.
    active: bool [B], which rows are real.
    settings: which of the two they are chooses the search.
    width: W, beams or samples of a row.
    num_return: R, hypotheses that a beam search keeps; of samples all W are kept.
    length: T, room for tokens.
    coverage_weight: what a beam search multiplies `coverage_penalty` by, a scalar; None: attention
      is not looked at.
    alignment_layer: of the decoder, whose attention that is.
  """
  apply = functools.partial(model.apply, {"params": params})
  layer = None if coverage_weight is None else alignment_layer
  logits, cache = apply(batch, length, width, layer, method="prefill")
  step, steps = functools.partial(apply, method="decode"), jnp.int32(length)
  if isinstance(settings, sample.SampleSettings):
    state = sample.begin(logits, settings, active, width=width, length=length)
    state, _ = sample.advance(step, state, cache, settings, steps)
    return Found(state.tokens, state.log_prob, state.log_prob)

  def ending(cache: Any) -> jax.Array:
    real = batch["inputs_segments"] > 0
    return coverage_weight * coverage_penalty(apply(cache, method="coverage"), real)

  covering = coverage_weight is not None
  state = beam.begin(
    logits,
    settings,
    active,
    width=width,
    num_return=num_return,
    length=length,
    at_end=ending(cache) if covering else None,
  )
  state, _ = beam.advance(step, state, cache, settings, steps, ending if covering else None)
  return Found(state.done_tokens, state.done_score, state.done_log_prob)
