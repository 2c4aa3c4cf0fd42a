import numpy as np

from tfx_jax.data.layout import EncoderDecoderLayout
from tfx_jax.data.packing import pack
from tfx_jax.evaluation.pairs import in_batches

LAYOUT = EncoderDecoderLayout(64, 64)


def test_every_pair_is_once_in_a_row_of_its_own_in_few_shapes():
  rng = np.random.default_rng(0)
  sources, targets = ([[*range(4, 4 + n)] for n in rng.integers(0, 60, 50)] for _ in range(2))
  seen, shapes = [], set()
  for members, batch in in_batches(LAYOUT, sources, targets, 8):
    seen += members
    shapes.add((batch["inputs"].shape, batch["targets"].shape))
    for row, member in enumerate(members):
      alone = pack(
        [[sources[member]]],
        [[targets[member]]],
        *(batch[k].shape[1] for k in ("inputs", "targets")),
      )
      for name, array in batch.items():
        np.testing.assert_array_equal(array[row], alone[name][0])
    assert not batch["weights"][len(members) :].any()
  assert sorted(seen) == [*range(50)]
  assert {n for (_, s), (_, t) in shapes for n in (s, t)} <= {16, 32, 64}
  assert list(in_batches(LAYOUT, [], [], 8)) == []
