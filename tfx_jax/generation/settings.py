"""The settings of section `generate`: defaults, ranges, and which of them go together.

Imports no JAX, so that the configuration can take its defaults from here.
"""

import dataclasses
import math
from collections.abc import Collection, Iterable
from typing import Any

from tfx_jax.common.ranges import RANGES, check_range
from tfx_jax.errors import UserError, nearest, shown

SEARCHES = ("beam", "sample", "mbr")
# c of the length penalty ((c + n) / (c + 1)) ** length_penalty, by `length_penalty_form`.
PENALTY_OFFSETS = {"gnmt": 5.0, "power": 0.0}
# Log of 1e30: a log-probability divided or multiplied by it is still a float32 of full precision.
_LOG_MAX_PENALTY = math.log(1e30)
# The searches that read a setting. To set it for another search would be misleading: an error.
READ_BY = dict.fromkeys(
  ("temperature", "top_k", "top_p", "min_p", "typical_p", "seed"), ("sample", "mbr")
) | {
  "num_samples": ("mbr",),
  "choice_temperature": ("sample",),
  **dict.fromkeys(
    ("coverage_penalty", "early_stopping", "beam_groups", "diversity_penalty"), ("beam",)
  ),
}


@dataclasses.dataclass(frozen=True)
class GenerateSettings:
  """Settings of generation; `docs/decoding.md` defines exactly what is computed.

  Attributes:
    search: "beam"; "sample"; or "mbr", minimum Bayes risk decoding: the sample that is most like
      all other samples, by chrF (texts only).
    beam_size: W, beams of each input; 1 is greedy search, without a length penalty.
    beam_groups: G groups of beams that avoid each other's tokens (Vijayakumar et al. 2016), see
      `decoding/diverse.py`; 1: plain beam search. It must divide `beam_size`.
    diversity_penalty: strength with which groups avoid each other's tokens.
    num_return: outputs of each input, best first. Beam search uses at least as many beams.
    length_penalty_form: "gnmt" (Wu et al. 2016) or "power", see `decoding/beam.py`.
    length_penalty: exponent of the length penalty; 0: none.
    early_stopping: whether an input's beam search ends as soon as `beam_size` hypotheses have
      ended, as in transformers; otherwise it ends when none can still become better.
    coverage_penalty: weight of the penalty for source tokens that got no attention (Wu et al.
      2016), see `decoding/coverage.py`; 0: none.
    alignment_layer: decoder layer whose attention is used for the coverage penalty and for
      alignments; -1: the last, -2: the last but one, …
    temperature: divisor of the log-probabilities before a token is drawn.
    top_k: draws are restricted to this many most likely tokens; 0: no restriction.
    top_p: then to the most likely tokens that together have this probability; 1: no restriction.
    min_p: then to tokens at least this many times as likely as the most likely one; 0: no
      restriction.
    typical_p: then to the tokens of most typical information that together have this probability,
      see `decoding/truncation.py`; 1: no restriction.
    seed: seed of the draws.
    num_samples: samples of each input that minimum Bayes risk decoding compares.
    steps: predictions of each output by a masked model; it may take the number of tokens or a few.
    choice_temperature: noise in the choice of the tokens that a masked model keeps after each
      prediction, see `decoding/masked.py`; 0: the most certain ones.
    guidance: scale s of classifier-free guidance: how much more the source counts than in training,
      see `models/guidance.py`; 0: not at all, 1: as in training. For models that were trained with
      `data.source_dropout` (tokens only).
    min_length: least elements of an output; of tokens, EOS counted. Outputs that all have one
      length, such as pictures, have it whatever this setting and the next two say.
    max_length: most elements of an output; of tokens, EOS counted.
    max_length_ratio: limits outputs also to this many elements for each one of the source, plus 10;
      0: no such limit.
    prefix: text that every output begins with.
    forbidden: names of pieces of the target tokenizer that are never generated, such as "<unk>".
    forbidden_phrases: texts that never occur in an output, however its pieces spell them.
    no_repeat_ngram_size: length of n-grams that never occur twice in an output; 0: no such rule.
    repetition_penalty: divisor of the logits of tokens that are in the output so far (Keskar et
      al. 2019).
    presence_penalty: number subtracted from the logits of the same tokens, as OpenAI defines it.
    stop: texts; an output ends before the first of them. Not with several beams.
    stop_threshold: probability above which a frame is the last of its output (frames only); 1: only
      `max_length` ends an output.
    stream: whether outputs are shown while they are generated. Not with several beams or outputs.
    max_source_length: most elements of an input, special tokens counted; longer inputs are cut,
      with a warning.
    batch_size: most inputs that are decoded together; on a CPU fewer, where each has several beams
      or samples.

  Raises:
    UserError: for a value that makes no sense, or values that do not go together.
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
  steps: int = 10
  choice_temperature: float = 1.0
  guidance: float = 1.0
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
  stop_threshold: float = 0.5
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
    if self.guidance != 1 and self.coverage_penalty:
      raise UserError(
        f"generate.guidance={self.guidance} does not go with "
        f"generate.coverage_penalty={self.coverage_penalty}: half of its rows have no source"
      )
    if self.search == "mbr" and self.num_return > self.num_samples:
      raise UserError(
        f"generate.num_return={self.num_return} is more than "
        f"generate.num_samples={self.num_samples}"
      )
    if self.stream and (self.search == "mbr" or self.num_return > 1):
      raise UserError(
        "generate.stream=True shows one output, of which nothing changes later: use "
        "generate.search='sample' or generate.beam_size=1, and generate.num_return=1"
      )

  def _check_length_penalty(self) -> None:
    """Checks that the penalty of the longest output, a power, keeps scores within float32."""
    offset = PENALTY_OFFSETS[self.length_penalty_form]
    growth = math.log((offset + self.max_length) / (offset + 1))
    if abs(self.length_penalty) * growth > _LOG_MAX_PENALTY:
      most = math.floor(_LOG_MAX_PENALTY / growth * 10) / 10
      raise UserError(
        f"generate.length_penalty={self.length_penalty}: use {-most} to {most}, for "
        f"generate.max_length={self.max_length}"
      )

  def _check_beams(self) -> None:
    """Checks what goes together with several beams: any of them may be dropped until the end."""
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
    """Beams or samples of each input, W; at least as many beams as outputs are asked for."""
    if self.search == "beam":
      return max(self.beam_size, self.beam_groups * -(-self.num_return // self.beam_groups))
    return self.num_return if self.search == "sample" else self.num_samples

  @property
  def greedy(self) -> bool:
    """True if the most likely token is taken at each step."""
    return self.search == "beam" and self.width == 1

  @property
  def pool(self) -> int:
    """Hypotheses that beam search keeps of each input, R."""
    return self.width if self.early_stopping else self.num_return

  @property
  def streams(self) -> bool:
    """True if generated tokens never change, so that an output can be shown before its end."""
    return self.search == "sample" or self.greedy

  @property
  def covers(self) -> bool:
    """True if attention is summed for the coverage penalty; greedy search has no penalties."""
    return self.search == "beam" and self.width > 1 and self.coverage_penalty > 0

  def replace(self, **changes: Any) -> "GenerateSettings":
    """Returns the settings with some changed.

    Raises:
      UserError: for an unknown name, and as the class.
    """
    known = [field.name for field in dataclasses.fields(self)]
    for name in changes:
      if name not in known:
        raise UserError(f"generate has no setting '{name}'{nearest(name, known)}")
    return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class CommandSettings:
  """The other settings of section `generate`: members of an ensemble, and columns of the output.

  Attributes:
    ensemble: other checkpoints whose probabilities are averaged with this one's: WORKDIR,
      WORKDIR@CHECKPOINT, or @CHECKPOINT of the same run.
    scores: whether lines are TSV: input number, rank, score, log-probability, text. Tabs and line
      ends in an output become spaces, here and in plain lines.
    alignments: the same, with a last column of word alignments, such as "0-0 1-2".
  """

  ensemble: Collection[str] = ()
  scores: bool = False
  alignments: bool = False


def _typed(name: str, value: Any, default: Any) -> Any:
  """Returns a value as the type of its default; NumPy scalars and any collection are accepted.

  Raises:
    UserError: for a value of another type.
  """
  kind = type(default)
  if kind is tuple:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
      raise UserError(f"generate.{name}={shown(value)}: use a tuple of texts")
    return tuple(value)
  if getattr(value, "shape", None) == ():  # a scalar of NumPy or JAX
    value = value.item()
  if type(value) is kind or (kind is float and type(value) is int):
    return value
  raise UserError(f"generate.{name}={shown(value)} is {type(value).__name__}, not {kind.__name__}")
