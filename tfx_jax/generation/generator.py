"""Texts in, hypotheses out: the search over batches of them, and back to text."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn

from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.common.heartbeat import beat
from tfx_jax.data.layout import Layout
from tfx_jax.errors import UserError
from tfx_jax.generation import batches
from tfx_jax.generation.in_flight import in_flight
from tfx_jax.generation.request import Request, make_request
from tfx_jax.generation.search import Coverage, Found, Search, Searcher, check_scores, trimmed
from tfx_jax.generation.search_settings import search_settings
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.generation.text import mbr
from tfx_jax.generation.text.constraints import Prefixes, encode_prefix
from tfx_jax.generation.text.stream import follow, go_on_to_stops
from tfx_jax.parallel import Parallel


class Hypothesis(NamedTuple):
  """One output.

  Attributes:
    text: the detokenised text.
    score: what hypotheses are ranked by, see `docs/decoding.md`.
    log_prob: sum of the tokens' log-probabilities by the model in nats, EOS counted.
    tokens: ids, EOS included; of an output that was stopped, up to the token that completed what
      stopped it.
  """

  text: str
  score: float
  log_prob: float
  tokens: list[int]


class Generator:
  """Generates texts with a model; programs are compiled when first needed and then kept.

  There are few of them: prompts are padded to one of five lengths, batches are full or an eighth
  of it, and the room for outputs is 16 tokens, doubled where they reach its end.

  Args:
    model: with the methods `prefill` and `decode`.
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
    self._tokenizers = source_tokenizer, target_tokenizer
    self._layout = layout
    self._searcher = Searcher(model, parallel)
    # What is wrong with these is told now, before any training.
    self._request([], None, settings)
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
    request = self._request(texts, prefixes, self.settings.replace(**changes))
    found: list[list[Hypothesis]] = [[Hypothesis("", 0.0, 0.0, [])] for _ in texts]
    params = self._searcher.prepare(params=params)

    def start(group: batches.Group) -> Found:
      search = self._start(params, group, request)
      if request.settings.stop:
        go_on_to_stops(search, request, group.members)
      else:
        search.advance(search.room)
      return search.found()

    groups = batches.group(request.prompts, request.settings, self._parallel.batch_shards)
    for group, result in in_flight(start, groups, threads=self._parallel.mesh.size == 1):
      for member, hypotheses in self._read(result, request, group.members):
        for place, hypothesis in enumerate(hypotheses):
          if stop := request.find_stop(member, hypothesis.tokens):
            hypotheses[place] = hypothesis._replace(text=stop.text)
        found[member] = _best(hypotheses, request.settings)
      beat()
      on_batch(len(group.members))
    return found

  def stream(self, params: Any, text: str, number: int = 0, **changes: Any) -> Iterator[str]:
    """The output of a text, piece by piece as it is written; all together are the hypothesis' text.

    Args:
      params: of the model.
      text: the input.
      number: which of several inputs it is; samples depend on it.
      **changes: of the settings, for this call.

    Raises:
      UserError: for settings that make no sense, or of a search that ends before it can be read.
    """
    settings = self.settings.replace(**{"stream": True, "batch_size": 1} | changes)
    request = self._request([text], None, settings)
    params = self._searcher.prepare(params=params)

    def read() -> Iterator[str]:
      for group in batches.group(request.prompts, settings, self._parallel.batch_shards):
        yield from follow(self._start(params, group, request, number), request)

    return read()

  def _request(
    self, texts: Sequence[str], prefixes: Prefixes | None, settings: GenerateSettings
  ) -> Request:
    return make_request(self._layout, *self._tokenizers, texts, prefixes, settings)

  def _start(self, params: Any, group: batches.Group, request: Request, first: int = 0) -> Search:
    """Sets off the search of a group of inputs, numbered from `first`."""
    settings, starts = request.settings, request.starts if any(request.starts) else None
    arrays, room = batches.search_arrays(group, request.prompts, starts, settings)
    arrays["number"] += np.int32(first)
    batch = self._parallel.place_whole(batches.model_arrays(group, request.prompts, self._layout))
    arrays = self._parallel.place_whole(arrays)
    coverage = None
    if settings.covers:
      if "inputs_segments" not in batch:
        raise UserError(
          f"generate.coverage_penalty={settings.coverage_penalty} needs a model that reads its "
          "input apart from what it writes: model.architecture='encoder_decoder'"
        )
      coverage = Coverage(np.float32(settings.coverage_penalty), batch["inputs_segments"])
    return Search(
      self._searcher,
      params,
      batch,
      arrays["active"],
      search_settings(
        settings,
        request.forbidden,
        request.phrases,
        arrays,
        request.special_tokens.eos_ids,
        len(request.special_tokens.prefix),
      ),
      coverage,
      width=settings.width,
      num_return=settings.pool,
      length=room,
      alignment_layer=settings.alignment_layer if settings.covers else None,
    )

  def _read(
    self, found: Found, request: Request, members: Sequence[int]
  ) -> Iterator[tuple[int, list[Hypothesis]]]:
    """What was found for each of the inputs `members`, which the first rows are.

    Raises:
      UserError: if the model's scores are not finite.
    """
    rows = [*zip(*self._parallel.fetch(found), strict=True)][: len(members)]
    for member, (_, scores, _) in zip(members, rows, strict=True):
      check_scores(f"input {member + 1}", scores)
    filled = [_filled(*row) for row in rows]
    texts = request.decode_all(members, [ids for _, _, ids in filled])
    for member, own, (*figures, ids) in zip(members, texts, filled, strict=True):
      yield member, [Hypothesis(*item) for item in zip(own, *figures, ids, strict=True)]


def _filled(
  tokens: np.ndarray, scores: np.ndarray, log_probs: np.ndarray
) -> tuple[list[float], list[float], list[list[int]]]:
  """Scores, log-probabilities and tokens of the hypotheses that a row has.

  A place with no score was never filled: there may be fewer than asked for.
  """
  filled = np.isfinite(scores)
  ids = [trimmed(sequence) for sequence in tokens[filled].tolist()]
  return scores[filled].tolist(), log_probs[filled].tolist(), ids


def _best(hypotheses: list[Hypothesis], settings: GenerateSettings) -> list[Hypothesis]:
  """As many as are asked for, best first; of samples with the same text, the likeliest."""
  ordered = sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)
  if settings.search == "mbr":
    ranks = mbr.rank([hypothesis.text for hypothesis in ordered])
    ordered = [ordered[i]._replace(score=expected) for i, expected in ranks]
  if settings.beam_groups > 1:
    # Two groups may have found the same.
    ordered = list({tuple(hypothesis.tokens): hypothesis for hypothesis in ordered}.values())
  return ordered[: settings.num_return]
