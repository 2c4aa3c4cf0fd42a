"""Learning-rate schedules and optimizers, through Optax."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tfx_jax.errors import UserError, nearest

Schedule = Callable[[jax.Array], jax.Array]

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
  schedule: Schedule, name: str, clip_norm: float, **settings: Any
) -> optax.GradientTransformation:
  """An optimizer of Optax by name, after clipping by the global norm.

  Args:
    schedule: step -> learning rate.
    name: of a function of optax.
    clip_norm: greatest norm of the gradient; 0 for no clipping.
    **settings: its arguments; those that it does not take are left out, see `arguments`.

  Raises:
    UserError: if Optax has no such optimizer.
  """
  takes = arguments(name)
  settings = {key: value for key, value in settings.items() if key in takes}
  mask = next((key for key in ("mask", "weight_decay_mask") if key in takes), None)
  if mask and "weight_decay" in settings:
    settings[mask] = decays
  optimizer = getattr(optax, name)(schedule, **settings)
  return optax.chain(optax.clip_by_global_norm(clip_norm), optimizer) if clip_norm else optimizer


def arguments(name: str) -> set[str]:
  """Names of the arguments that Optax's optimizer `name` takes.

  Raises:
    UserError: if Optax has no such optimizer.
  """
  factory = getattr(optax, name, None)
  takes = set(inspect.signature(factory).parameters) if callable(factory) else set()
  if "learning_rate" not in takes:
    known = ("adam", "adamw", "sgd", "lion", "adafactor", "lamb", "radam", "novograd")
    raise UserError(f"optimizer.name='{name}'{nearest(name, known)}")
  return takes


def decays(params: Any) -> Any:
  """Which parameters weight decay applies to: kernels and embeddings, not biases and norms."""

  def is_matrix(path: tuple, _: Any) -> bool:
    # The last name: below it there may still be the box that holds the axes' names.
    names = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
    return names[-1] in ("kernel", "embedding")

  return jax.tree.map_with_path(is_matrix, params)


def _progress(step: jax.Array, warmup: float, total: float) -> jax.Array:
  return jnp.clip((step - warmup) / max(total - warmup, 1.0), 0.0, 1.0)
