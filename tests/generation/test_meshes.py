"""Texts, scores and losses are the same however the work is divided."""

import types

import jax
import numpy as np
import pytest

from tfx_jax import builders
from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.data.corpus import prepare
from tfx_jax.data.example import Example
from tfx_jax.data.loader import Loader
from tfx_jax.evaluation.evaluate import loss_metrics
from tfx_jax.evaluation.score import Scorer
from tfx_jax.models.parameters import EXAMPLE
from tfx_jax.parallel import Parallel
from tfx_jax.training.objective import TokenObjective
from tfx_jax.training.state import plan_params
from tfx_jax.training.step import make_loss_step

MIXED = {"data": 1, "fsdp": 2, "tensor": 2, "sequence": 2}
TEXTS = ["ab cd", "", "fedcba ab", "a", "bc d ef a", "dd"]
PAIRS = [([5, 6, 7, EOS], [8, 9, EOS]), ([4, EOS], [7, 7, 4, 6, EOS]), ([9, 8, EOS], [EOS])] * 3
CHANGES = {"beam_size": 2, "num_return": 2, "max_source_length": 8, "batch_size": 8}


def on_one_device(monkeypatch):
  """A mesh of one device."""
  first = jax.devices()[:1]
  with monkeypatch.context() as patch:
    patch.setattr(jax, "device_count", lambda: 1)
    patch.setattr(jax, "devices", lambda: first)
    return Parallel()


def results(small, parallel, folder):
  """What is generated, with its scores; scores of pairs; and the figures of the loss."""
  tokenizer = small.tokenizer
  _, shardings = plan_params(small.model, EXAMPLE, parallel)
  params = jax.device_put(small.params, shardings)
  generator = builders.make_generator(small.config, small.model, (tokenizer, tokenizer), parallel)
  found = [h for texts in generator(params, TEXTS, **CHANGES) for h in texts]
  scorer = Scorer(small.model, parallel, small.layout, 8)
  corpus = prepare(
    [Example(text, text[::-1]) for text in TEXTS if text], "f", tokenizer, tokenizer, folder, 24, 24
  )
  loader = Loader(
    lambda epoch: corpus, 0, small.layout, 8, parallel.local_shards, parallel.batch_shards
  )
  loss_step = parallel.jit(
    make_loss_step(TokenObjective(small.model, device_parts=parallel.batch_parts))
  )
  return types.SimpleNamespace(
    texts=[h.text for h in found],
    log_probs=[h.log_prob for h in found],
    scores=scorer(params, *zip(*PAIRS, strict=True)),
    figures=loss_metrics(loss_step, params, loader, parallel),
  )


@pytest.mark.parametrize("kind", ["small", "alone"])
def test_a_mesh_changes_no_text_no_score_and_no_loss(kind, request, tmp_path, monkeypatch):
  small = request.getfixturevalue(kind)
  expected = results(small, on_one_device(monkeypatch), str(tmp_path))
  found = results(small, Parallel(**MIXED), str(tmp_path))
  assert found.texts == expected.texts and len(set(found.texts)) > 4
  np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-4)
  np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
  assert found.figures == pytest.approx(expected.figures, rel=1e-5)
