"""A stack of layers whose parameters are stacked [L,…], however it is run."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.errors import UserError
from tfx_jax.layers import axes
from tfx_jax.layers.block import Context
from tfx_jax.layers.cache import LayerCache
from tfx_jax.layers.position import within
from tfx_jax.layers.thin_products import turned, turned_back

REMAT_POLICIES = {
  "none": None,
  "full": jax.checkpoint_policies.nothing_saveable,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
_STACKED = "stacked"


class Stack(nn.Module):
  """`num_layers` blocks and what belongs to them together.

  Attributes:
    block: makes one layer.
    num_layers: L.
    final_norm: makes the norm after the last layer, or None (post-norm stacks have their own).
    relative: makes the bias by distance that all layers share, or None.
    windows: of each layer, how many places back a query sees, its own counted, 0: all; or None.
    scan: whether layers are run by one scanned program (quick to compile) or unrolled (quick to
      run); the parameters are the same. Decoding is always unrolled.
    remat: what the backward pass finds saved of a layer: a key of `REMAT_POLICIES`.
  """

  block: Callable[..., nn.Module]
  num_layers: int
  final_norm: Callable[[], nn.Module] | None = None
  relative: Callable[[], nn.Module] | None = None
  scan: bool = False
  remat: str = "none"
  windows: Sequence[int] | None = None

  def setup(self):
    self.layers = _Layers(self.block, self.num_layers)
    if self.relative is not None:
      self.relative_bias = self.relative()
    if self.final_norm is not None:
      self.norm = self.final_norm()

  def __call__(
    self,
    x: jax.Array,
    context: Context,
    memory: jax.Array | None = None,
    *,
    keep: bool = False,
    alignment_layer: int | None = None,
  ) -> tuple[jax.Array, list[LayerCache]]:
    """Runs whole sequences: [B,T,D] -> [B,T,D], with each layer's keys and values if `keep`.

    Args:
      x: [B,T,D].
      context: its `bias` is filled in here.
      memory: [B,S,D], what cross-attention reads.
      keep: whether keys and values are returned; else an empty list.
      alignment_layer: the layer that keeps its weights on the memory as well, -1 the last, or None.

    Raises:
      UserError: if there is no such layer.
    """
    if alignment_layer is not None:
      alignment_layer = self._number(alignment_layer)
    index = jnp.arange(x.shape[1])
    biases = self._biases(index, index)
    params = self.layers(x, context, memory)
    keys = jax.random.split(self.make_rng("dropout"), self.num_layers) if self._training() else None

    block = self.block(parent=None)

    def layer(
      x: jax.Array,
      params: Any,
      key: jax.Array | None,
      window: jax.Array | None,
      keep_attended: bool,
    ) -> tuple[jax.Array, LayerCache]:
      rngs = {} if key is None else {"dropout": key}
      own = context.replace(bias=biases(window))
      return block.apply({"params": params}, x, own, memory, None, keep_attended, rngs=rngs)

    if self.remat != "none":
      policy = REMAT_POLICIES[self.remat]
      layer = jax.checkpoint(layer, policy=policy, prevent_cse=not self.scan, static_argnums=4)
    kept = []
    if self.scan and not keep and not isinstance(params, list):
      each = params, keys, self._windows()
      x, _ = jax.lax.scan(lambda x, args: (layer(x, *args, False)[0], None), x, each)
    else:
      for index, layer_params in enumerate(_apart(params)):
        key = None if keys is None else keys[index]
        window = None if self.windows is None else self._windows()[index]
        x, cache = layer(x, layer_params, key, window, index == alignment_layer)
        kept.append(cache)
    return self._finish(x), kept if keep else []

  def decode(
    self,
    x: jax.Array,
    context: Context,
    caches: Sequence[LayerCache],
    query_index: jax.Array,
    key_index: jax.Array,
  ) -> tuple[jax.Array, list[LayerCache]]:
    """Runs one step of W beams [B,W,D] on the layers' caches; returns them with the step written.

    `query_index` [1] and `key_index` [S] are the row indices of the step and of the cache's slots.
    """
    biases = self._biases(query_index, key_index)
    block, written = self.block(parent=None), []
    layers = _apart(self.layers())
    windows = [None] * self.num_layers if self.windows is None else self._windows()
    for params, window, cache in zip(layers, windows, caches, strict=True):
      x, cache = block.apply(
        {"params": params}, x, context.replace(bias=biases(window)), None, cache
      )
      written.append(cache)
    return self._finish(x), written

  def _biases(self, query: jax.Array, key: jax.Array) -> Callable:
    """What is added to a layer's scores [1,N|1,T,S], by its window."""
    shared = None if self.relative is None else self.relative_bias(query, key)
    return lambda window: shared if window is None else within(window, query, key, shared)

  def _windows(self) -> jax.Array | None:
    """Of each layer [L]; all that there is where it is not bounded."""
    if self.windows is None:
      return None
    return jnp.asarray([window or jnp.iinfo(jnp.int32).max for window in self.windows], jnp.int32)

  def _finish(self, x: jax.Array) -> jax.Array:
    return x if self.final_norm is None else self.norm(x)

  def _number(self, layer: int) -> int:
    """The number from 0 of a layer that may be counted from the end."""
    if not -self.num_layers <= layer < self.num_layers:
      raise UserError(
        f"alignment_layer={layer}: use {-self.num_layers} to {self.num_layers - 1}, "
        f"for there are {self.num_layers} layers"
      )
    return layer % self.num_layers

  def _training(self) -> bool:
    return self.has_rng("dropout")


class _Layers(nn.Module):
  """The blocks' parameters, each leaf stacked [L,…]; initialised by running one on examples."""

  block: Callable[..., nn.Module]
  num_layers: int

  @nn.compact
  def __call__(self, *example: Any) -> Any:
    if not self.is_initializing():
      return self.get_variable("params", _STACKED)

    def init(key: jax.Array) -> Any:
      block, keys = self.block(parent=None), jax.random.split(key, self.num_layers)
      params = jax.vmap(lambda key: block.init(key, *example)["params"])(keys)
      return jax.tree.map(
        lambda box: box.replace(names=(axes.LAYERS, *box.names)),
        params,
        is_leaf=lambda x: isinstance(x, nn.Partitioned),
      )

    return nn.unbox(self.param(_STACKED, init))


def prepared_stack(params: Any, *, few_rows: bool) -> Any:
  """The parameters of a stack as it decodes fastest; it takes them for its own, and runs unrolled.

  On a CPU each layer's are for themselves, in a list, or every program would copy them out of
  [L,…]. Elsewhere they are left as they are: a second copy may be more than there is room for.

  Args:
    params: of the stack.
    few_rows: whether its products have so few rows that it matters how weights lie.
  """
  if jax.default_backend() != "cpu":
    return params
  layers = params["layers"]
  apart = _apart(layers[_STACKED])
  if few_rows:
    apart = [turned(layer) for layer in apart]
  return {**params, "layers": {**layers, _STACKED: apart}}


def _apart(params: Any) -> list[Any]:
  """One tree per layer of leaves stacked [L,…]; its gradient is a concatenation, not a sum."""
  if isinstance(params, list):
    return [turned_back(layer) for layer in params]
  leaves, tree = jax.tree.flatten(params)
  pieces = [[jnp.squeeze(piece, 0) for piece in jnp.split(leaf, len(leaf))] for leaf in leaves]
  return [jax.tree.unflatten(tree, layer) for layer in zip(*pieces, strict=True)]
