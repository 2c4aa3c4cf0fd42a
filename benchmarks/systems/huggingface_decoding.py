"""Decoding of a Marian model with random weights by Hugging Face's `generate`."""

import os
from collections.abc import Callable

import numpy as np
from sentences import pad

from systems.marian import make_marian
from systems.sources import read_rounds


def make(
  folder: str,
  per_round: int,
  beam: int,
  tokens: int,
  size: tuple[int, int, int, int],
  vocab_size: int,
  rows: int,
  threads: int,
) -> tuple[Callable, dict]:
  """Makes rounds of exactly `tokens` tokens per source, `rows` similarly long sources per batch."""
  import torch
  import transformers

  from tfx_jax.codecs.special_tokens import PAD

  torch.set_num_threads(threads)
  transformers.logging.set_verbosity_error()
  model = make_marian(size, vocab_size, dropout=0.0).eval()
  part = read_rounds(folder, per_round)

  def run(number: int) -> dict:
    sources = sorted(part(number), key=len)
    lengths = []
    for start in range(0, len(sources), rows):
      inputs = torch.from_numpy(pad([np.array(x) for x in sources[start : start + rows]])).long()
      with torch.inference_mode():
        outputs = model.generate(
          input_ids=inputs,
          attention_mask=(inputs != PAD).long(),
          num_beams=beam,
          do_sample=False,
          min_new_tokens=tokens,
          max_new_tokens=tokens,
        )
      lengths += [outputs.shape[1] - 1] * len(outputs)
    assert set(lengths) == {tokens}, f"outputs have {set(lengths)} tokens"
    return {"output_tokens": sum(lengths), "lengths": lengths}

  facts = {"transformers": transformers.__version__, "torch": torch.__version__}
  return run, facts | {"malloc": os.environ.get("MALLOC_MMAP_MAX_") == "0"}
