"""Learning-rate schedules and optimizers, through Optax."""

import inspect
import math
import re
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from tfx_jax.common.ranges import check_range
from tfx_jax.common.tree import Tree
from tfx_jax.errors import UserError, nearest
from tfx_jax.models.model import Params
from tfx_jax.models.parameters import MATRICES, input_axes
from tfx_jax.training.rounding import in_bfloat16

Schedule = Callable[[jax.Array], jax.Array]
# A regular expression for paths of parameters, and arguments of the optimizer for these.
Group = tuple[str, Mapping[str, float]]

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
  """Returns a function from the step, counted from 0, to the learning rate.

  It rises linearly over `warmup_steps` to `learning_rate`. Then it falls with the inverse square
  root of the step, or as a cosine or a line to `final_share` of `learning_rate` at `num_steps`, or
  is constant.

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
  settings: Mapping[str, float] = types.MappingProxyType({}),
  groups: Sequence[Group] = (),
  **common: Any,
) -> optax.GradientTransformation:
  """Returns an optimizer of Optax by name, after clipping by the global norm.

  Args:
    schedule: step -> learning rate.
    name: name of a function of `optax` or `optax.contrib`.
    clip_norm: largest norm of the gradient; 0 for no clipping.
    state_dtype: dtype of the arrays of its state, one of `STATE_DTYPES`.
    settings: more of its arguments.
    groups: (REGEX, arguments) each, for parameters whose path, such as
      `decoder_stack/layers/stacked/mlp/up/kernel`, contains a match; the first group with a match
      counts. `scale` among the arguments multiplies the learning rate, 0 freezes.
    **common: arguments that many optimizers take; this one ignores those it does not take.

  Raises:
    UserError: if Optax has no such optimizer, or it takes no such argument.
  """
  takes = arguments(name)
  common = {key: value for key, value in common.items() if key in takes}
  common |= _checked("optimizer.settings", settings, name, takes)
  checked = [_checked_group(group, name, takes) for group in groups]

  def make(changes: Mapping[str, float]) -> optax.GradientTransformation:
    changes = dict(changes)
    scale = changes.pop("scale", 1.0)
    if scale == 0:
      return optax.set_to_zero()  # It has no state.
    return _named(name, lambda step: schedule(step) * scale, takes, common | changes)

  optimizer = make({})
  if checked:
    optimizers: dict[Hashable, optax.GradientTransformation] = {"rest": optimizer}
    optimizers |= {str(number): make(changes) for number, (_, changes) in enumerate(checked)}
    optimizer = optax.partition(optimizers, _labels([pattern for pattern, _ in checked]))
  if clip_norm:
    optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
  return in_bfloat16(optimizer) if state_dtype == "bfloat16" else optimizer


def arguments(name: str) -> set[str]:
  """Returns the names of the arguments that Optax's optimizer `name` takes.

  Raises:
    UserError: if Optax has no such optimizer, or it needs more than a gradient.
  """
  factory = _factory(name)
  takes = set(inspect.signature(factory).parameters) if callable(factory) else set()
  if "learning_rate" not in takes or "linesearch" in takes:
    raise UserError(f"optimizer.name='{name}'{nearest(name, KNOWN)}")
  return takes


def decays(params: Params) -> Tree:
  """Returns a tree of bools, true where weight decay applies: kernels and embeddings."""
  return jax.tree.map_with_path(lambda path, _: _names(path)[-1] in MATRICES, params)


def matrix_axes(params: Params) -> Tree:
  """Returns for Muon the input and output axes of each layer's kernel [L,…]; None for the others.

  Muon updates the others, embeddings, head, biases and norms, with Adam (Jordan et al. 2024,
  https://kellerjordan.github.io/posts/muon).
  """

  def axes(path: tuple, x: Tree) -> optax.contrib.MuonDimensionNumbers | None:
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
  """Returns Optax's optimizer `name`, with the trees that say what applies to which parameter."""
  mask = next((key for key in ("mask", "weight_decay_mask") if key in takes), None)
  if mask and "weight_decay" in settings:
    settings = settings | {mask: decays}
  if "muon_weight_dimension_numbers" in takes:
    settings = settings | {"muon_weight_dimension_numbers": matrix_axes}
  factory = _factory(name)
  assert factory is not None  # `arguments` has checked it.
  return factory(schedule, **settings)


def _factory(name: str) -> Callable | None:
  return getattr(optax, name, None) or getattr(optax.contrib, name, None)


def _checked(
  key: str, numbers: Mapping[str, float], name: str, takes: set[str]
) -> dict[str, float]:
  """Returns arguments {name: number} of the optimizer `name`, which `takes` these."""
  if not isinstance(numbers, Mapping):
    raise UserError(f"{key}: {numbers!r} is not a dict, such as {{'weight_decay': 0.1}}")
  for argument, number in numbers.items():
    if argument not in takes:
      raise UserError(f"{key}: {name} takes no '{argument}'{nearest(argument, takes)}")
    check_range(f"optimizer.{argument}", number, f"{key}: {argument}")
  return dict(numbers)


def _checked_group(
  group: Group, name: str, takes: set[str]
) -> tuple[re.Pattern[str], dict[str, float]]:
  """Returns a group with its pattern compiled."""
  key = "optimizer.groups"
  is_pair = isinstance(group, tuple | list) and len(group) == 2
  if not is_pair or not isinstance(group[0], str):
    raise UserError(f"{key}: {group!r} is not a pair ('REGEX', {{'NAME': NUMBER}})")
  text, numbers = group
  try:
    pattern = re.compile(text)
  except re.error as error:
    raise UserError(f"{key}: '{text}' is no regular expression ({error})") from error
  return pattern, _checked(key, numbers, name, takes | {"scale"})


def _labels(patterns: Sequence[re.Pattern]) -> Callable[[Tree], Tree]:
  """Returns a function that labels parameters with the number of the first match, or 'rest'."""

  def label(path: tuple, _: Tree) -> str:
    name = "/".join(_names(path))
    return next((str(n) for n, pattern in enumerate(patterns) if pattern.search(name)), "rest")

  return lambda params: jax.tree.map_with_path(label, params)


def _names(path: tuple) -> list[str]:
  """Returns the names of a path; the box around a parameter has none."""
  return [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]


def _progress(step: jax.Array, warmup: float, total: float) -> jax.Array:
  return jnp.clip((step - warmup) / max(total - warmup, 1.0), 0.0, 1.0)
