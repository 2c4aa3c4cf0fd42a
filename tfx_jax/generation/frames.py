"""Generation of values whose elements are frames, such as sounds or pictures made of patches."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfx_jax.codecs.codec import AnyValue, Codec
from tfx_jax.common.heartbeat import beat
from tfx_jax.data.layout import Layout
from tfx_jax.decoding.frames import FrameSettings, FrameState
from tfx_jax.errors import UserError
from tfx_jax.generation import batches
from tfx_jax.generation.in_flight import in_flight
from tfx_jax.generation.request import encode_inputs
from tfx_jax.generation.search import Search, SearchBatch, SearchPrograms, SearchShape, traced
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.generation.text.constraints import check_no_text
from tfx_jax.models.model import Model, Params
from tfx_jax.parallel import Parallel


class FrameResult(NamedTuple):
  """One output.

  Attributes:
    value: the value as the codec decodes it; None for an empty input.
    elements: the frames, float32 [n,C].
    hit_max_length: true if the output was ended by its greatest length, not by the model. For
      speech this is usually a fault, such as a model that repeats itself.
  """

  value: AnyValue
  elements: np.ndarray
  hit_max_length: bool


class FrameGenerator:
  """Generates values with a model of frames; programs are compiled when first needed, then kept.

  The frames that the model predicts are fed back to it as they are, so each input has one output.

  Args:
    model: the model; its outputs are frames and stop logits.
    parallel: the mesh.
    source_codec: codec of the inputs.
    target_codec: codec of the outputs, whose elements are frames.
    layout: how the model is given inputs.
    settings: see `GenerateSettings`; of those that concern outputs, `min_length`, `max_length`,
      `max_length_ratio` and `stop_threshold` are read.

  Raises:
    UserError: for a setting that frames do not allow.
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
    _check(settings)
    self.settings = settings
    self._parallel, self._layout = parallel, layout
    self._source_codec, self._target_codec = source_codec, target_codec
    self._programs = SearchPrograms(model, parallel)

  def __call__(
    self,
    params: Params,
    values: Sequence[AnyValue],
    on_batch: Callable[[int], None] = lambda count: None,
    **changes: Any,
  ) -> list[FrameResult]:
    """Returns the output of each input; that of an empty input has no frames.

    Args:
      params: parameters of the model.
      values: the inputs, of any length and in any order.
      on_batch: called after each batch with the number of inputs in it.
      **changes: changes of the settings for this call.

    Raises:
      UserError: for settings that make no sense, or frames that are not finite.
    """
    settings = self.settings.replace(**changes)
    _check(settings)
    prompts = encode_inputs(self._layout, self._source_codec, values, settings.max_source_length)
    none = np.zeros((0, *self._target_codec.element.shape), np.float32)
    outputs = [FrameResult(None, none, False) for _ in values]
    params = self._programs.prepare(params=params)

    def search(group: batches.Group) -> FrameState:
      return Search(self._programs, params, *self._batch(prompts, group, settings)).state

    groups = batches.group(prompts, settings, self._parallel, width=1)
    for group, state in in_flight(search, groups, threads=self._parallel.mesh.size == 1):
      for member, output in zip(group.members, self._outputs(state, group.members), strict=True):
        outputs[member] = output
      beat()
      on_batch(len(group.members))
    return outputs

  def _batch(
    self, prompts: Sequence[Any], group: batches.Group, settings: GenerateSettings
  ) -> tuple[SearchBatch, SearchShape]:
    """Returns the batch of a group of inputs, on the devices, and its sizes."""
    lengths = [batches.max_length(len(prompts[i]), 0, settings) for i in group.filled]
    by_row = self._parallel.place_whole(
      {
        "active": group.active,
        "min_length": np.full(group.rows, settings.min_length, np.int32),
        "max_length": np.array(lengths, np.int32),
      }
    )
    threshold = traced(settings.stop_threshold, np.float32)
    frames = FrameSettings(by_row["min_length"], by_row["max_length"], threshold)
    given = [prompts[number] for number in group.filled]
    prompt = batches.place_prompts(self._layout, given, group.length, self._parallel)
    capacity = batches.max_length(group.length, 0, settings)
    shape = SearchShape(capacity, batches.cache_lengths(capacity, group.long))
    return SearchBatch(prompt, by_row["active"], frames), shape

  def _outputs(self, state: FrameState, members: Collection[int]) -> list[FrameResult]:
    """Returns the outputs of the inputs `members`, which are the first rows of a final state.

    Raises:
      UserError: if a frame is not finite.
    """
    arrays = state.frames, state.lengths, state.hit_max_length
    rows = [*zip(*self._parallel.fetch(arrays), strict=True)][: len(members)]
    elements = [frames[:length] for frames, length, _ in rows]
    for member, frames in zip(members, elements, strict=True):
      if not np.isfinite(frames).all():
        raise UserError(
          f"input {member + 1}: the model's frames are not finite: its parameters are damaged (NaN "
          "or infinity)"
        )
    values = self._target_codec.decode(elements)
    return [
      FrameResult(value, frames, bool(hit))
      for value, frames, (*_, hit) in zip(values, elements, rows, strict=True)
    ]


def hit_max_length_share(outputs: Sequence[FrameResult]) -> float:
  """Returns the share of outputs, 0..1, that were ended by their greatest length."""
  return sum(output.hit_max_length for output in outputs) / max(len(outputs), 1)


def _check(settings: GenerateSettings) -> None:
  """Checks that settings ask for nothing that frames do not have.

  Raises:
    UserError: naming the setting.
  """
  check_no_text(settings)
  for name in ("search", "num_return", "guidance", "no_repeat_ngram_size", "repetition_penalty"):
    if getattr(settings, name) != getattr(GenerateSettings, name):
      raise UserError(
        f"generate.{name}={getattr(settings, name)!r} is for outputs of tokens: these outputs are "
        "frames, one output an input"
      )
