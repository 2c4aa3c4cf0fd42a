"""Texts in, hypotheses out: the jitted search over batches of them, and back to text."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from flax import linen as nn

from tfx_jax.data.fitting import cut
from tfx_jax.data.layout import Layout
from tfx_jax.data.tokenizer import EOS, Tokenizer
from tfx_jax.errors import UserError
from tfx_jax.evaluation import batches, mbr
from tfx_jax.evaluation.constraints import (
  Prefixes,
  encode_prefix,
  encode_prefixes,
  forbidden_mask,
)
from tfx_jax.evaluation.generate_settings import GenerateSettings
from tfx_jax.evaluation.search import Found, search, search_settings
from tfx_jax.parallel import Parallel


class Hypothesis(NamedTuple):
  """One output.

  Attributes:
    text: the detokenised text.
    score: what hypotheses are ranked by, see `docs/decoding.md`.
    log_prob: sum of the tokens' log-probabilities by the model in nats, EOS counted.
    tokens: ids, EOS included.
  """

  text: str
  score: float
  log_prob: float
  tokens: list[int]


class Generator:
  """Generates texts with a model; programs are compiled when first needed and then kept.

  There are few of them: prompts are padded to one of three lengths, and batches are full or an
  eighth of it.

  Args:
    model: with the methods `prefill`, `decode` and `coverage`.
    parallel: the mesh.
    source_tokenizer: of the inputs.
    target_tokenizer: of the outputs.
    layout: how the model reads its inputs.
    settings: see `GenerateSettings`.

  Raises:
    UserError: if the target tokenizer has no piece of a name that is to be forbidden, or a prefix
      leaves no room.
  """

  def __init__(
    self,
    model: nn.Module,
    parallel: Parallel,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    layout: Layout,
    settings: GenerateSettings,
  ):
    self.settings = settings
    self._parallel = parallel
    self._source_tokenizer = source_tokenizer
    self._target_tokenizer = target_tokenizer
    self._layout = layout
    self._search = parallel.jit(
      functools.partial(search, model),
      static_argnames=("width", "num_return", "length", "alignment_layer"),
    )
    # What is wrong with these is told now, before any training.
    forbidden_mask(target_tokenizer, settings.forbidden)
    encode_prefix(target_tokenizer, settings.prefix, settings.max_length)

  def __call__(
    self,
    params: Any,
    texts: Sequence[str],
    on_batch: Callable[[int], None] = lambda count: None,
    prefixes: Prefixes | None = None,
    **changes: Any,
  ) -> list[list[Hypothesis]]:
    """The hypotheses of each text, best first; an empty text has one empty hypothesis.

    A model that goes on with texts goes on with an empty one too.

    Args:
      params: of the model.
      texts: the inputs, in any order of length.
      on_batch: called with the number of texts of each batch that is done.
      prefixes: what the outputs of each text begin with; by default `settings.prefix`.
      **changes: of the settings, for this call.

    Raises:
      UserError: for settings or prefixes that make no sense, or an empty text where nothing marks
        the beginning of one.
    """
    settings = self.settings.replace(**changes)
    prompts = self._prompts(texts, settings)
    starts = self._encode_prefixes(prefixes, len(texts), settings)
    forbidden = forbidden_mask(self._target_tokenizer, settings.forbidden)
    found: list[list[Hypothesis]] = [[Hypothesis("", 0.0, 0.0, [])] for _ in texts]

    def collect(group: batches.Group, result: Found) -> None:
      for member, hypotheses in zip(group.members, self._hypotheses(result), strict=False):
        found[member] = _best(hypotheses, settings)
      on_batch(len(group.members))

    # The next batch is on its way before the last one's result is waited for.
    running: tuple[batches.Group, Found] | None = None
    for group in batches.group(prompts, settings, self._parallel.batch_shards):
      result = self._start(params, group, prompts, starts, forbidden, settings)
      if running:
        collect(*running)
      running = group, result
    if running:
      collect(*running)
    return found

  def _prompts(self, texts: Sequence[str], settings: GenerateSettings) -> list[list[int]]:
    """What the model reads of each text, at most as much as allowed; [] where nothing is written.

    That is for an empty or blank text, unless the model goes on with texts.
    """
    layout, prompts = self._layout, []
    limit = min(settings.max_source_length, layout.window or settings.max_source_length)
    marks = len(layout.prompt([]))
    if not layout.continues:
      texts = [text if text.strip() else "" for text in texts]
    for number, ids in enumerate(self._source_tokenizer.encode(texts), 1):
      if len(ids) + marks > limit:
        logging.warning(
          "input %d is cut from %d to %d tokens (%s)",
          *(number, len(ids) + marks, limit),
          "generate.max_source_length" if limit == settings.max_source_length else "a training row",
        )
        ids = cut(ids, limit - marks, layout.cut_start)
      if layout.continues and not ids and not marks:
        raise UserError(f"input {number} is empty: give this model the beginning of a text")
      prompts.append(layout.prompt(ids) if ids or layout.continues else [])
    return prompts

  def _encode_prefixes(
    self, prefixes: Prefixes | None, count: int, settings: GenerateSettings
  ) -> list[list[int]] | None:
    """The tokens that the outputs of each input begin with; None where none has any."""
    tokenizer, longest = self._target_tokenizer, settings.max_length
    if prefixes is None:
      starts = [encode_prefix(tokenizer, settings.prefix, longest)] * count
    else:
      starts = encode_prefixes(tokenizer, prefixes, count, longest)
    return starts if any(starts) else None

  def _start(
    self,
    params: Any,
    group: batches.Group,
    prompts: list[list[int]],
    starts: list[list[int]] | None,
    forbidden: np.ndarray,
    settings: GenerateSettings,
  ) -> Found:
    """Sets off the search of a group of inputs."""
    arrays, room = batches.search_arrays(group, prompts, starts, settings)
    batch = self._parallel.place(batches.model_arrays(group, prompts, self._layout))
    arrays = self._parallel.place(arrays)
    return self._search(
      params,
      batch,
      arrays["active"],
      search_settings(settings, forbidden, arrays),
      width=settings.width,
      num_return=settings.num_return if settings.search == "beam" else settings.width,
      length=room,
      coverage_weight=np.float32(settings.coverage_penalty) if settings.covers else None,
      alignment_layer=settings.alignment_layer if settings.covers else -1,
    )

  def _hypotheses(self, found: Found) -> list[list[Hypothesis]]:
    """Of each row what was found."""
    rows = []
    for tokens, scores, log_probs in zip(*jax.device_get(found), strict=True):
      # A place with no score was never filled: a row may have fewer hypotheses than asked for.
      filled = np.isfinite(scores)
      ids = [_to_end(sequence) for sequence in tokens[filled].tolist()]
      texts = self._target_tokenizer.decode(ids)
      figures = scores[filled].tolist(), log_probs[filled].tolist()
      rows.append([Hypothesis(*item) for item in zip(texts, *figures, ids, strict=True)])
    return rows


def _best(hypotheses: list[Hypothesis], settings: GenerateSettings) -> list[Hypothesis]:
  """As many as are asked for, best first; of samples with the same text, the likeliest."""
  ordered = sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)
  if settings.search == "mbr":
    ranks = mbr.rank([hypothesis.text for hypothesis in ordered])
    ordered = [ordered[i]._replace(score=expected) for i, expected in ranks]
  return ordered[: settings.num_return]


def _to_end(tokens: list[int]) -> list[int]:
  return tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens
