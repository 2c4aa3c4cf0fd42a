"""What is asked of a generator in one call, from texts to tokens."""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfx_jax.codecs.special_tokens import SpecialTokens
from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.data.layout import Layout
from tfx_jax.decoding.phrases import Phrases
from tfx_jax.errors import UserError
from tfx_jax.generation.inputs import cut_long
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.generation.text.constraints import (
  Prefixes,
  encode_prefix,
  encode_prefixes,
  forbidden_mask,
  spellings,
)
from tfx_jax.generation.text.stop import Stop, find_stop


class Request(NamedTuple):
  """Inputs, and how their outputs are generated.

  Attributes:
    settings: of generation.
    tokenizer: of the outputs.
    prompts: what the model reads of each input; nothing where nothing is to be written.
    starts: of each input the tokens that its outputs begin with.
    forbidden: bool [V], see `forbidden_mask`.
    phrases: see `spellings`.
    continues: whether outputs go on with what the model reads.
  """

  settings: GenerateSettings
  tokenizer: Tokenizer
  prompts: list[list[int]]
  starts: list[list[int]]
  forbidden: np.ndarray
  phrases: Phrases | None
  continues: bool = False

  @property
  def special_tokens(self) -> SpecialTokens:
    """Those of outputs."""
    return self.tokenizer.special_tokens

  def decode(self, number: int, outputs: Sequence[Sequence[int]]) -> list[str]:
    """The texts of some outputs of input `number`, given as tokens."""
    return self.decode_all([number], [outputs])[0]

  def decode_all(
    self, numbers: Sequence[int], outputs: Sequence[Sequence[Sequence[int]]]
  ) -> list[list[str]]:
    """The texts of some outputs of each of the inputs `numbers`.

    They are decoded together: a call of sentencepiece takes longer than a dozen texts.
    """
    # By itself a text has no space in front, behind what it goes on with it may have one.
    prompts = [self._continued(number) for number in numbers]
    sequences = [
      [prompt, *([*prompt, *ids] for ids in own)]
      for prompt, own in zip(prompts, outputs, strict=True)
    ]
    texts = iter(self.tokenizer.decode(list(itertools.chain.from_iterable(sequences))))
    found = []
    for own in sequences:
      given, *whole = itertools.islice(texts, len(own))
      found.append([text.removeprefix(given) for text in whole])
    return found

  def _continued(self, number: int) -> list[int]:
    """What the outputs of an input go on with."""
    if not self.continues:
      return []
    return [
      i
      for i in self.prompts[number]
      if i not in (self.special_tokens.bos, *self.special_tokens.eos_ids)
    ]

  def find_stop(self, number: int, ids: Sequence[int]) -> Stop | None:
    """Where an output of input `number` ends before its EOS, if it does."""
    stops = self.settings.stop
    decode = functools.partial(self.decode, number)
    return find_stop(decode, ids, stops, len(self.starts[number])) if stops else None


def make_request(
  layout: Layout,
  source_tokenizer: Tokenizer,
  target_tokenizer: Tokenizer,
  texts: Sequence[str],
  prefixes: Prefixes | None,
  settings: GenerateSettings,
) -> Request:
  """The request for outputs of `texts`, which begin with `prefixes` or all with `settings.prefix`.

  Raises:
    UserError: for what outputs must begin with or must not hold, see `constraints`, or for an empty
      text where nothing marks the beginning of one.
  """
  longest = settings.max_length
  if prefixes is None:
    starts = [encode_prefix(target_tokenizer, settings.prefix, longest)] * len(texts)
  else:
    starts = encode_prefixes(target_tokenizer, prefixes, len(texts), longest)
  return Request(
    settings,
    target_tokenizer,
    _make_prompts(layout, source_tokenizer, texts, settings.max_source_length),
    starts,
    forbidden_mask(target_tokenizer, settings.forbidden),
    spellings(target_tokenizer, settings.forbidden_phrases),
    layout.continues,
  )


def _make_prompts(
  layout: Layout, tokenizer: Tokenizer, texts: Sequence[str], longest: int
) -> list[list[int]]:
  """What the model reads of each text, at most as much as allowed; [] where nothing is written.

  That is for an empty or blank text, unless the model goes on with texts.
  """
  if not layout.continues:
    texts = [text if text.strip() else "" for text in texts]
  encoded = cut_long(tokenizer.encode(texts), layout, longest)
  for number, ids in enumerate(encoded, 1):
    if layout.continues and not ids and not layout.prompt([]):
      raise UserError(f"input {number} is empty: give this model the beginning of a text")
  return [layout.prompt(ids) if ids or layout.continues else [] for ids in encoded]
