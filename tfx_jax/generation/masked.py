"""Generation with models that predict masked tokens, see `decoding/masked.py`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from tfx_jax.codecs.codec import AnyValue, Codec
from tfx_jax.common.heartbeat import beat
from tfx_jax.data.layout import Layout
from tfx_jax.decoding.masked import MaskedSettings, decode
from tfx_jax.errors import UserError
from tfx_jax.generation import batches, inputs
from tfx_jax.generation.generator import Hypothesis, Output
from tfx_jax.generation.in_flight import Program, in_flight
from tfx_jax.generation.request import encode_inputs
from tfx_jax.generation.search import check_scores, traced
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.generation.text.constraints import Prefixes, forbidden_mask
from tfx_jax.layers.head import FrameOutput
from tfx_jax.models.guidance import guide
from tfx_jax.models.masked import MaskedModel
from tfx_jax.models.model import Batch, Params, Prompt
from tfx_jax.models.quantized import dequantize
from tfx_jax.parallel import Parallel

# Settings that need tokens to be generated one after the other.
ONE_BY_ONE = (
  "beam_groups", "length_penalty", "early_stopping", "coverage_penalty", "top_k", "top_p", "min_p",
  "typical_p", "prefix", "forbidden_phrases", "no_repeat_ngram_size", "repetition_penalty",
  "presence_penalty", "stop", "stream", "min_length",
)  # fmt: skip
# Lengths of arrays are multiples of this, so that there are few programs.
_MULTIPLE = 8


class Candidates(NamedTuple):
  """Outputs to fill in, W for each input.

  Attributes:
    lengths: int32 [B,W], tokens of each, EOS counted.
    numbers: int32 [B,W], number of each; draws depend on it alone.
  """

  lengths: np.ndarray
  numbers: np.ndarray


class MaskedGenerator:
  """Generates all tokens of an output together, in `settings.steps` predictions.

  Where lengths differ, each input has candidates of its `beam_size` likeliest lengths, which are
  ranked by the mean log-probability of their tokens (Ghazvininejad et al. 2019, section 4).

  Args:
    model: the model.
    parallel: the mesh.
    source_codec: codec of the inputs.
    target_codec: codec of the outputs, whose elements are tokens.
    layout: how the model is given inputs.
    settings: see `GenerateSettings`.
    mask: id that the model reads for tokens that are not known yet.

  Raises:
    UserError: for a setting that needs tokens to be generated one after the other.
  """

  def __init__(
    self,
    model: MaskedModel,
    parallel: Parallel,
    source_codec: Codec,
    target_codec: Codec,
    layout: Layout,
    settings: GenerateSettings,
    mask: int,
  ):
    _check(settings)
    self.settings = settings
    self._model, self._parallel, self._layout, self._mask = model, parallel, layout, mask
    self._source_codec, self._target_codec = source_codec, target_codec
    is_text = inputs.is_text(target_codec)
    self._output_type = Hypothesis if is_text else Output
    self._empty = Hypothesis("", 0.0, 0.0, []) if is_text else Output(None, 0.0, 0.0, [])
    self._prepare = Program(dequantize, parallel)
    self._lengths = Program(self._predict_lengths, parallel)
    self._fill = Program(self._fill_in, parallel, static_argnames=("capacity", "guided"))

  def __call__(
    self,
    params: Params,
    values: Sequence[AnyValue],
    on_batch: Callable[[int], None] = lambda count: None,
    prefixes: Prefixes | None = None,
    **changes: Any,
  ) -> list[list[Any]]:
    """Returns the outputs of each input, best first: `Hypothesis` of texts, otherwise `Output`.

    Args:
      params: parameters of the model.
      values: the inputs, of any length and in any order.
      on_batch: called after each batch with the number of inputs in it.
      prefixes: must be None.
      **changes: changes of the settings for this call.

    Raises:
      UserError: for prefixes, settings that make no sense, or scores that are not finite.
    """
    if prefixes is not None:
      raise UserError("prefixes: a masked model does not generate from left to right")
    settings = self.settings.replace(**changes)
    _check(settings)
    prompts = encode_inputs(self._layout, self._source_codec, values, settings.max_source_length)
    results: list[list[Any]] = [[self._empty] for _ in values]
    params = self._prepare(params=params)

    def start(group: batches.Group) -> tuple[Candidates, Any]:
      given = [prompts[number] for number in group.filled]
      if settings.guidance != 1:
        empty = self._layout.prompt([])
        given = [prompt for one in given for prompt in (one, empty)]
      prompt = batches.place_prompts(self._layout, given, group.length, self._parallel)
      candidates = self._candidates(params, prompt, group, settings)
      return candidates, self._fill(
        params=params,
        prompt=prompt,
        lengths=candidates.lengths,
        numbers=candidates.numbers,
        settings=self._traced(settings),
        guidance=traced(settings.guidance, np.float32),
        capacity=-(-int(candidates.lengths.max()) // _MULTIPLE) * _MULTIPLE,
        guided=settings.guidance != 1,
      )

    groups = batches.group(prompts, settings, self._parallel, settings.width)
    threads = self._parallel.mesh.size == 1
    for group, (candidates, found) in in_flight(start, groups, threads=threads):
      rows = zip(group.members, candidates.lengths, *self._parallel.fetch(found), strict=False)
      for member, *row in rows:
        results[member] = list(self._outputs(member, *row))[: settings.num_return]
      beat()
      on_batch(len(group.members))
    return results

  def stream(self, params: Params, text: str, number: int = 0, **changes: Any) -> NoReturn:
    """Raises UserError: the tokens of an output are generated together."""
    raise UserError("stream: a masked model generates all tokens of an output together")

  def _candidates(
    self, params: Params, prompt: Prompt, group: batches.Group, settings: GenerateSettings
  ) -> Candidates:
    """Returns the outputs to fill in: of the one length, or of the likeliest ones."""
    width = settings.width
    if length := inputs.tokens_of(self._target_codec).length:
      # Without draws there is one output of one length.
      width = width if settings.search == "sample" else 1
      lengths = np.full((group.rows, width), length + 1, np.int32)
    else:
      log_probs = self._parallel.fetch(self._lengths(params=params, prompt=prompt))
      log_probs = log_probs[:: len(log_probs) // group.rows]  # without those of empty sources
      most = min(settings.max_length, log_probs.shape[1] - 1)
      # A target has at least EOS.
      likeliest = 1 + np.argsort(-log_probs[:, 1 : most + 1], axis=1, kind="stable")
      if settings.search == "sample":
        lengths = likeliest[:, :1].repeat(width, axis=1)
      else:
        lengths = likeliest[:, : min(width, most)]
    count = lengths.shape[1]
    numbers = np.asarray(group.filled)[:, None] * count + np.arange(count)
    return Candidates(lengths.astype(np.int32), numbers.astype(np.int32))

  def _traced(self, settings: GenerateSettings) -> MaskedSettings:
    draws = settings.search == "sample"
    return MaskedSettings(
      steps=traced(settings.steps, np.int32),
      temperature=traced(settings.temperature if draws else 0, np.float32),
      choice_temperature=traced(settings.choice_temperature if draws else 0, np.float32),
      seed=traced(settings.seed, np.uint32),
      forbidden=self._forbidden(settings),
    )

  def _forbidden(self, settings: GenerateSettings) -> jax.Array:
    """Returns bool [V]: also EOS, whose place is known."""
    tokens = inputs.tokens_of(self._target_codec)
    mask = forbidden_mask(self._target_codec, settings.forbidden)
    mask[list(tokens.special_tokens.eos_ids)] = True
    return traced(mask, bool)

  def _predict_lengths(self, params: Params, prompt: Prompt) -> jax.Array:
    """Returns log-probabilities of target lengths, float32 [B,L]."""
    bound = self._model.bind({"params": params})
    logits = bound.lengths(bound.encode(prompt))
    assert logits is not None
    last = (prompt["inputs_segments"] > 0).sum(axis=1) - 1  # [B]
    last = jnp.maximum(last, 0)[:, None, None]
    return jax.nn.log_softmax(jnp.take_along_axis(logits, last, axis=1)[:, 0])  # [B,S,L] -> [B,L]

  def _fill_in(
    self,
    params: Params,
    prompt: Prompt,
    lengths: jax.Array,
    numbers: jax.Array,
    settings: MaskedSettings,
    guidance: jax.Array,
    capacity: int,
    guided: bool,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns tokens int32 [B,W,T], and their log-probabilities, float32 [B,W,T]."""
    bound = self._model.bind({"params": params})
    rows, width = lengths.shape
    rules = 2 if guided else 1  # rows of an output: with its source, and with an empty one

    def widen(x: jax.Array) -> jax.Array:
      # [B*R,…] -> [B,W,R,…] -> [B*W*R,…]
      x = x.reshape(rows, 1, rules, *x.shape[1:])
      return jnp.broadcast_to(x, (rows, width, *x.shape[2:])).reshape(-1, *x.shape[3:])

    memory = widen(bound.encode(prompt))
    size = lengths.reshape(-1, 1)  # [B,W] -> [B*W,1]
    place = jax.lax.broadcasted_iota(jnp.int32, (rows * width, capacity), 1)  # [B*W,T]
    real = (place < size).astype(jnp.int32)  # [B*W,T]
    source = {key: widen(prompt[key]) for key in ("inputs", "inputs_segments", "inputs_positions")}
    whole = source | {
      "targets_segments": jnp.repeat(real, rules, axis=0),
      "targets_positions": jnp.repeat(place, rules, axis=0),
    }

    def predict(tokens: jax.Array) -> jax.Array:
      batch = Batch(**whole, decoder_inputs=jnp.repeat(tokens, rules, axis=0))
      logits = bound.logits(bound(batch, memory))  # [B*W*R,T,V]
      assert not isinstance(logits, FrameOutput)
      return guide(logits, guidance) if guided else logits

    eos = inputs.tokens_of(self._target_codec).special_tokens.eos
    tokens = jnp.where(place == size - 1, eos, 0)
    result = decode(predict, tokens, place < size - 1, numbers.reshape(-1), settings, self._mask)
    shape = rows, width, capacity
    return result.tokens.reshape(shape), result.log_probs.reshape(shape)

  def _outputs(
    self, member: int, lengths: np.ndarray, tokens: np.ndarray, log_probs: np.ndarray
  ) -> Iterator[Any]:
    """Yields the outputs of an input, best first."""
    check_scores(f"input {member + 1}", log_probs.sum(axis=1))
    sequences = [ids[:length].tolist() for ids, length in zip(tokens, lengths, strict=True)]
    totals = log_probs.sum(axis=1, dtype=np.float64)
    scores = totals / np.maximum(lengths - 1, 1)
    values = self._target_codec.decode(sequences)
    for i in np.argsort(-scores, kind="stable").tolist():
      yield self._output_type(values[i], float(scores[i]), float(totals[i]), sequences[i])


def _check(settings: GenerateSettings) -> None:
  """Checks that settings ask for nothing that masked models do not have.

  Raises:
    UserError: naming the setting.
  """
  if settings.search == "mbr":
    raise UserError(
      "generate.search='mbr' does not go with model.architecture='masked': use beam or sample"
    )
  for name in ONE_BY_ONE:
    value = getattr(settings, name)
    if value != getattr(GenerateSettings, name):
      raise UserError(
        f"generate.{name}={value!r} has no effect with model.architecture='masked', which "
        "generates all tokens together: leave it out"
      )
