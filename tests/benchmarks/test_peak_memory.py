import os

import jax.numpy as jnp
import numpy as np
import pytest
from systems.memory import Memory


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="Linux only")
def test_memory_freed_before_is_not_counted():
  before = np.ones(100 << 20, np.uint8)
  held = jnp.ones(50 << 20, jnp.uint8).block_until_ready()
  del before
  memory = Memory()
  memory.begin()
  for_a_moment = np.ones(30 << 20, np.uint8)
  del for_a_moment
  # The array of JAX, and what was there for a moment; little else.
  assert (50 + 30) * 1.048 - 5 < memory.mb() < (50 + 30) * 1.048 + 15
  assert held.nbytes == 50 << 20
