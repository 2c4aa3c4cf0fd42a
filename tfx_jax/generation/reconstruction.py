"""Reconstruction of values by an autoencoder."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import jax

from tfx_jax.codecs.codec import AnyValue, Codec
from tfx_jax.common.heartbeat import beat
from tfx_jax.data.layout import Layout
from tfx_jax.errors import UserError
from tfx_jax.generation import batches
from tfx_jax.generation.in_flight import Program, in_flight
from tfx_jax.generation.request import encode_inputs
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.generation.text.constraints import Prefixes
from tfx_jax.models.autoencoder import AutoencoderModel
from tfx_jax.models.model import Params, Prompt
from tfx_jax.parallel import Parallel

# Settings that are read here.
_READ = ("max_source_length", "batch_size")


class Reconstruction(NamedTuple):
  """A value made of the codes of another one.

  Attributes:
    value: the value as the codec decodes it; None for an empty input.
    tokens: its codes.
  """

  value: AnyValue
  tokens: list[int]


class Reconstructor:
  """Encodes values and decodes their codes, with the methods of `Generator`.

  Args:
    model: the autoencoder.
    parallel: the mesh.
    codec: codec of the values, whose elements are frames.
    layout: how the model is given inputs.
    settings: see `GenerateSettings`; those of searches must have their defaults.

  Raises:
    UserError: for a setting that only searches read.
  """

  def __init__(
    self,
    model: AutoencoderModel,
    parallel: Parallel,
    codec: Codec,
    layout: Layout,
    settings: GenerateSettings,
  ):
    _check(settings)
    self.settings = settings
    self._model, self._parallel, self._codec, self._layout = model, parallel, codec, layout
    self._program = Program(self._reconstruct, parallel)

  def __call__(
    self,
    params: Params,
    values: Sequence[AnyValue],
    on_batch: Callable[[int], None] = lambda count: None,
    prefixes: Prefixes | None = None,
    **changes: Any,
  ) -> list[list[Any]]:
    """Returns a list of one `Reconstruction` for each value.

    Args:
      params: parameters of the model.
      values: the values.
      on_batch: called after each batch with the number of values in it.
      prefixes: must be None.
      **changes: changes of the settings for this call; see `Reconstructor`.

    Raises:
      UserError: for prefixes, or a setting that only searches read.
    """
    if prefixes is not None:
      raise UserError("prefixes: an autoencoder generates nothing from left to right")
    settings = self.settings.replace(**changes)
    _check(settings)
    prompts = encode_inputs(self._layout, self._codec, values, settings.max_source_length)
    results: list[list[Any]] = [[Reconstruction(None, [])] for _ in values]

    def start(group: batches.Group) -> Any:
      given = [prompts[number] for number in group.filled]
      prompt = batches.place_prompts(self._layout, given, group.length, self._parallel)
      return self._program(params=params, prompt=prompt)

    groups = batches.group(prompts, settings, self._parallel, width=1)
    for group, found in in_flight(start, groups, threads=self._parallel.mesh.size == 1):
      rows = list(zip(group.members, *self._parallel.fetch(found), strict=False))
      lengths = [len(prompts[member]) for member in group.members]
      decoded = self._codec.decode(
        [frames[:length] for length, (_, _, frames) in zip(lengths, rows, strict=True)]
      )
      for value, length, (member, codes, _) in zip(decoded, lengths, rows, strict=True):
        results[member] = [Reconstruction(value, codes[:length].tolist())]
      beat()
      on_batch(len(group.members))
    return results

  def stream(self, params: Params, text: str, number: int = 0, **changes: Any) -> NoReturn:
    """Raises UserError: nothing is generated from left to right."""
    raise UserError("stream: an autoencoder generates nothing from left to right")

  def _reconstruct(self, params: Params, prompt: Prompt) -> tuple[jax.Array, jax.Array]:
    """Returns codes, int32 [B,S], and frames, float32 [B,S,C]."""
    bound = self._model.bind({"params": params})
    codes = bound.encode(prompt)
    return codes, bound.decode(codes, prompt)


def _check(settings: GenerateSettings) -> None:
  """Checks that settings ask for nothing that autoencoders do not have.

  Raises:
    UserError: naming the setting.
  """
  for field in dataclasses.fields(settings):
    value = getattr(settings, field.name)
    if field.name not in _READ and value != getattr(GenerateSettings, field.name):
      raise UserError(
        f"generate.{field.name}={value!r} has no effect with model.architecture='autoencoder', "
        "which has one output for an input: leave it out"
      )
