"""Makes the tokenizer and the tokenized corpora ahead of training."""

import json

from ml_collections import ConfigDict

from tfx_jax import builders
from tfx_jax.cli.console import say, show
from tfx_jax.cli.workdir import opened
from tfx_jax.run.loading import load
from tfx_jax.runtime.processes import first_goes_ahead


def prepare(config: ConfigDict, workdir: str) -> int:
  """Makes the tokenizer and the corpora of all splits; prints a report of each."""
  for split in builders.SPLITS:
    builders.make_source(config, split)
  if line := builders.describe_held_out(config):
    say(line)
  begin = config.train.init_from
  given = (lambda: load(begin).codecs) if begin else None
  say("making the tokenizer and tokenizing the data")
  with opened(config, workdir), first_goes_ahead("data"):
    codecs = builders.make_codecs(config, workdir, given)
    for split in builders.SPLITS:
      show(f"{split}: {json.dumps(builders.make_corpus(config, split, codecs).report)}")
  return 0
