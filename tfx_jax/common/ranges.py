"""Range of every number in the configuration, in one table: the smallest and the largest value."""

import dataclasses
import math
import numbers

from tfx_jax.errors import UserError

# Steps, sizes and ids are int32 on the devices; JAX makes its keys from 32 bits of a seed.
_INT32 = 2**31 - 1
_UINT32 = 2**32 - 1
# The smallest normal number of float32, and about the largest.
_TINY = 1.2e-38
_HUGE = 3.4e38


@dataclasses.dataclass(frozen=True)
class Range:
  """A closed interval of numbers.

  Attributes:
    low: smallest value.
    high: largest value.
    whole: whether only integers are allowed.
  """

  low: float
  high: float
  whole: bool = False

  def check(self, key: str, value: float) -> None:
    """Checks that a value is a number inside, and 0 or large enough for float32.

    Raises:
      UserError: naming the key, the value and the range.
    """
    kind: type = numbers.Integral if self.whole else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kind):
      what = "an integer" if self.whole else "a number"
      raise UserError(f"{key}={value!r} is {type(value).__name__}: use {what} from {self}")
    if not self.low <= value <= self.high:
      raise UserError(f"{key}={value}: use {self}")
    if 0 < abs(value) < _TINY:
      raise UserError(f"{key}={value} is 0 in float32: use 0, or {_TINY} and more")

  def __str__(self) -> str:
    return f"{_text(self.low)} to {_text(self.high)}"


def _text(number: float) -> str:
  short = math.isfinite(number) and number == int(number) and abs(number) < 1e16
  return str(int(number)) if short else repr(number)


_COUNT = Range(1, _INT32, whole=True)
_COUNT_OR_NONE = Range(0, _INT32, whole=True)
_SEED = Range(0, _UINT32, whole=True)
_AXIS = Range(-1, _INT32, whole=True)
_SHARE = Range(0.0, 1.0)
# float32 rounds a number closer to 1 to 1, and then 1 - x is a division by zero.
_BELOW_ONE = Range(0.0, 0.9999999)
_ABOVE_ZERO = Range(1e-30, 1e6)
_PROBABILITY_MASS = Range(1e-30, 1.0)
_WEIGHT = Range(0.0, 1e6)
_FINITE = Range(-_HUGE, _HUGE)

