"""Low-rank adaptation as a function of the parameters: no layer knows of it."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import traverse_util

from tfx_jax.errors import UserError
from tfx_jax.models.model import Batch, BoundModel, Model, Params
from tfx_jax.models.parameters import input_axes

_TARGET = re.compile(r"(\S+)(?: (\d+)-(\d+))?")


class Adapted:
  """A fixed model with products of low rank added (Hu et al. 2021, arXiv:2106.09685).

  Its parameters are `base`, those of the model, and `adapters`: for a kernel W [L,…] of a stack,
  `a` [n,inputs…,r] and `b` [n,r,outputs…] of n of its layers, whose kernels are W + alpha / r a b.
  At first b is zero. Kernels are made whole in each step, which takes the memory of a second copy
  of those that are adapted, and little time beside a batch of many tokens.

  Args:
    model: the model to adapt.
    rank: r.
    alpha: see above.
    targets: 'REGEX' or 'REGEX FIRST-LAST' each: kernels whose path, such as
      `decoder_stack/layers/stacked/mlp/up`, holds the pattern, in all layers or in some, counted
      from 0. The first that does counts.

  Raises:
    UserError: for a target that is no such text.
  """

  def __init__(self, model: Model, rank: int, alpha: float, targets: Sequence[str]):
    self.model, self.rank, self.scale = model, rank, alpha / rank
    self._targets = [_parse(target) for target in targets]

  def init(self, rngs: jax.Array, batch: Batch) -> dict[str, Params]:
    """Returns new variables, boxed like those of the model."""
    base = self.model.init(rngs, batch)["params"]
    return {"params": {"base": base, "adapters": self._adapters(rngs, base)}}

  def bind(
    self, variables: Mapping[str, Params], *, rngs: Mapping[str, jax.Array] | None = None
  ) -> BoundModel:
    """Returns the model with merged kernels; `base` has no gradient."""
    params = variables["params"]
    fixed = jax.lax.stop_gradient(params["base"])
    return self.model.bind({"params": self.merge({**params, "base": fixed})}, rngs=rngs)

  def merge(self, params: Mapping[str, Any]) -> Any:
    """The model's own parameters, with what is learnt added."""
    kernels = traverse_util.flatten_dict(params["base"], sep="/")
    adapters = traverse_util.flatten_dict(params["adapters"], sep="/")
    for path in sorted({name.rpartition("/")[0] for name in adapters}):
      a, b = adapters[f"{path}/a"], adapters[f"{path}/b"]
      kernel = kernels[f"{path}/kernel"]
      product = jnp.einsum("nir,nro->nio", _flat(a, last=1), _flat(b, first=2)) * self.scale
      first, last = self._layers(path, kernel.shape[0])
      product = product.reshape(last - first, *kernel.shape[1:])
      kernels[f"{path}/kernel"] = kernel.at[first:last].add(product.astype(kernel.dtype))
    return traverse_util.unflatten_dict(kernels, sep="/")

  def _adapters(self, key: jax.Array, base: Any) -> dict[str, Any]:
    found = {}
    for name, box in traverse_util.flatten_dict(base).items():
      *path, last = name
      joined = "/".join(path)
      if last != "kernel" or "stacked" not in path or not self._layers(joined, 1 << 30):
        continue
      shape, names = box.value.shape, box.names
      first, end = self._layers(joined, shape[0])
      inputs = 1 + input_axes(name, len(shape))
      size = end - first
      normal = nn.initializers.normal(math.prod(shape[1:inputs]) ** -0.5)
      key, own = jax.random.split(key)
      a, b = (size, *shape[1:inputs], self.rank), (size, self.rank, *shape[inputs:])
      found |= {
        (*path, "a"): box.replace(value=normal(own, a), names=(*names[:inputs], None)),
        (*path, "b"): box.replace(value=jnp.zeros(b), names=(names[0], None, *names[inputs:])),
      }
    if not found:
      raise UserError("lora.targets: no kernel's path holds one of the patterns")
    return traverse_util.unflatten_dict(found)

  def _layers(self, path: str, count: int) -> tuple[int, int] | None:
    """Which layers of a kernel are adapted, the first and the one after the last; None: none."""
    for pattern, first, last in self._targets:
      if pattern.search(path):
        if last is not None and last >= count:
          raise UserError(f"lora.targets: {path} has no layer {last}, only 0-{count - 1}")
        return (0, count) if last is None else (first, last + 1)
    return None


def adapters_only(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
  """The optimizer for the adapters; `base` stays as it is, and has no state."""

  def label(params: Mapping[str, Any]) -> dict[str, Any]:
    return {side: jax.tree.map(lambda _, side=side: side, tree) for side, tree in params.items()}

  return optax.partition({"adapters": optimizer, "base": optax.set_to_zero()}, label)


def _parse(target: str) -> tuple[re.Pattern, int | None, int | None]:
  """The pattern, and the first and the last layer if they are told."""
  found = _TARGET.fullmatch(target)
  text, first, last = found.groups() if found else ("", None, None)
  if not found or (last is not None and int(last) < int(first)):
    raise UserError(f"lora.targets: '{target}' is neither REGEX nor 'REGEX FIRST-LAST'")
  try:
    pattern = re.compile(text)
  except re.error as error:
    raise UserError(f"lora.targets: '{text}' is no regular expression ({error})") from error
  return (pattern, None, None) if last is None else (pattern, int(first), int(last))


def _flat(x: jax.Array, first: int = 1, last: int = 0) -> jax.Array:
  """An array whose axes between the `first` ones and the `last` ones are one."""
  end = x.ndim - last
  return x.reshape(*x.shape[:first], -1, *x.shape[end:])
