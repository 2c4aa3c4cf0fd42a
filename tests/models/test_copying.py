"""What a copy head is for: tokens that training never wrote."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.data.packing import pack
from tfx_jax.training.state import TrainState, init_params

STEPS, ROWS = 400, 32
COMMON = "abcdefgh"
RARE, UNSEEN = ([chr(first + i) for i in range(100)] for first in (0x4E00, 0x5E00))
TOKENIZER = CharacterTokenizer("".join([COMMON, *RARE, *UNSEEN]))


def words(count, seed, others):
  """Words of common letters but for one, which is one of `others`."""
  rng = np.random.default_rng(seed)
  for _ in range(count):
    word = rng.choice(list(COMMON), rng.integers(3, 7))
    word[rng.integers(len(word))] = rng.choice(others)
    yield "".join(word)


def share_copied(**settings):
  """Trains to repeat words; the share of words with unseen letters that beam search repeats."""
  changes = {f"model.{name}": value for name, value in settings.items()}
  config = make_config(
    {"model.features": 32, "model.tie_output": False, "train.num_steps": STEPS} | changes
  )
  tokenizers = (TOKENIZER, TOKENIZER)
  model, parallel = builders.make_model(config, tokenizers), builders.make_parallel(config)
  optimizer, schedule = builders.make_optimization(config)
  step = jax.jit(builders.make_step(config, model, optimizer, schedule, parallel), donate_argnums=0)

  state = None
  for seed in range(STEPS):
    ids = [[[*ids, EOS]] for ids in TOKENIZER.encode(list(words(ROWS, seed, RARE)))]
    batch = pack(ids, ids, 8, 8)
    if state is None:
      params = nn.unbox(jax.jit(lambda batch: init_params(model, 0, batch))(batch))
      state = TrainState(np.int32(0), params, optimizer.init(params), None)
    state, _ = step(state, batch)
  texts = list(words(100, STEPS, UNSEEN))
  found = builders.make_generator(config, model, tokenizers, parallel)(state.params, texts)
  return np.mean([best[0].text == text for best, text in zip(found, texts, strict=True)])


@pytest.mark.slow
def test_what_was_never_written_can_be_copied():
  assert share_copied(copy_head=True) > 0.5
  assert share_copied(copy_head=False) == 0.0
