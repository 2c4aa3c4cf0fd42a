"""Makes what training needs, ahead of it."""

import json

from ml_collections import ConfigDict

from tfx_jax import build
from tfx_jax.commands.console import show
from tfx_jax.commands.workdir import opened
from tfx_jax.loading import load
from tfx_jax.processes import first_goes_ahead


def prepare(config: ConfigDict, workdir: str) -> int:
  """Makes the tokenizer and the tokenised corpora, ahead of training."""
  for split in build.SPLITS:
    build.make_reader(config, split)
  begin = config.train.init_from
  given = (lambda: load(begin).tokenizers) if begin else None
  with opened(config, workdir), first_goes_ahead("data"):
    tokenizers = build.make_tokenizers(config, workdir, given)
    for split in build.SPLITS:
      show(f"{split}: {json.dumps(build.make_corpus(config, split, tokenizers).report)}")
  return 0
