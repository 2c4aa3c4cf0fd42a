"""Times decoding of Multi30k's test2016 by tfx_jax and other libraries, which take turns.

    python benchmarks/decode.py --size=tiny --beam=4 --peer=ctranslate2 --peer=huggingface
        [--peer=ctranslate2_int8] [--peer=ctranslate2_parallel] [--peer=flax] [--threads=2]
        [--rounds=5] [--batches=6] [--dtype=float32] [--no_allocator] [--peak=1.6e11]
        [--config.KEY=VALUE …]
    python benchmarks/decode.py --workdir=runs/multi30k [--lengths=exact] [--beam=1] …

Weights are random, of the same shapes, and each output has exactly 32 tokens, so all do the same
work. A round has `--batches` batches of 32 sentences, which each system may sort by length. Prints
a JSON line per system, then one of ratios. With `--workdir` only a trained run of tfx_jax decodes,
and its outputs end by themselves (EOS is counted) unless `--lengths=exact`.
"""

import json
import os
import tempfile
from typing import Any

import comparison
import flops
import numpy as np
import rounds
import summary
from sizes import SIZES, make_config, shape_of
from systems import flax_example

PEERS = {
  "ctranslate2": "ctranslate2",
  "ctranslate2_parallel": "ctranslate2",
  "ctranslate2_int8": "ctranslate2",
  "huggingface": "transformers",
  "flax": flax_example.FOLDER,
}
ROWS, TOKENS = 32, 32


def main() -> None:
  parser = comparison.make_parser(__doc__, PEERS)
  parser.add_argument("--batches", type=int, default=6, help="batches per round")
  parser.add_argument("--batch_size", type=int, default=ROWS, help="sentences per batch")
  parser.add_argument("--beam", type=int, default=4, help="1: greedy")
  parser.add_argument("--workdir", default="", help="workdir of a trained run")
  parser.add_argument("--lengths", choices=["exact", "natural"], help="lengths of outputs")
  options, overrides = comparison.parse(parser)
  if options.peer and options.workdir:
    parser.error("--workdir is of ours alone: leave out --peer")
  if options.lengths == "natural" and not options.workdir:
    parser.error("--lengths=natural needs --workdir: random weights end nowhere")
  tokens = 0 if options.workdir and options.lengths != "exact" else TOKENS
  config = _config(options, overrides)
  with tempfile.TemporaryDirectory() as folder:
    sources, vocab_size = write_sources(folder, options.workdir, config)
    per_round = options.batches * options.batch_size
    shared = {"folder": folder, "per_round": per_round, "beam": options.beam, "tokens": tokens}
    mine = shared | ({"workdir": options.workdir} if options.workdir else {})
    theirs = shared | {
      "size": SIZES[options.size],
      "vocab_size": vocab_size,
      "rows": options.batch_size,
    }
    target = "systems.ours:decode_trained" if options.workdir else "systems.ours:decode"
    specifications = [comparison.ours(options, target, mine)] + [
      comparison.peer(name, options, *_peer(name, theirs)) for name in options.peer
    ]
    figures, facts, peak = comparison.run(specifications, options)

  shape = shape_of(config, vocab_size)
  common = {"name": "decode", "size": options.workdir or options.size, "dtype": options.dtype}
  common |= {"threads": options.threads, "batches": options.batches, "beam": options.beam}
  common |= {"batch_size": options.batch_size, "lengths": "exact" if tokens else "natural"}
  lines = []
  for name, each in figures.items():
    by_round = [
      flops.decoding(shape, part(sources, f["round"], per_round), f.pop("lengths"), options.beam)
      for f in each
    ]
    found = summary.line(each, "output_tokens", by_round, peak)
    if "compilations" in each[0]:
      found["compilations"] = sum(f["compilations"] for f in each)
    lines.append(common | {"system": name} | found | {"peak": peak} | facts[name])
  comparison.show(lines, common | {"ratios": summary.ratios(figures, "output_tokens")})


def _peer(name: str, shared: dict[str, Any]) -> tuple[str, dict[str, Any]]:
  """Returns the function that makes a peer, and its arguments."""
  if "huggingface" in name:
    return "systems.huggingface_decoding:make", shared
  if "flax" in name:
    return "systems.flax_decoding:make", shared
  kinds = {"int8": "int8" in name, "side_by_side": "parallel" in name}
  return "systems.ctranslate2_decoding:make", shared | kinds


def _config(options: Any, overrides: list[str]) -> Any:
  if not options.workdir:
    config = make_config(options.size, options.dtype, overrides)
    config.generate.batch_size = options.batch_size
    return config
  from tfx_jax.config.override import override
  from tfx_jax.run import loading

  config = loading.read_config(options.workdir)
  config.model.dtype = options.dtype
  config.generate.batch_size = options.batch_size
  for word in overrides:
    key, _, text = word.removeprefix("--config.").partition("=")
    override(config, key, text)
  return config


def write_sources(folder: str, workdir: str, config: Any) -> tuple[np.ndarray, int]:
  """Writes the test set's sources of usual length as texts and as tokens.

  Args:
    folder: output folder; the configuration and, without a trained run, a new tokenizer are written
      there as well.
    workdir: workdir of the trained run, or "".
    config: our configuration.

  Returns:
    The number of tokens of each source with EOS, int [N], and V.
  """
  from tfx_jax import builders
  from tfx_jax.config import files as config_files

  config_files.write_config(folder, config)
  if workdir:
    tokenizers = builders.saved_tokenizers(config, workdir)
  else:
    tokenizers = builders.make_tokenizers(config, folder)
  texts = [example.source for example in builders.read_examples(config, "test")]
  layout = builders.make_layout(config, tokenizers)
  sources = [layout.source(ids) for ids in tokenizers[0].encode(texts)]
  longest = config.generate.max_source_length
  kept = [(t, s) for t, s in zip(texts, sources, strict=True) if t.strip() and len(s) <= longest]
  with open(os.path.join(folder, "texts.txt"), "w", encoding="utf-8") as file:
    file.write("\n".join(text for text, _ in kept) + "\n")
  with open(os.path.join(folder, "sources.json"), "w") as file:
    json.dump([ids for _, ids in kept], file)
  return np.array([len(ids) for _, ids in kept]), tokenizers[1].vocab_size


def part(items: Any, number: int, per_round: int) -> Any:
  """Returns the part of an array for round `number`; after the last part follows the first."""
  return items[np.arange(number * per_round, (number + 1) * per_round) % len(items)]


if __name__ == "__main__":
  rounds.report_errors(main)
