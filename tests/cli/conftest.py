"""A run that may be changed, and commands that draw nothing."""

import shutil

import pytest

from tfx_jax.cli import evaluate, train


@pytest.fixture
def copy(trained, tmp_path):
  """The experiment, and a run that may be changed."""
  shutil.copytree(trained[1], tmp_path / "run")
  return trained[0], str(tmp_path / "run")


@pytest.fixture
def without_curves(monkeypatch):
  for command in (train, evaluate):
    monkeypatch.setattr(command, "draw_curves", lambda workdir: None)
