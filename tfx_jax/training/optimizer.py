"""Learning-rate schedules and optimizers, through Optax."""

import inspect
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from tfx_jax.common.ranges import check_range
from tfx_jax.errors import UserError, nearest
from tfx_jax.models.parameters import MATRICES, input_axes
from tfx_jax.training.rounding import in_bfloat16

Schedule = Callable[[jax.Array], jax.Array]

KNOWN = ("adam", "adamw", "sgd", "lion", "adafactor", "muon", "lamb", "radam", "novograd")
STATE_DTYPES = ("float32", "bfloat16")

SHAPES: dict[str, Callable[[jax.Array, float, float], jax.Array]] = {
  "rsqrt": lambda step, warmup, total: jnp.sqrt(warmup / jnp.maximum(step, warmup)),
  "cosine": lambda step, warmup, total: (1 + jnp.cos(math.pi * _progress(step, warmup, total))) / 2,
  "linear": lambda step, warmup, total: 1 - _progress(step, warmup, total),
  "constant": lambda step, warmup, total: jnp.ones_like(step),
}


def make_schedule(
  schedule: str, learning_rate: float, warmup_steps: int, final_share: float, num_steps: int
) -> Schedule:
  """The learning rate of each step, counted from 0.

  It rises linearly over `warmup_steps` to `learning_rate`, then falls: as the inverse square root
  of the step, or as a cosine or a line to `final_share` of its height at `num_steps`; or it stays.

  Raises:
    UserError: if there is no such schedule.
  """
  if schedule not in SHAPES:
    raise UserError(f"optimizer.schedule='{schedule}'{nearest(schedule, SHAPES)}")
  shape = SHAPES[schedule]
  floor = final_share if schedule in ("cosine", "linear") else 0.0
  warmup = float(max(warmup_steps, 1))

  def rate(step: jax.Array) -> jax.Array:
    step = jnp.asarray(step, jnp.float32) + 1
    fall = floor + (1 - floor) * shape(step, warmup, float(num_steps))
    return learning_rate * jnp.minimum(step / warmup, 1.0) * fall

  return rate


def make_optimizer(
  schedule: Schedule,
  name: str,
  clip_norm: float = 0.0,
  state_dtype: str = "float32",
  settings: Sequence[str] = (),
  groups: Sequence[str] = (),
  **usual: Any,
) -> optax.GradientTransformation:
  """An optimizer of Optax by name, after clipping by the global norm.

  Args:
    schedule: step -> learning rate.
    name: of a function of `optax` or `optax.contrib`.
    clip_norm: greatest norm of the gradient; 0 for no clipping.
    state_dtype: that the arrays of its state are kept in, one of `STATE_DTYPES`.
    settings: 'NAME=NUMBER' each, more of its arguments.
    groups: 'REGEX NAME=NUMBER …' each: arguments of its own for the parameters whose path, such as
      `decoder_stack/layers/stacked/mlp/up/kernel`, holds the pattern; the first that does counts.
      `scale` among them multiplies the learning rate, 0 freezes.
    **usual: arguments too; those that it does not take are left out, see `arguments`.

  Raises:
    UserError: if Optax has no such optimizer, or it takes no such argument.
  """
  takes = arguments(name)
  usual = {key: value for key, value in usual.items() if key in takes}
  usual |= _numbers("optimizer.settings", settings, name, takes)
  parts = [group.split() for group in groups]
  patterns = [_pattern(words[0]) for words in parts]

  def make(own: dict[str, float]) -> optax.GradientTransformation:
    scale = own.pop("scale", 1.0)
    if scale == 0:
      return optax.set_to_zero()  # and no state
    return _named(name, lambda step: schedule(step) * scale, takes, usual | own)

  own = [_numbers("optimizer.groups", words[1:], name, takes | {"scale"}) for words in parts]
  optimizer = make({})
  if groups:
    makers = {str(number): make(numbers) for number, numbers in enumerate(own)}
    optimizer = optax.partition(makers | {"rest": optimizer}, _labels(patterns))
  if clip_norm:
    optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
  return in_bfloat16(optimizer) if state_dtype == "bfloat16" else optimizer


