"""Memory layout of weights for CPU decoding, where matrix products have few rows.

A decode step multiplies B·W rows with every weight, so fetching the weights is most of its time.
`prepare` rewrites a parameter tree once per call of a generator; values stay the same. Two modules
read the result: `Stack` (a list of layers, through `unstack`) and `VocabularyHead` (`HEAD_TABLE`).
Measurements are in `benchmarks/NOTES.md`, "Memory layout of weights for CPU decoding".
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.common.tree import Tree

# Names in the parameter trees of models.
_ENCODER, _HEAD, _TARGET_EMBEDDINGS = "encoder_stack", "output", ("target_embed", "token_embed")
# Name of a stack's layers: leaves [L,…], or a list of L trees once prepared.
STACKED = "stacked"
# Name of a prepared head's table [D,V]; it replaces the table [V,D] of `VocabularyHead`.
HEAD_TABLE = "transposed_table"

# Smaller kernels are not transposed: a CPU's caches hold enough of them.
_MIN_INPUTS = 512
# Linux lists the processor's instruction sets here; other systems have no such file.
_CPU_INFO = "/proc/cpuinfo"


class Transposed(struct.PyTreeNode):
  """A kernel [I,O] stored transposed.

  Attributes:
    values: [O,I].
  """

  values: jax.Array


def prepare(params: Tree) -> Tree:
  """Rewrites a parameter tree for decoding on a CPU; on other devices returns it unchanged.

  * Every stack's leaves [L,…] become a list of L trees, so that decode steps do not copy slices.
  * Wide kernels of decoder stacks become `Transposed` where the processor reads them faster so. An
    encoder's products have many rows.
  * A vocabulary head gets its table as [D,V] where the processor reads that faster.

  Elsewhere than on a CPU it was not measured, and a second copy of the weights may not fit.

  Args:
    params: float parameters of a model (int8 weights dequantized, LoRA merged), or a tree of
      several models' parameters.
  """
  return _prepare(params, transpose=True) if jax.default_backend() == "cpu" else params


def _prepare(tree: Tree, *, transpose: bool) -> Tree:
  if isinstance(tree, list | tuple):
    return type(tree)(_prepare(subtree, transpose=transpose) for subtree in tree)
  if not isinstance(tree, Mapping):
    return tree
  prepared: dict[str, Tree] = {
    name: _prepare_layers(subtree, transpose)
    if name == STACKED
    else _prepare(subtree, transpose=transpose and name != _ENCODER)
    for name, subtree in tree.items()
  }
  table = _head_table(tree)
  if table is not None and reads_inputs_first():
    others = {name: x for name, x in prepared.get(_HEAD, {}).items() if name != "kernel"}
    prepared[_HEAD] = {**others, HEAD_TABLE: table.T}  # [V,D] -> [D,V]
  return prepared


def _prepare_layers(stacked: Tree, transpose: bool) -> list[Tree]:
  """Unstacks leaves [L,…] into L trees, and transposes their wide kernels if `transpose`."""
  layers = unstack(stacked)
  if not transpose or reads_inputs_first():
    return layers

  def transposed(path: tuple, x: jax.Array) -> jax.Array | Transposed:
    wide = path[-1].key == "kernel" and x.ndim == 2 and x.shape[0] >= _MIN_INPUTS
    return Transposed(x.T) if wide else x  # [I,O] -> [O,I]

  return [jax.tree.map_with_path(transposed, layer) for layer in layers]


def _head_table(tree: Mapping[str, Tree]) -> jax.Array | None:
  """Returns the table [V,D] of the head of a model's parameters; None if `tree` has no such head.

  A tied head has no kernel of its own and reads the target embedding's table.
  """
  embeddings = [tree.get(name, {}).get("embedding") for name in _TARGET_EMBEDDINGS]
  tied = next((x for x in embeddings if x is not None), None)
  return None if tied is None else tree.get(_HEAD, {}).get("kernel", tied)


def is_unstacked(layers: Tree) -> bool:
  """Returns whether `prepare` has made a list of a stack's layers."""
  return isinstance(layers, list)


def unstack(layers: Tree) -> list[Tree]:
  """Returns one tree of kernels [I,O], biases … per layer, for leaves [L,…] or prepared layers.

  Transposing prepared kernels back costs nothing in a compiled program: XLA's products read either
  layout.
  """
  if is_unstacked(layers):
    return [_untransposed(layer) for layer in layers]
  leaves, tree = jax.tree.flatten(layers)
  # The gradient of a split is one concatenation; that of L slices would be a sum of L arrays [L,…].
  slices = [[jnp.squeeze(x, 0) for x in jnp.split(leaf, len(leaf))] for leaf in leaves]
  return [jax.tree.unflatten(tree, layer) for layer in zip(*slices, strict=True)]


def _untransposed(layer: Tree) -> Tree:
  """Returns a layer's parameters with `Transposed` kernels [O,I] as plain ones [I,O]."""

  def is_transposed(x: object) -> bool:
    return isinstance(x, Transposed)

  return jax.tree.map(lambda x: x.values.T if is_transposed(x) else x, layer, is_leaf=is_transposed)


@functools.cache
def reads_inputs_first() -> bool:
  """Returns whether this CPU multiplies faster with weights [inputs,outputs]: one with AVX-512.

  Others are faster with wide kernels as [outputs,inputs].
  """
  try:
    with open(_CPU_INFO) as file:
      return "avx512f" in file.read()
  except OSError:
    return False
