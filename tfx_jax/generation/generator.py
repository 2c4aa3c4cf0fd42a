"""Generation of values whose elements are tokens: texts, and any other that a codec decodes."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfx_jax.codecs.codec import AnyValue, Codec
from tfx_jax.common.heartbeat import beat
from tfx_jax.data.layout import Layout
from tfx_jax.generation import batches, inputs
from tfx_jax.generation.in_flight import in_flight
from tfx_jax.generation.request import Request, encode_inputs
from tfx_jax.generation.search import (
  Search,
  SearchPrograms,
  SearchResult,
  check_scores,
  without_padding,
)
from tfx_jax.generation.search_batch import make_search_batch
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.generation.text import constraints, mbr
from tfx_jax.generation.text.constraints import Prefixes
from tfx_jax.generation.text.stream import advance_to_stops, follow
from tfx_jax.models.guidance import Guided
from tfx_jax.models.model import Model, Params
from tfx_jax.parallel import Parallel


class Hypothesis(NamedTuple):
  """One output that is a text.

  Attributes:
    text: the text.
    score: score that hypotheses are ranked by, see `docs/decoding.md`.
    log_prob: sum of the tokens' log-probabilities by the model in nats, EOS counted.
    tokens: ids, EOS included; of an output that was stopped, up to the token that completed the
      stop string.
  """

  text: str
  score: float
  log_prob: float
  tokens: list[int]


class Output(NamedTuple):
  """One output that is no text.

  Attributes:
    value: the value as the codec decodes it; None for an empty input.
    score: score that outputs are ranked by, see `docs/decoding.md`.
    log_prob: sum of the tokens' log-probabilities by the model in nats, EOS counted.
    tokens: ids, EOS included.
  """

  value: AnyValue
  score: float
  log_prob: float
  tokens: list[int]


class Generator:
  """Generates values with a model; programs are compiled when first needed and then kept.

  At most eight programs are needed for inputs of any lengths and one search, or for streams, see
  `batches.prompt_lengths` and `batches.cache_lengths`. Stop strings need more. Batches have at most
  `batch_size` rows; a few inputs alone have an eighth of it.

  Args:
    model: the model.
    parallel: the mesh.
    source_codec: codec of the inputs.
    target_codec: codec of the outputs, whose elements are tokens.
    layout: how the model is given inputs.
    settings: see `GenerateSettings`.

  Raises:
    UserError: for a setting that the target codec does not allow, see `text.constraints`.
  """

  def __init__(
    self,
    model: Model,
    parallel: Parallel,
    source_codec: Codec,
    target_codec: Codec,
    layout: Layout,
    settings: GenerateSettings,
  ):
    self.settings = settings
    self._parallel, self._layout = parallel, layout
    self._source_codec, self._target_codec = source_codec, target_codec
    self._programs = SearchPrograms(model, parallel)
    self._guided_programs = SearchPrograms(Guided(model), parallel)
    # Made here so that a bad setting fails before training starts.
    self._constraints = constraints.make_constraints(target_codec, settings)
    is_text = inputs.is_text(target_codec)
    self._output_type = Hypothesis if is_text else Output
    self._empty = Hypothesis("", 0.0, 0.0, []) if is_text else Output(None, 0.0, 0.0, [])

  def __call__(
    self,
    params: Params,
    values: Sequence[AnyValue],
    on_batch: Callable[[int], None] = lambda count: None,
    prefixes: Prefixes | None = None,
    **changes: Any,
  ) -> list[list[Any]]:
    """Returns the outputs of each input, best first: `Hypothesis` of texts, otherwise `Output`.

    An empty or blank text has one empty hypothesis, unless the model continues texts.

    Args:
      params: parameters of the model.
      values: the inputs, of any length and in any order.
      on_batch: called after each batch with the number of inputs in it.
      prefixes: tokens or texts that the outputs of each input begin with; by default
        `settings.prefix` for all.
      **changes: changes of the settings for this call.

    Raises:
      UserError: for settings or prefixes that make no sense, an empty text where a model needs the
        beginning of one, or scores that are not finite.
    """
    request = self._request(values, prefixes, self.settings.replace(**changes))
    results: list[list[Any]] = [[self._empty] for _ in values]
    programs, params = self._prepared(params, request.settings)

    def search(group: batches.Group) -> list[SearchResult]:
      batch = make_search_batch(request, group, self._parallel)
      if not request.settings.stop:
        return Search(programs, params, *batch).results()
      search = Search(programs, params, *batch, steps=1)
      advance_to_stops(search, request, group.members)
      return search.results()

    chosen = request.settings
    groups = batches.group(request.prompts, chosen, self._parallel, chosen.width)
    for group, found in in_flight(search, groups, threads=self._parallel.mesh.size == 1):
      for member, outputs in self._outputs(found, request, group.members):
        results[member] = _best(outputs, request.settings)
      beat()
      on_batch(len(group.members))
    return results

  def stream(self, params: Params, text: str, number: int = 0, **changes: Any) -> Iterator[str]:
    """Returns the output for a text in chunks, each as soon as it is generated.

    Args:
      params: parameters of the model.
      text: the input.
      number: number of the input among several; samples depend on it.
      **changes: changes of the settings for this call.

    Raises:
      UserError: for settings that make no sense, a search whose outputs change until its end, or
        outputs that are no texts.
    """
    settings = self.settings.replace(**{"stream": True, "batch_size": 1} | changes)
    request = self._request([text], None, settings)
    programs, params = self._prepared(params, settings)

    def chunks() -> Iterator[str]:
      for group in batches.group(request.prompts, settings, self._parallel, width=1):
        batch, shape = make_search_batch(request, group, self._parallel, number)
        # A cache that grows needs new programs, which would be compiled in the middle of the text.
        shape = shape._replace(cache_lengths=(shape.capacity,))
        yield from follow(Search(programs, params, batch, shape, steps=1), request)

    return chunks()

  def _prepared(self, params: Params, settings: GenerateSettings) -> tuple[SearchPrograms, Params]:
    """Returns the programs for some settings, and the parameters as they read them."""
    prepared = self._programs.prepare(params=params)
    if settings.guidance == 1:
      return self._programs, prepared
    return self._guided_programs, Guided.params(prepared, settings.guidance)

  def _request(
    self, values: Sequence[AnyValue], prefixes: Prefixes | None, settings: GenerateSettings
  ) -> Request:
    """Returns the request of a call; constraints are made anew only where settings differ."""
    if length := inputs.tokens_of(self._target_codec).length:
      length += 1  # EOS
      settings = settings.replace(min_length=length, max_length=length, max_length_ratio=0.0)
    limits = self._constraints
    if settings != self.settings:
      limits = constraints.make_constraints(self._target_codec, settings)
    prompts = encode_inputs(self._layout, self._source_codec, values, settings.max_source_length)
    starts = [limits.prefix] * len(values)
    if prefixes is not None:
      starts = constraints.encode_prefixes(
        self._target_codec, prefixes, len(values), settings.max_length
      )
    return Request(settings, self._layout, self._target_codec, prompts, starts, limits)

  def _outputs(
    self, found: list[SearchResult], request: Request, members: Collection[int]
  ) -> Iterator[tuple[int, list[Any]]]:
    """Yields the outputs for each of the inputs `members`, which are the first rows of results.

    Raises:
      UserError: if the model's scores are not finite.
    """
    groups = zip(*self._parallel.fetch(found), strict=True)
    joined = (np.concatenate(arrays, axis=1) for arrays in groups)  # of all groups of beams
    rows = [*zip(*joined, strict=True)][: len(members)]
    for member, (_, scores, _) in zip(members, rows, strict=True):
      check_scores(f"input {member + 1}", scores)
    filled = [_filled(*row) for row in rows]
    values = request.decode_all(members, [tokens for *_, tokens in filled])
    for member, decoded, (scores, log_probs, tokens) in zip(members, values, filled, strict=True):
      stops = [request.find_stop(member, ids) for ids in tokens]
      decoded = [stop.text if stop else value for stop, value in zip(stops, decoded, strict=True)]
      outputs = zip(decoded, scores, log_probs, tokens, strict=True)
      yield member, [self._output_type(*output) for output in outputs]


def _filled(
  tokens: np.ndarray, scores: np.ndarray, log_probs: np.ndarray
) -> tuple[list[float], list[float], list[list[int]]]:
  """Returns scores, log-probabilities and tokens of a row's hypotheses.

  A place without a score is empty: there may be fewer hypotheses than asked for.
  """
  filled = np.isfinite(scores)
  ids = [without_padding(sequence) for sequence in tokens[filled].tolist()]
  return scores[filled].tolist(), log_probs[filled].tolist(), ids


def _best(outputs: list[Any], settings: GenerateSettings) -> list[Any]:
  """Returns the `num_return` best outputs, best first; mbr and diverse beams have no equals."""
  ordered = sorted(outputs, key=lambda output: -output.score)
  if settings.search == "mbr":
    ranks = mbr.rank([output.text for output in ordered])
    ordered = [ordered[i]._replace(score=expected) for i, expected in ranks]
  if settings.beam_groups > 1:
    # Two groups may have found the same output.
    ordered = list({tuple(output.tokens): output for output in ordered}.values())
  return ordered[: settings.num_return]
