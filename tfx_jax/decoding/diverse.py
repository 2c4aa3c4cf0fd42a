"""Diverse beam search: groups of beams, each kept from the words of the groups before it.

This is the search of Vijayakumar et al. (2016, arXiv:1610.02424) with Hamming diversity. Each of G
groups is a beam search of its own, over W / G beams, as `decoding/beam.py` has it. At every step
they choose one after the other. A group ranks its continuations by their log-probability less

    diversity_penalty * (how many live beams of earlier groups have just chosen the same token).

The difference counts for that choice alone: neither the sums that beams carry on nor the scores of
hypotheses hold it. EOS is no live beam's token, so ending is never penalised.

A row goes on until no group's pool can change, and until then all its beams do. So the result is
the same as without the stop here, too.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding import beam
from tfx_jax.decoding.beam import BeamSettings, BeamState, Ending
from tfx_jax.decoding.loop import Step, go_on


@struct.dataclass
class DiverseSettings:
  """Numbers of the search; they are traced, but for the number of groups.

  Attributes:
    beam: of each group's search.
    diversity_penalty: scalar, above 0.
    groups: G.
  """

  beam: BeamSettings
  diversity_penalty: jax.Array
  groups: int = struct.field(pytree_node=False)


@struct.dataclass
class DiverseState:
  """Where the search stands.

  Attributes:
    groups: of each group; in all of them the same rows are finished.
  """

  groups: tuple[BeamState, ...]

  @property
  def length(self) -> jax.Array:
    """Tokens so far, int32 scalar."""
    return self.groups[0].length

  @property
  def room(self) -> int:
    """T."""
    return self.groups[0].room

  @property
  def finished(self) -> jax.Array:
    """Bool [B]."""
    return self.groups[0].finished

  @property
  def last_tokens(self) -> jax.Array:
    """The newest token of each live beam, [B,W]."""
    return _join([group.last_tokens for group in self.groups])

  @property
  def parents(self) -> jax.Array:
    """The beam of the step before that each live beam continues, int32 [B,W]."""
    width = self.groups[0].parents.shape[1]
    return _join([group.parents + i * width for i, group in enumerate(self.groups)])

  @property
  def done_tokens(self) -> jax.Array:
    """Hypotheses of all groups, int32 [B,R,T], in the order of the groups; `NO_TOKEN` after EOS."""
    return _join([group.done_tokens for group in self.groups])

  @property
  def done_score(self) -> jax.Array:
    """[B,R], minus infinity for an empty place."""
    return _join([group.done_score for group in self.groups])

  @property
  def done_log_prob(self) -> jax.Array:
    """[B,R], of the model."""
    return _join([group.done_log_prob for group in self.groups])


def begin(
  logits: jax.Array,
  settings: DiverseSettings,
  active: jax.Array,
  *,
  width: int,
  num_return: int,
  length: int,
  at_end: jax.Array | None = None,
) -> DiverseState:
  """As `beam.begin`; each of G groups keeps `num_return` / G hypotheses, rounded up."""
  rows, vocab = logits.shape
  own = width // settings.groups
  empty = beam.empty(active, own, -(-num_return // settings.groups), length)
  logits = jnp.broadcast_to(logits[:, None], (rows, width, vocab))
  return expand(DiverseState((empty,) * settings.groups), logits, settings, at_end)


def advance(
  step: Step,
  state: DiverseState,
  cache: Any,
  settings: DiverseSettings,
  steps: jax.Array,
  ending: Ending | None = None,
) -> tuple[DiverseState, Any]:
  """Goes on for at most `steps` tokens, or until every row is finished."""

  def one_more(state: DiverseState, logits: jax.Array, cache: Any) -> DiverseState:
    return expand(state, logits, settings, None if ending is None else ending(cache))

  return go_on(one_more, step, state, cache, steps)


def expand(
  state: DiverseState,
  logits: jax.Array,
  settings: DiverseSettings,
  at_end: jax.Array | None = None,
) -> DiverseState:
  """Continues every live beam by one token, group by group; arguments as of `beam.expand`."""
  rows, width, vocab = logits.shape
  own = width // settings.groups
  chosen, grown = jnp.zeros((rows, vocab)), []
  for i, group in enumerate(state.groups):
    mine = slice(i * own, (i + 1) * own)
    group = beam.grow(
      group,
      logits[:, mine],
      settings.beam,
      None if at_end is None else at_end[:, mine],
      settings.diversity_penalty * chosen,
    )
    grown.append(group)
    tokens = jax.nn.one_hot(group.last_tokens, vocab)
    chosen += jnp.where(jnp.isfinite(group.live_sum)[..., None], tokens, 0.0).sum(axis=1)
  finished = jnp.stack([group.finished for group in grown]).all(axis=0)
  return DiverseState(tuple(beam.release(group, finished) for group in grown))


def _join(parts: list[jax.Array]) -> jax.Array:
  return jnp.concatenate(parts, axis=1)
