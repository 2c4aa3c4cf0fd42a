"""From the settings of generation to the numbers that a search is traced with."""

import functools
from collections.abc import Mapping

import jax
import numpy as np

from tfx_jax.decoding import beam, diverse, sample
from tfx_jax.decoding.phrases import Phrases
from tfx_jax.decoding.rules import Rules
from tfx_jax.decoding.truncation import Truncation
from tfx_jax.generation.search import Settings
from tfx_jax.generation.settings import PENALTY_OFFSETS, GenerateSettings


def search_settings(
  settings: GenerateSettings,
  forbidden: np.ndarray,
  phrases: Phrases | None,
  arrays: Mapping[str, jax.Array],
  eos: tuple[int, ...],
  given: int = 0,
) -> Settings:
  """The numbers that a search is traced with. What is switched off is None: not in the program.

  Args:
    settings: of generation.
    forbidden: bool [V], tokens that are never generated.
    phrases: that outputs never hold.
    arrays: by row, see `batches.search_arrays`.
    eos: ids of the tokens that end an output.
    given: tokens that outputs began with before the first one generated.
  """
  size, repetition = settings.no_repeat_ngram_size, settings.repetition_penalty
  presence = settings.presence_penalty
  rules = Rules(
    forbidden=forbidden,
    min_length=arrays["min_length"],
    max_length=arrays["max_length"],
    eos=eos,
    prefix=arrays.get("prefix"),
    prefix_length=arrays.get("prefix_length"),
    no_repeat_ngram_size=np.int32(size) if size else None,
    repetition_penalty=np.float32(repetition) if repetition != 1 else None,
    presence_penalty=np.float32(presence) if presence else None,
    phrases=phrases,
  )
  if settings.greedy:
    return sample.SampleSettings(rules)
  if settings.search == "beam":
    return _of_beams(settings, rules, given)
  return sample.SampleSettings(
    rules,
    sample.Sampling(
      seed=np.uint32(settings.seed),
      number=arrays["number"],
      truncation=_truncation(settings, arrays["number"].shape),
    ),
  )


def _of_beams(settings: GenerateSettings, rules: Rules, given: int) -> Settings:
  beams = beam.BeamSettings(
    rules=rules,
    length_penalty=np.float32(settings.length_penalty),
    penalty_offset=np.float32(PENALTY_OFFSETS[settings.length_penalty_form]),
    prompt_length=np.int32(given),
    early_stopping=np.bool_(settings.early_stopping),
  )
  if settings.beam_groups == 1:
    return beams
  return diverse.DiverseSettings(
    beams, np.float32(settings.diversity_penalty), settings.beam_groups
  )


def _truncation(settings: GenerateSettings, rows: tuple[int]) -> Truncation:
  each = functools.partial(np.full, rows)
  return Truncation(
    temperature=each(settings.temperature, np.float32),
    top_k=each(settings.top_k, np.int32) if settings.top_k else None,
    top_p=each(settings.top_p, np.float32) if settings.top_p < 1 else None,
    min_p=each(settings.min_p, np.float32) if settings.min_p else None,
    typical_p=each(settings.typical_p, np.float32) if settings.typical_p < 1 else None,
  )
