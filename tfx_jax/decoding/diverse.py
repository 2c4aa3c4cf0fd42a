"""Diverse beam search: groups of beams, each discouraged from the tokens of earlier groups.

This is the search of Vijayakumar et al. (2016, arXiv:1610.02424) with Hamming diversity. Each of G
groups is a beam search over W / G beams, as in `decoding/beam.py`. At every step the groups choose
their tokens in order. A group ranks its continuations by their log-probability minus

    diversity_penalty * (number of live beams of earlier groups that chose the same token just now).

The penalty affects this choice only: neither the sums of the beams nor the scores of hypotheses
contain it. A live beam never holds EOS, so ending is never penalized.

All beams of a row continue until no group's pool can change. So stopping does not change the
result, as in plain beam search.
"""

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding import beam
from tfx_jax.decoding.beam import BeamSettings, BeamState, EndPenalty
from tfx_jax.decoding.loop import Cache, Step, run_steps


@struct.dataclass
class DiverseSettings:
  """Settings of a diverse beam search. All but the number of groups are traced.

  Attributes:
    beam: settings of the beam search of each group.
    diversity_penalty: scalar, above 0.
    groups: G.
  """

  beam: BeamSettings
  diversity_penalty: jax.Array
  groups: int = struct.field(pytree_node=False)


@struct.dataclass
class DiverseState:
  """Progress of a diverse beam search.

  Attributes:
    groups: state of each group; the same rows are finished in all of them.
  """

  groups: tuple[BeamState, ...]

  @property
  def length(self) -> jax.Array:
    """Tokens so far, int32 scalar."""
    return self.groups[0].length

  @property
  def capacity(self) -> int:
    """Most tokens of an output, T."""
    return self.groups[0].capacity

  @property
  def finished(self) -> jax.Array:
    """Finished rows, bool [B]."""
    return self.groups[0].finished

  @property
  def last_elements(self) -> jax.Array:
    """Newest token of each live beam, int32 [B,W]."""
    return _join([group.last_elements for group in self.groups])

  @property
  def parents(self) -> jax.Array:
    """Beam of the previous step that each live beam continues, int32 [B,W]."""
    # A group numbers its beams from 0; the model has the beams of all groups side by side.
    width = self.groups[0].parents.shape[1]
    return _join([group.parents + i * width for i, group in enumerate(self.groups)])


def begin(
  logits: jax.Array,
  settings: DiverseSettings,
  active: jax.Array,
  *,
  width: int,
  num_return: int,
  capacity: int,
  end_penalty: jax.Array | None = None,
) -> DiverseState:
  """Starts a search and expands it by the first token; arguments as for `beam.begin`.

  Each of G groups keeps `num_return` / G hypotheses, rounded up.
  """
  rows, vocab = logits.shape
  group_width = width // settings.groups
  group_return = -(-num_return // settings.groups)  # rounded up
  empty = beam.empty(active, group_width, group_return, capacity)
  logits = jnp.broadcast_to(logits[:, None], (rows, width, vocab))  # [B,V] -> [B,W,V]
  return expand(DiverseState((empty,) * settings.groups), logits, settings, end_penalty)


def advance(
  step: Step,
  state: DiverseState,
  cache: Cache,
  settings: DiverseSettings,
  steps: jax.Array | int,
  end_penalty: EndPenalty | None = None,
) -> tuple[DiverseState, Cache]:
  """Adds at most `steps` tokens; stops before if every row is finished. See `loop.run_steps`."""

  def add_token(state: DiverseState, logits: jax.Array, cache: Cache) -> DiverseState:
    # From the cache after the step, so that the penalty includes the newest token.
    return expand(state, logits, settings, None if end_penalty is None else end_penalty(cache))

  return run_steps(add_token, step, state, cache, steps)


def expand(
  state: DiverseState,
  logits: jax.Array,
  settings: DiverseSettings,
  end_penalty: jax.Array | None = None,
) -> DiverseState:
  """Expands every live beam by one token, group by group; arguments as for `beam.expand`."""
  rows, width, vocab = logits.shape
  group_width = width // settings.groups
  # How many live beams of the groups before have chosen each token at this step.
  counts = jnp.zeros((rows, vocab))  # [B,V]
  expanded = []
  for i, group in enumerate(state.groups):
    beams = slice(i * group_width, (i + 1) * group_width)
    group = beam.expand(
      group,
      logits[:, beams],  # [B,W,V] -> [B,W/G,V]
      settings.beam,
      None if end_penalty is None else end_penalty[:, beams],  # [B,W] -> [B,W/G]
      settings.diversity_penalty * counts,  # [B,V], zero for the first group
    )
    expanded.append(group)
    chosen = jax.nn.one_hot(group.last_elements, vocab)  # [B,W/G] -> [B,W/G,V]
    # An empty beam has chosen nothing, whatever token stands in it.
    live = jnp.isfinite(group.live_sum)  # [B,W/G]
    counts += jnp.where(live[..., None], chosen, 0.0).sum(axis=1)  # [B,W/G,V] -> [B,V]
  # A group whose pool is final still continues, because its tokens count for the others.
  finished = jnp.stack([group.finished for group in expanded]).all(axis=0)  # [G,B] -> [B]
  return DiverseState(tuple(beam.finish_rows(group, finished) for group in expanded))


def _join(parts: list[jax.Array]) -> jax.Array:
  """Joins arrays of all groups along the hypotheses: G times [B,W/G,...] -> [B,W,...]."""
  return jnp.concatenate(parts, axis=1)
