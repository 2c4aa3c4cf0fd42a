"""The batch that a search over tokens reads: prompts, and the settings as traced numbers."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
import numpy.typing as npt

from tfx_jax.decoding import beam, diverse, sample
from tfx_jax.decoding.rules import Rules
from tfx_jax.decoding.truncation import Truncation
from tfx_jax.errors import UserError
from tfx_jax.generation.batches import Group, cache_lengths, max_length, place_prompts
from tfx_jax.generation.request import Request
from tfx_jax.generation.search import SearchBatch, SearchSettings, SearchShape, traced
from tfx_jax.generation.settings import PENALTY_OFFSETS, GenerateSettings
from tfx_jax.parallel import Parallel


def make_search_batch(
  request: Request, group: Group, parallel: Parallel, first_number: int = 0
) -> tuple[SearchBatch, SearchShape]:
  """Returns the batch of a group of inputs, on the devices, and its sizes.

  Args:
    request: inputs and settings.
    group: the inputs to decode together.
    parallel: the mesh.
    first_number: number of the request's first input; samples depend on it.

  Raises:
    UserError: for a coverage penalty where the model has no source side.
  """
  settings = request.settings
  prompts = [request.prompts[number] for number in group.filled]
  if settings.guidance != 1:
    # Each followed by an empty one, see `models.guidance.Guided`.
    empty = request.layout.prompt([])
    prompts = [prompt for given in prompts for prompt in (given, empty)]
  prompt = place_prompts(request.layout, prompts, group.length, parallel)
  if settings.covers and "inputs_segments" not in prompt:
    raise UserError(
      f"generate.coverage_penalty={settings.coverage_penalty} needs a model that reads its input "
      "apart from what it writes: model.architecture='encoder_decoder'"
    )
  by_row = functools.partial(_place, parallel)
  prefixes = [request.prefixes[number] for number in group.filled]
  lengths = [len(prefix) for prefix in prefixes]
  capacity = max_length(group.length, max(lengths), settings)
  limits = [
    max_length(len(request.prompts[number]), length, settings)
    for number, length in zip(group.filled, lengths, strict=True)
  ]
  rules = _rules(request, by_row([settings.min_length] * group.rows), by_row(limits))
  if any(request.prefixes):
    padded = [[*prefix, *[0] * (capacity - len(prefix))] for prefix in prefixes]
    rules = dataclasses.replace(rules, prefix=by_row(padded), prefix_length=by_row(lengths))
  batch = SearchBatch(
    prompt,
    by_row(group.active, bool),
    search_settings(settings, rules, by_row(group.filled + first_number), request.prompt_length),
    traced(settings.coverage_penalty, np.float32) if settings.covers else None,
  )
  return batch, SearchShape(
    capacity,
    cache_lengths(capacity, group.long),
    settings.width,
    settings.pool,
    settings.alignment_layer if settings.covers else None,
  )


def _place(
  parallel: Parallel, values: Sequence | np.ndarray, dtype: npt.DTypeLike = np.int32
) -> jax.Array:
  """Returns an array with one entry a row, split over the mesh by row."""
  return parallel.place_whole({"values": np.asarray(values, dtype)})["values"]


def _rules(request: Request, min_length: jax.Array, max_length: jax.Array) -> Rules:
  """Returns the rules of a request; those that are switched off are None: not in the program."""
  settings, constraints = request.settings, request.constraints
  size, repetition = settings.no_repeat_ngram_size, settings.repetition_penalty
  presence = settings.presence_penalty
  return Rules(
    forbidden=constraints.forbidden,
    min_length=min_length,
    max_length=max_length,
    eos=constraints.eos,
    phrases=constraints.phrases,
    no_repeat_ngram_size=traced(size, np.int32) if size else None,
    repetition_penalty=traced(repetition, np.float32) if repetition != 1 else None,
    presence_penalty=traced(presence, np.float32) if presence else None,
  )


def search_settings(
  settings: GenerateSettings, rules: Rules, numbers: jax.Array, prompt_length: int = 0
) -> SearchSettings:
  """Returns the settings of a search, whose type selects it.

  Args:
    settings: settings of generation.
    rules: constraints on the next token.
    numbers: int32 [B], number of each row's input; samples depend on it.
    prompt_length: tokens that every output begins with before the first generated one.
  """
  if settings.greedy:
    return sample.SampleSettings(rules)
  if settings.search != "beam":
    truncation = _truncation(settings, numbers.shape)
    return sample.SampleSettings(
      rules, sample.Sampling(traced(settings.seed, np.uint32), numbers, truncation)
    )
  beams = beam.BeamSettings(
    rules=rules,
    length_penalty=traced(settings.length_penalty, np.float32),
    penalty_offset=traced(PENALTY_OFFSETS[settings.length_penalty_form], np.float32),
    prompt_length=traced(prompt_length, np.int32),
    early_stopping=traced(settings.early_stopping, bool),
  )
  if settings.beam_groups == 1:
    return beams
  return diverse.DiverseSettings(
    beams, traced(settings.diversity_penalty, np.float32), settings.beam_groups
  )


def _truncation(settings: GenerateSettings, rows: tuple[int, ...]) -> Truncation:
  """Returns the truncation of each row's distribution; what is switched off is None."""

  def by_row(value: float, dtype: npt.DTypeLike, used: bool) -> jax.Array | None:
    return traced(np.full(rows, value), dtype) if used else None

  return Truncation(
    temperature=traced(np.full(rows, settings.temperature), np.float32),
    top_k=by_row(settings.top_k, np.int32, settings.top_k > 0),
    top_p=by_row(settings.top_p, np.float32, settings.top_p < 1),
    min_p=by_row(settings.min_p, np.float32, settings.min_p > 0),
    typical_p=by_row(settings.typical_p, np.float32, settings.typical_p < 1),
  )
