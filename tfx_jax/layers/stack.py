"""A stack of layers whose parameters are stacked [L,…], whether it is scanned or unrolled."""

from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.core
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.common.tree import Tree
from tfx_jax.errors import UserError
from tfx_jax.layers import axes, cpu_layout
from tfx_jax.layers.block import Context
from tfx_jax.layers.cache import LayerCache
from tfx_jax.layers.position import limit_to_window

REMAT_POLICIES = {
  "none": None,
  "full": jax.checkpoint_policies.nothing_saveable,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Stack(nn.Module):
  """Runs `num_layers` blocks [B,T,D] -> [B,T,D], and a norm after the last.

  Layers are functions of their parameters, `block.apply(params, x)`, run by `jax.lax.scan` or in a
  Python loop, with or without `jax.checkpoint`. Linen's `nn.scan` and a loop over modules would
  name and shape parameters differently; here they do not depend on how the stack is run, so that a
  checkpoint of a scanned run can be decoded unrolled.

  Attributes:
    block: makes one layer.
    num_layers: L.
    final_norm: makes the norm after the last layer, or None (post-norm layers end with their own).
    relative: makes the relative position bias that all layers share, or None.
    windows: attention window of each layer: how many positions back a query sees, itself included;
      0 for all. None: all layers see all.
    scan: whether layers are run by one scanned program (quick to compile) or unrolled (quick to
      run). Decoding is always unrolled.
    remat: activations of a layer that are saved for the backward pass, a key of
      `REMAT_POLICIES`.
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
      memory: [B,S,D], read by cross-attention.
      keep: whether to return keys and values; otherwise the list is empty.
      alignment_layer: layer whose cross-attention weights are returned with its keys and values,
        -1 for the last, or None.

    Raises:
      UserError: if there is no such layer.
    """
    if alignment_layer is not None:
      alignment_layer = self._layer_number(alignment_layer)
    index = jnp.arange(x.shape[1])
    bias_for, windows = self._biases(index, index), self._windows()
    params = self.layers(x, context, memory)
    keys = jax.random.split(self.make_rng("dropout"), self.num_layers) if self._training() else None
    block = self.block(parent=None)

    def layer(
      x: jax.Array,
      params: Tree,
      key: jax.Array | None,
      window: jax.Array | None,
      keep_attended: bool,
    ) -> tuple[jax.Array, LayerCache]:
      rngs = {} if key is None else {"dropout": key}
      layer_context = context.replace(bias=bias_for(window))
      result = block.apply(
        {"params": params}, x, layer_context, memory, None, keep_attended, rngs=rngs
      )
      return cast(tuple[jax.Array, LayerCache], result)

    if self.remat != "none":
      policy = REMAT_POLICIES[self.remat]
      # In a scan XLA cannot merge the recomputation with the forward pass, so needs no barrier.
      layer = jax.checkpoint(layer, policy=policy, prevent_cse=not self.scan, static_argnums=4)
    # Where the whole program is traced, L equal layers are traced and lowered once, forward and
    # backward. Alone, each call would compile its own program.
    if isinstance(x, jax.core.Tracer):
      layer = jax.jit(layer, static_argnums=4)
    # A scan returns stacked arrays, but caches are per layer; unstacked layers cannot be scanned.
    if self.scan and not keep and not cpu_layout.is_unstacked(params):
      each = params, keys, windows
      x, _ = jax.lax.scan(lambda x, args: (layer(x, *args, False)[0], None), x, each)
      return self._finish(x), []
    caches = []
    for index, layer_params in enumerate(cpu_layout.unstack(params)):
      key = None if keys is None else keys[index]
      window = None if windows is None else windows[index]
      x, cache = layer(x, layer_params, key, window, index == alignment_layer)
      caches.append(cache)
    return self._finish(x), caches if keep else []

  def decode(
    self,
    x: jax.Array,
    context: Context,
    caches: Sequence[LayerCache],
    query_index: jax.Array,
    key_index: jax.Array,
  ) -> tuple[jax.Array, list[LayerCache]]:
    """Runs one decode step of W beams: [B,W,D] -> [B,W,D], with the caches that now hold it.

    Args:
      x: [B,W,D].
      context: its `bias` is filled in here.
      caches: cache of each layer.
      query_index: row index of the step, [1].
      key_index: row indices of the caches' slots, [S].
    """
    bias_for, windows = self._biases(query_index, key_index), self._windows()
    block, written = self.block(parent=None), []

    # Traced and lowered once: Python is a good part of what a new program costs.
    @jax.jit
    def layer(
      params: Tree, x: jax.Array, context: Context, cache: LayerCache
    ) -> tuple[jax.Array, LayerCache]:
      result = block.apply({"params": params}, x, context, None, cache)
      return cast(tuple[jax.Array, LayerCache], result)

    layers = cpu_layout.unstack(self.layers())
    for index, (params, cache) in enumerate(zip(layers, caches, strict=True)):
      window = None if windows is None else windows[index]
      x, cache = layer(params, x, context.replace(bias=bias_for(window)), cache)
      written.append(cache)
    return self._finish(x), written

  def _biases(self, query: jax.Array, key: jax.Array) -> Callable:
    """Returns a function window -> bias of a layer's scores, [1,N,T,S], [1,1,T,S] or None.

    The relative bias, which all layers share, is computed once.
    """
    shared = None if self.relative is None else self.relative_bias(query, key)
    return lambda window: shared if window is None else limit_to_window(window, query, key, shared)

  def _windows(self) -> jax.Array | None:
    """Attention window per layer [L]; int32 max where unbounded."""
    if self.windows is None:
      return None
    return jnp.asarray([window or jnp.iinfo(jnp.int32).max for window in self.windows], jnp.int32)

  def _finish(self, x: jax.Array) -> jax.Array:
    return x if self.final_norm is None else self.norm(x)

  def _layer_number(self, layer: int) -> int:
    """Returns the number from 0 of a layer that may be counted from the end."""
    if not -self.num_layers <= layer < self.num_layers:
      raise UserError(
        f"alignment_layer={layer}: use {-self.num_layers} to {self.num_layers - 1}, "
        f"for there are {self.num_layers} layers"
      )
    return layer % self.num_layers

  def _training(self) -> bool:
    return self.has_rng("dropout")


class _Layers(nn.Module):
  """Holds the blocks' parameters, stacked [L,…]; a call returns them.

  While initialising, the call's arguments are an example input of a block.
  """

  block: Callable[..., nn.Module]
  num_layers: int

  @nn.compact
  def __call__(self, *example: Tree) -> Tree:
    if not self.is_initializing():
      return self.get_variable("params", cpu_layout.STACKED)

    def init(key: jax.Array) -> Tree:
      block, keys = self.block(parent=None), jax.random.split(key, self.num_layers)
      params = jax.vmap(lambda key: block.init(key, *example)["params"])(keys)
      return jax.tree.map(
        lambda box: box.replace(names=(axes.LAYERS, *box.names)),
        params,
        is_leaf=lambda x: isinstance(x, nn.Partitioned),
      )

    return nn.unbox(self.param(cpu_layout.STACKED, init))