def arguments(name: str) -> set[str]:
  """Names of the arguments that Optax's optimizer `name` takes.

  Raises:
    UserError: if Optax has no such optimizer, or it needs more than a gradient.
  """
  factory = _factory(name)
  takes = set(inspect.signature(factory).parameters) if callable(factory) else set()
  if "learning_rate" not in takes or "linesearch" in takes:
    raise UserError(f"optimizer.name='{name}'{nearest(name, KNOWN)}")
  return takes


def decays(params: Any) -> Any:
  """Which parameters weight decay applies to: kernels and embeddings, not biases and norms."""
  return jax.tree.map_with_path(lambda path, _: _names(path)[-1] in MATRICES, params)


def matrix_axes(params: Any) -> Any:
  """For Muon: which axes of a layer's kernel [L,…] are inputs and outputs; None for all others.

  Embeddings, and the head with them, are left to Adam, as are biases and norms (Jordan et al. 2024,
  https://kellerjordan.github.io/posts/muon).
  """

  def axes(path: tuple, x: Any) -> optax.contrib.MuonDimensionNumbers | None:
    names = _names(path)
    if names[-1] != "kernel" or "stacked" not in names:
      return None
    inputs = input_axes(names, x.ndim)
    return optax.contrib.MuonDimensionNumbers(
      tuple(range(1, 1 + inputs)), tuple(range(1 + inputs, x.ndim))
    )

  return jax.tree.map_with_path(axes, params)


def _named(
  name: str, schedule: Schedule, takes: set[str], settings: dict[str, Any]
) -> optax.GradientTransformation:
  """Optax's optimizer `name`, told which parameters are which."""
  mask = next((key for key in ("mask", "weight_decay_mask") if key in takes), None)
  if mask and "weight_decay" in settings:
    settings = settings | {mask: decays}
  if "muon_weight_dimension_numbers" in takes:
    settings = settings | {"muon_weight_dimension_numbers": matrix_axes}
  return _factory(name)(schedule, **settings)


def _factory(name: str) -> Callable | None:
  return getattr(optax, name, None) or getattr(optax.contrib, name, None)


def _numbers(key: str, words: Sequence[str], name: str, takes: set[str]) -> dict[str, float]:
  """{argument: number} of words 'ARGUMENT=NUMBER'."""
  numbers = {}
  for word in words:
    argument, _, text = word.partition("=")
    if argument not in takes:
      raise UserError(f"{key}: {name} takes no '{argument}'{nearest(argument, takes)}")
    try:
      numbers[argument] = int(text) if text.isdigit() else float(text)
    except ValueError as error:
      raise UserError(f"{key}: '{word}' is not NAME=NUMBER") from error
    check_range(f"optimizer.{argument}", numbers[argument], f"{key}: {argument}")
  return numbers


def _pattern(text: str) -> re.Pattern:
  try:
    return re.compile(text)
  except re.error as error:
    raise UserError(f"optimizer.groups: '{text}' is no regular expression ({error})") from error


def _labels(patterns: Sequence[re.Pattern]) -> Callable[[Any], Any]:
  """Parameters -> for each the number of the first pattern that its path holds, or 'rest'."""

  def label(path: tuple, _: Any) -> str:
    name = "/".join(_names(path))
    return next((str(n) for n, pattern in enumerate(patterns) if pattern.search(name)), "rest")

  return lambda params: jax.tree.map_with_path(label, params)


def _names(path: tuple) -> list[str]:
  """Names of a path, without the box that holds the axes' names below the last one."""
  return [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]


def _progress(step: jax.Array, warmup: float, total: float) -> jax.Array:
  return jnp.clip((step - warmup) / max(total - warmup, 1.0), 0.0, 1.0)
