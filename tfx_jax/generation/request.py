"""The inputs of one call of a generator, encoded, with the settings and constraints for it."""

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tfx_jax.codecs.codec import AnyValue, Codec, Elements
from tfx_jax.data.layout import Layout
from tfx_jax.errors import UserError
from tfx_jax.generation.inputs import cut_long, is_text, tokens_of
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.generation.text.constraints import Constraints
from tfx_jax.generation.text.stop import Stop, find_stop


class Request(NamedTuple):
  """Inputs of a model that generates tokens, and how their outputs are generated.

  Attributes:
    settings: settings of generation.
    layout: how the model is given inputs.
    codec: codec of the outputs.
    prompts: sequence of each input, with special tokens; empty where nothing is to be generated.
    prefixes: tokens that the outputs of each input begin with.
    constraints: constraints on all outputs.
  """

  settings: GenerateSettings
  layout: Layout
  codec: Codec
  prompts: list[Elements]
  prefixes: list[list[int]]
  constraints: Constraints

  @property
  def prompt_length(self) -> int:
    """Number of tokens that every output begins with before the first generated one."""
    return self.codec.element.prefix_length

  def decode(self, number: int, outputs: Sequence[Sequence[int]]) -> list[AnyValue]:
    """Returns the values of some outputs of input `number`, given as tokens."""
    return self.decode_all([number], [outputs])[0]

  def decode_all(
    self, numbers: Iterable[int], outputs: Sequence[Sequence[Sequence[int]]]
  ) -> list[list[AnyValue]]:
    """Returns the values of some outputs of each of the inputs `numbers`.

    All are decoded by one call: a call of sentencepiece takes longer than a dozen texts.
    """
    if not self.layout.continues:
      values = iter(self.codec.decode(list(itertools.chain.from_iterable(outputs))))
      return [list(itertools.islice(values, len(group))) for group in outputs]
    # A text decoded alone has no space in front; after the text that it continues it may have one.
    prompts = [self._without_special(self.prompts[number]) for number in numbers]
    sequences = [
      [prompt, *([*prompt, *ids] for ids in group)]
      for prompt, group in zip(prompts, outputs, strict=True)
    ]
    texts = iter(self.codec.decode(list(itertools.chain.from_iterable(sequences))))
    continuations = []
    for group in sequences:
      prompt, *whole = itertools.islice(texts, len(group))
      continuations.append([text.removeprefix(prompt) for text in whole])
    return continuations

  def find_stop(self, number: int, ids: Sequence[int]) -> Stop | None:
    """Returns where a stop string ends an output of input `number`; None if none does."""
    stops = self.settings.stop
    decode = functools.partial(self.decode, number)
    return find_stop(decode, ids, stops, len(self.prefixes[number])) if stops else None

  def _without_special(self, prompt: Elements) -> list[int]:
    """Returns a prompt without BOS and EOS."""
    special = tokens_of(self.codec).special_tokens
    return [i for i in prompt if i not in (special.bos, *special.eos_ids)]


def encode_inputs(
  layout: Layout, codec: Codec, values: Sequence[AnyValue], max_source_length: int
) -> list[Elements]:
  """Returns the sequence that the model is given of each input, cut if it is too long.

  It is empty for an empty or blank input, for which nothing is generated, unless the model
  continues inputs.

  Raises:
    UserError: for an empty input of a model that needs the beginning of one.
  """
  if is_text(codec) and not layout.continues:
    values = [text if text.strip() else "" for text in values]
  encoded = cut_long(codec.encode(values), layout, max_source_length)
  for number, elements in enumerate(encoded, 1):
    if layout.continues and not len(elements) and not len(layout.prompt([])):
      raise UserError(f"input {number} is empty: give this model the beginning of a text")
  return [layout.prompt(x) if len(x) or layout.continues else [] for x in encoded]
