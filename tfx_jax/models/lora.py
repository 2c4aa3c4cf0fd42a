"""Low-rank adaptation, computed on the parameters: no layer knows of it."""

import math
import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import traverse_util

from tfx_jax.common.tree import Tree
from tfx_jax.errors import UserError
from tfx_jax.models.model import Batch, BoundModel, Model, Params
from tfx_jax.models.parameters import input_axes

# A regular expression for paths of kernels; alone, or with the first and the last layer.
Target = str | tuple[str, tuple[int, int]]


class Adapted:
  """A fixed model with products of low rank added (Hu et al. 2021, arXiv:2106.09685).

  Its parameters are `base`, those of the model, and `adapters`: for a kernel W [L,…] of a stack,
  `a` [n,inputs…,r] and `b` [n,r,outputs…] for n of its layers, whose kernels become
  W + alpha / r a b. Initially b is zero. Each step computes these kernels, which takes the memory
  of a second copy of them, and little time compared with a batch of many tokens.

  Args:
    model: the model to adapt.
    rank: r.
    alpha: see above.
    targets: kernels to adapt, 'REGEX' or ('REGEX', (FIRST, LAST)) each: those whose path, such as
      `decoder_stack/layers/stacked/mlp/up`, contains a match, in all layers or in FIRST to LAST,
      counted from 0. The first target with a match counts.

  Raises:
    UserError: for another target.
  """

  def __init__(self, model: Model, rank: int, alpha: float, targets: Sequence[Target]):
    self.model, self.rank, self.scale = model, rank, alpha / rank
    self._targets = [parse_target(target) for target in targets]

  def init(self, rngs: jax.Array, batch: Batch) -> dict[str, Params]:
    """Returns new variables, boxed like those of the model."""
    base = self.model.init(rngs, batch)["params"]
    return {"params": {"base": base, "adapters": self._adapters(rngs, base)}}

  def bind(
    self, variables: Mapping[str, Params], *, rngs: dict[str, jax.Array] | None = None
  ) -> BoundModel:
    """Returns the model with merged kernels; `base` has no gradient."""
    params = variables["params"]
    fixed = jax.lax.stop_gradient(params["base"])
    return self.model.bind({"params": self.merge({**params, "base": fixed})}, rngs=rngs)

  def merge(self, params: Mapping[str, Params]) -> Params:
    """Returns parameters of the model, with the adapters added to its kernels."""
    kernels: Tree = traverse_util.flatten_dict(params["base"], sep="/")
    adapters: Tree = traverse_util.flatten_dict(params["adapters"], sep="/")
    for path in sorted({name.rpartition("/")[0] for name in adapters}):
      a, b = adapters[f"{path}/a"], adapters[f"{path}/b"]
      kernel = kernels[f"{path}/kernel"]
      product = jnp.einsum("nir,nro->nio", _flat(a, last=1), _flat(b, first=2)) * self.scale
      first, end = self._layers(path, kernel.shape[0])
      product = product.reshape(end - first, *kernel.shape[1:])
      kernels[f"{path}/kernel"] = kernel.at[first:end].add(product.astype(kernel.dtype))
    return traverse_util.unflatten_dict(kernels, sep="/")

  def _adapters(self, key: jax.Array, base: Params) -> dict[str, Params]:
    adapters = {}
    boxes: Tree = traverse_util.flatten_dict(base)
    for name, box in boxes.items():
      *path, last = name
      joined = "/".join(path)
      if last != "kernel" or "stacked" not in path or not self._is_target(joined):
        continue
      shape, names = box.value.shape, box.names
      first, end = self._layers(joined, shape[0])
      inputs = 1 + input_axes(name, len(shape))
      size = end - first
      normal = nn.initializers.normal(math.prod(shape[1:inputs]) ** -0.5)
      key, adapter_key = jax.random.split(key)
      a, b = (size, *shape[1:inputs], self.rank), (size, self.rank, *shape[inputs:])
      adapters |= {
        (*path, "a"): box.replace(value=normal(adapter_key, a), names=(*names[:inputs], None)),
        (*path, "b"): box.replace(value=jnp.zeros(b), names=(names[0], None, *names[inputs:])),
      }
    if not adapters:
      raise UserError("lora.targets: no kernel's path holds one of the patterns")
    return traverse_util.unflatten_dict(adapters)

  def _is_target(self, path: str) -> bool:
    return any(pattern.search(path) for pattern, _ in self._targets)

  def _layers(self, path: str, count: int) -> tuple[int, int]:
    """Returns the adapted layers of a target's kernel, the first and the one after the last."""
    layers = next(layers for pattern, layers in self._targets if pattern.search(path))
    first, last = layers or (0, count - 1)
    if last >= count:
      raise UserError(f"lora.targets: {path} has no layer {last}, only 0-{count - 1}")
    return first, last + 1


def adapters_only(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
  """Returns the optimizer for the adapters only; `base` is constant and has no state."""

  def label(params: Mapping[str, Params]) -> dict[str, Params]:
    return {side: jax.tree.map(lambda _, side=side: side, tree) for side, tree in params.items()}

  return optax.partition({"adapters": optimizer, "base": optax.set_to_zero()}, label)


def parse_target(target: Target) -> tuple[re.Pattern[str], tuple[int, int] | None]:
  """Returns the pattern of a target, and the first and last layer if they are given.

  Raises:
    UserError: for a value that is no target.
  """
  text, layers = (target, None) if isinstance(target, str) else _pair(target)
  try:
    return re.compile(text), layers
  except re.error as error:
    raise UserError(f"lora.targets: '{text}' is no regular expression ({error})") from error


def _pair(target: Sequence[object]) -> tuple[str, tuple[int, int]]:
  match target:
    case (str(text), (int(first), int(last))) if 0 <= first <= last:
      return text, (first, last)
  raise UserError(f"lora.targets: {target!r} is neither 'REGEX' nor ('REGEX', (FIRST, LAST))")


def _flat(x: jax.Array, first: int = 1, last: int = 0) -> jax.Array:
  """Joins the axes between the first `first` and the last `last` ones into one."""
  end = x.ndim - last
  return x.reshape(*x.shape[:first], -1, *x.shape[end:])
