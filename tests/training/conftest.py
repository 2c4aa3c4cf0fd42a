"""States of a run and what saves them."""

import contextlib

import pytest
from support.saved_state import Run

from tfx_jax.training.checkpoints.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def run():
  return Run(fsdp=8)


@pytest.fixture
def save(tmp_path, run):
  def save(best_of, keep=1):
    """Saves the steps of a dict step -> best step so far."""
    with contextlib.closing(Checkpoints(str(tmp_path), keep)) as checkpoints:
      for step, best in best_of.items():
        checkpoints.save(run.state(step), {"best_step": best})

  return save