RANGES = {
  "seed": _SEED,
  "task.history_turns": _COUNT_OR_NONE,
  "data.held_out": Range(1e-6, 0.4),
  "data.source_length": _COUNT,
  "data.target_length": _COUNT,
  "data.source_dropout": _BELOW_ONE,
  "data.source_sampling": _BELOW_ONE,
  "data.target_sampling": _BELOW_ONE,
  "data.batch_size": _COUNT,
  "tokenizer.vocab_size": _COUNT_OR_NONE,
  "tokenizer.character_coverage": _SHARE,
  "tokenizer.max_sentences": _COUNT_OR_NONE,
  "image.channels": Range(1, 4, whole=True),
  "image.codes": Range(0, 1 << 20, whole=True),
  "model.encoder_layers": _COUNT,
  "model.decoder_layers": _COUNT,
  "model.features": _COUNT,
  "model.group_size": Range(1, 256, whole=True),
  "model.group_features": _COUNT,
  "model.num_heads": _COUNT,
  "model.num_kv_heads": _COUNT_OR_NONE,
  "model.head_dim": _COUNT_OR_NONE,
  "model.feed_forward": _COUNT,
  "model.norm_epsilon": _SHARE,
  "model.max_positions": _COUNT,
  "model.rotary_base": Range(0.0, _HUGE),
  "model.num_buckets": _COUNT_OR_NONE,
  "model.max_distance": _COUNT_OR_NONE,
  "model.vocab_multiple": _COUNT,
  "model.dropout": _BELOW_ONE,
  "model.attention_dropout": _BELOW_ONE,
  "model.activation_dropout": _BELOW_ONE,
  "model.attention_rows": _COUNT_OR_NONE,
  "optimizer.learning_rate": Range(0.0, _HUGE),
  "optimizer.warmup_steps": _COUNT_OR_NONE,
  "optimizer.final_share": _SHARE,
  "optimizer.b1": _BELOW_ONE,
  "optimizer.b2": _BELOW_ONE,
  # With 0, a parameter whose gradient is 0 would be updated by 0 / 0.
  "optimizer.eps": _ABOVE_ZERO,
  "optimizer.momentum": _BELOW_ONE,
  "optimizer.weight_decay": _WEIGHT,
  # In `optimizer.groups`: factor of the learning rate.
  "optimizer.scale": _WEIGHT,
  "optimizer.clip_norm": Range(0.0, _HUGE),
  "lora.rank": _COUNT_OR_NONE,
  "lora.alpha": _WEIGHT,
  "train.num_steps": _COUNT,
  "train.label_smoothing": _BELOW_ONE,
  "train.z_loss": _WEIGHT,
  "train.r_drop": _WEIGHT,
  "train.token_dropout": _BELOW_ONE,
  "train.ema_decay": _BELOW_ONE,
  "train.loss_chunks": _COUNT_OR_NONE,
  "train.microbatches": _COUNT,
  "train.log_every": _COUNT,
  "train.eval_every": _COUNT_OR_NONE,
  "train.decode_every": _COUNT_OR_NONE,
  "train.decode_examples": _COUNT_OR_NONE,
  "train.checkpoint_every": _COUNT_OR_NONE,
  "train.keep_checkpoints": _COUNT,
  "train.patience": _COUNT_OR_NONE,
  "train.max_skipped_steps": _COUNT_OR_NONE,
  "evaluate.average_last": _COUNT_OR_NONE,
  "evaluate.num_samples": _COUNT_OR_NONE,
  "evaluate.bootstrap_samples": _COUNT,
  "generate.beam_size": _COUNT,
  "generate.beam_groups": _COUNT,
  "generate.diversity_penalty": _ABOVE_ZERO,
  "generate.num_return": _COUNT,
  # Long outputs allow less, see `GenerateSettings`.
  "generate.length_penalty": Range(-100.0, 100.0),
  "generate.coverage_penalty": _WEIGHT,
  "generate.alignment_layer": Range(-_INT32, _INT32, whole=True),
  "generate.temperature": _ABOVE_ZERO,
  "generate.top_k": _COUNT_OR_NONE,
  "generate.top_p": _PROBABILITY_MASS,
  "generate.min_p": _SHARE,
  "generate.typical_p": _PROBABILITY_MASS,
  "generate.seed": _SEED,
  "generate.num_samples": _COUNT,
  "generate.guidance": Range(0.0, 1e3),
  "generate.steps": _COUNT,
  "generate.choice_temperature": Range(0.0, 1e3),
  "generate.min_length": _COUNT_OR_NONE,
  "generate.max_length": _COUNT,
  "generate.max_length_ratio": _WEIGHT,
  "generate.stop_threshold": _SHARE,
  "generate.max_source_length": _COUNT,
  "generate.batch_size": _COUNT,
  "generate.no_repeat_ngram_size": _COUNT_OR_NONE,
  "generate.repetition_penalty": Range(1e-6, 1e6),
  "generate.presence_penalty": Range(-2.0, 2.0),
  "mesh.data": _AXIS,
  "mesh.fsdp": _AXIS,
  "mesh.tensor": _AXIS,
  "mesh.sequence": _AXIS,
  "mesh.slices": _AXIS,
}


def check_range(key: str, value: float, shown_as: str = "") -> None:
  """Checks that a number is in the range of its key; a key without a range takes finite numbers.

  Args:
    key: 'section.name'.
    value: value of the key.
    shown_as: name in the error, if the number was given under another name.

  Raises:
    UserError: naming the key, the value and the range.
  """
  RANGES.get(key, _FINITE).check(shown_as or key, value)
