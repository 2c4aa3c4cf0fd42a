"""The settings of generation: names, ranges, and which of them go together."""

import dataclasses
import math
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from tfx_jax.common.ranges import RANGES, check_range
from tfx_jax.decoding.beam import PENALTY_OFFSETS
from tfx_jax.errors import UserError, nearest, shown

SEARCHES = ("beam", "sample", "mbr")
# Of 1e30: a log-probability divided or multiplied by that still is a float32 of full precision.
_LOG_OF_GREATEST_PENALTY = math.log(1e30)
# What some searches do not read; elsewhere than at its default it would mislead.
OF_DRAWS = ("temperature", "top_k", "top_p", "min_p", "typical_p", "seed")
READ_BY = dict.fromkeys(OF_DRAWS, ("sample", "mbr")) | {
  "num_samples": ("mbr",),
  **dict.fromkeys(
    ("coverage_penalty", "early_stopping", "beam_groups", "diversity_penalty"), ("beam",)
  ),
}


@dataclasses.dataclass(frozen=True)
class GenerateSettings:
  """How texts are generated; what is computed is said in `docs/decoding.md`.

  Attributes:
    search: "beam", "sample", or "mbr": the minimum Bayes risk among samples.
    beam_size: W; 1 is greedy search, where the length penalty plays no part, for `num_return=1`.
    beam_groups: G groups of beams, each kept from the words of the others, see
      `decoding/diverse.py`; 1: plain beam search. It divides `beam_size`.
    diversity_penalty: how much.
    num_return: hypotheses per input. A search of beams has at least as many beams, see `width`; of
      `num_samples` it is a part.
    length_penalty_form: "gnmt" or "power", see `decoding/beam.py`.
    length_penalty: its exponent.
    early_stopping: whether a search of beams ends when `beam_size` hypotheses have ended, as
      transformers has it; else when none could still get better.
    coverage_penalty: weight of the penalty on sources left unread, see `decoding/coverage.py`; 0:
      none, and attention is not looked at.
    alignment_layer: the decoder layer whose attention that is, the mean of its heads; -1: the last.
    temperature: what log-probabilities are divided by before a token is drawn.
    top_k: draws are among this many of the likeliest tokens; 0: among all.
    top_p: draws are among the likeliest tokens that have this probability together; 1: among all.
    min_p: draws are among the tokens at least so many times as likely as the likeliest; 0: all.
    typical_p: draws are among the most typical tokens that have this probability together, see
      `decoding/truncation.py`; 1: among all.
    seed: of the draws.
    num_samples: samples of each input among which the minimum Bayes risk is looked for.
    min_length: least tokens of an output, EOS counted.
    max_length: most tokens of an output.
    max_length_ratio: also at most this many tokens per source token, plus `SPARE_LENGTH`;
      0: no such limit.
    prefix: text that all outputs begin with.
    forbidden: pieces of the target tokenizer that are never generated.
    forbidden_phrases: texts that outputs never hold, see `constraints.spellings`.
    no_repeat_ngram_size: no n-gram of so many tokens occurs twice in an output; 0: no such rule.
    repetition_penalty: what the logits of tokens of the output so far are divided by.
    presence_penalty: what is subtracted from them.
    stop: texts before the first of which an output ends.
    stream: whether outputs are to be read while they are written.
    max_source_length: longer inputs are cut, with a warning.
    batch_size: inputs decoded at a time.

  Raises:
    UserError: for a value that makes no sense.
  """

  search: str = "beam"
  beam_size: int = 4
  beam_groups: int = 1
  diversity_penalty: float = 0.5
  num_return: int = 1
  length_penalty_form: str = "gnmt"
  length_penalty: float = 0.6
  early_stopping: bool = False
  coverage_penalty: float = 0.0
  alignment_layer: int = -1
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  min_p: float = 0.0
  typical_p: float = 1.0
  seed: int = 0
  num_samples: int = 32
  min_length: int = 1
  max_length: int = 128
  max_length_ratio: float = 2.0
  prefix: str = ""
  forbidden: Collection[str] = ()
  forbidden_phrases: Collection[str] = ()
  no_repeat_ngram_size: int = 0
  repetition_penalty: float = 1.0
  presence_penalty: float = 0.0
  stop: Collection[str] = ()
  stream: bool = False
  max_source_length: int = 256
  batch_size: int = 32

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = _typed(field.name, getattr(self, field.name), field.default)
      object.__setattr__(self, field.name, value)
    for name, choices in (("search", SEARCHES), ("length_penalty_form", PENALTY_OFFSETS)):
      value = getattr(self, name)
      if value not in choices:
        raise UserError(f"generate.{name}='{value}'{nearest(value, choices)}")
    for field in dataclasses.fields(self):
      if f"generate.{field.name}" in RANGES:
        check_range(f"generate.{field.name}", getattr(self, field.name))
    self._check_length_penalty()
    for name, kind in (("forbidden", "pieces"), ("forbidden_phrases", "texts"), ("stop", "texts")):
      value = getattr(self, name)
      if not all(isinstance(text, str) and text for text in value):
        raise UserError(f"generate.{name}={value!r}: use a tuple of {kind}, none of them empty")
    for name, searches in READ_BY.items():
      if self.search not in searches and getattr(self, name) != getattr(GenerateSettings, name):
        raise UserError(
          f"generate.{name}={getattr(self, name)} has no effect with generate.search="
          f"'{self.search}'; it is for {' and '.join(searches)}"
        )
    self._check_beams()
    if self.search == "mbr" and self.num_return > self.num_samples:
      raise UserError(
        f"generate.num_return={self.num_return} is more than "
        f"generate.num_samples={self.num_samples}"
      )
    if self.stream and (self.search == "mbr" or self.num_return > 1):
      raise UserError(
        "generate.stream=True is of one output that is written once: use generate.search='sample' "
        "or generate.beam_size=1, and generate.num_return=1"
      )

  def _check_length_penalty(self) -> None:
    """The penalty of the longest output, a power, must leave scores within float32."""
    offset = PENALTY_OFFSETS[self.length_penalty_form]
    growth = math.log((offset + self.max_length) / (offset + 1))
    if abs(self.length_penalty) * growth > _LOG_OF_GREATEST_PENALTY:
      most = math.floor(_LOG_OF_GREATEST_PENALTY / growth * 10) / 10
      raise UserError(
        f"generate.length_penalty={self.length_penalty}: use {-most} to {most}, for "
        f"generate.max_length={self.max_length}"
      )

  def _check_beams(self) -> None:
    """What goes together with several beams; any of them may be lost until all have ended."""
    if self.beam_size % self.beam_groups:
      raise UserError(
        f"generate.beam_groups={self.beam_groups} does not divide "
        f"generate.beam_size={self.beam_size}"
      )
    if self.beam_groups == 1 and self.diversity_penalty != GenerateSettings.diversity_penalty:
      raise UserError(
        f"generate.diversity_penalty={self.diversity_penalty} has no effect with "
        "generate.beam_groups=1"
      )
    if self.early_stopping and self.width == 1:
      raise UserError("generate.early_stopping=True has no effect with generate.beam_size=1")
    beams = "beam_size" if self.beam_size > 1 else "num_return"
    for name in ("stop", "stream"):
      if getattr(self, name) and self.search == "beam" and self.width > 1:
        raise UserError(
          f"generate.{name}={getattr(self, name)!r} does not go with "
          f"generate.{beams}={getattr(self, beams)}: use 1, or another generate.search"
        )

  @property
  def width(self) -> int:
    """W, beams or samples of an input; beams are at least as many as hypotheses are asked for."""
    if self.search == "beam":
      return max(self.beam_size, self.beam_groups * -(-self.num_return // self.beam_groups))
    return self.num_return if self.search == "sample" else self.num_samples

  @property
  def greedy(self) -> bool:
    """Whether the likeliest token is taken at each step."""
    return self.search == "beam" and self.width == 1

  @property
  def pool(self) -> int:
    """R, the hypotheses that a search of beams keeps."""
    return self.width if self.early_stopping else self.num_return

  @property
  def streams(self) -> bool:
    """Whether what has been written stays, so that it can be shown before the end."""
    return self.search == "sample" or self.greedy

  @property
  def covers(self) -> bool:
    """Whether attention is looked at; in greedy search, as all penalties, that plays no part."""
    return self.search == "beam" and self.width > 1 and self.coverage_penalty > 0

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


def _typed(name: str, value: Any, default: Any) -> Any:
  """Returns a value of the type that a setting has; NumPy's scalars, and any collection, are taken.

  Raises:
    UserError: for a value of another type.
  """
  kind = type(default)
  if kind is tuple:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
      raise UserError(f"generate.{name}={shown(value)}: use a tuple of texts")
    return tuple(value)
  if isinstance(value, np.generic):
    value = value.item()
  if type(value) is kind or (kind is float and type(value) is int):
    return value
  raise UserError(f"generate.{name}={shown(value)} is {type(value).__name__}, not {kind.__name__}")
