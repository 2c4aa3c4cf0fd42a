"""What is asked of a generator in one call, from texts to tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from tfx_jax.data.tokenizer import EOS, Tokenizer
from tfx_jax.decoding.phrases import Phrases
from tfx_jax.evaluation.constraints import (
  Prefixes,
  encode_prefix,
  encode_prefixes,
  forbidden_mask,
  spellings,
)
from tfx_jax.evaluation.generate_settings import GenerateSettings
from tfx_jax.evaluation.stop import Stop, find_stop


class Request(NamedTuple):
  """Inputs, and how their outputs are generated.

  Attributes:
    settings: of generation.
    tokenizer: of the outputs.
    sources: of each input its tokens with EOS; none for an empty text.
    starts: of each input the tokens that its outputs begin with.
    forbidden: bool [V], see `forbidden_mask`.
    phrases: see `spellings`.
  """

  settings: GenerateSettings
  tokenizer: Tokenizer
  sources: list[list[int]]
  starts: list[list[int]]
  forbidden: np.ndarray
  phrases: Phrases | None

  def find_stop(self, number: int, ids: Sequence[int]) -> Stop | None:
    """Where an output of input `number` ends before its EOS, if it does."""
    stops = self.settings.stop
    return find_stop(self.tokenizer, ids, stops, len(self.starts[number])) if stops else None


def make_request(
  source_tokenizer: Tokenizer,
  target_tokenizer: Tokenizer,
  texts: Sequence[str],
  prefixes: Prefixes | None,
  settings: GenerateSettings,
) -> Request:
  """The request for outputs of `texts`, which begin with `prefixes` or all with `settings.prefix`.

  Raises:
    UserError: for what outputs must begin with or must not hold, see `constraints`.
  """
  longest = settings.max_length
  if prefixes is None:
    starts = [encode_prefix(target_tokenizer, settings.prefix, longest)] * len(texts)
  else:
    starts = encode_prefixes(target_tokenizer, prefixes, len(texts), longest)
  return Request(
    settings,
    target_tokenizer,
    _encode_sources(source_tokenizer, texts, settings.max_source_length),
    starts,
    forbidden_mask(target_tokenizer, settings.forbidden),
    spellings(target_tokenizer, settings.forbidden_phrases),
  )


def _encode_sources(tokenizer: Tokenizer, texts: Sequence[str], limit: int) -> list[list[int]]:
  """Tokens with EOS, at most `limit`; none for an empty or blank text."""
  sources = []
  texts = [text if text.strip() else "" for text in texts]
  for number, ids in enumerate(tokenizer.encode(texts), 1):
    if len(ids) >= limit:
      logging.warning(
        "input %d is cut from %d to %d tokens (generate.max_source_length)",
        *(number, len(ids) + 1, limit),
      )
    sources.append([*ids[: limit - 1], EOS] if ids else [])
  return sources
