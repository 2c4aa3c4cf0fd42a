"""Times decoding of Multi30k's test2016 by tfx_jax and other libraries, which take turns.

    python benchmarks/decode.py --size=tiny --beam=4 --peer=ctranslate2 --peer=huggingface
        [--peer=ctranslate2_int8] [--peer=ctranslate2_parallel]
        [--peer=ctranslate2_int8_parallel] [--peer=flax] [--threads=2] [--rounds=5]
        [--batches=6] [--dtype=float32] [--no_allocator] [--peak=1.6e11]
        [--config.KEY=VALUE …]
    python benchmarks/decode.py --workdir=runs/multi30k --peer=ctranslate2 [--beam=5] …

Without `--workdir` weights are random, of the same shapes, and each output has exactly 32 tokens,
so all do the same work. A round has `--batches` batches of 32 sentences, which each system may sort
by length.

With `--workdir` all systems have the weights of that run, exported and converted first, and a round
is the test set of the run, texts to texts: outputs have their natural length, EOS is counted. Each
line has the seconds of a round, the BLEU of the outputs, and the settings of the system's search,
which each library defines in its own way.

Prints a JSON line per system, then one of ratios.
"""

import tempfile
from collections.abc import Sequence
from typing import Any

import comparison
import exported
import flops
import numpy as np
import rounds
import summary
from sentences import write_sources
from sizes import SIZES, make_config, shape_of
from systems import flax_example

PEERS = {
  "ctranslate2": "ctranslate2",
  "ctranslate2_parallel": "ctranslate2",
  "ctranslate2_int8": "ctranslate2",
  "ctranslate2_int8_parallel": "ctranslate2",
  "huggingface": "transformers",
  "flax": flax_example.FOLDER,
}
MODULES = {
  "ctranslate2": "ctranslate2_decoding",
  "transformers": "huggingface_decoding",
  flax_example.FOLDER: "flax_decoding",
}
ROWS, TOKENS = 32, 32


def main() -> None:
  parser = comparison.make_parser(__doc__, PEERS)
  parser.add_argument("--batches", type=int, help="batches per round: 6, or of a run all")
  parser.add_argument("--batch_size", type=int, default=ROWS, help="sentences per batch")
  parser.add_argument("--beam", type=int, help="1: greedy; by default 4, or the run's own")
  parser.add_argument("--workdir", default="", help="workdir of a trained run")
  options, overrides = comparison.parse(parser)
  if options.workdir and any("flax" in name for name in options.peer):
    parser.error("--peer=flax has no form of a trained run: leave out --workdir")
  config = _config(options, overrides)
  beam = options.beam or (config.generate.beam_size if options.workdir else 4)
  with tempfile.TemporaryDirectory() as folder:
    if options.workdir:
      limit = options.batches and options.batches * options.batch_size
      sources = write_sources(folder, config, options.workdir, limit)
      per_round = len(sources.texts)
      systems = _trained(options, config, beam, folder)
    else:
      sources = write_sources(folder, config)
      per_round = (options.batches or 6) * options.batch_size
      systems = _random(options, sources.vocab_size, beam, folder, per_round)
    figures, facts, peak = comparison.run(systems, options)

  shape = shape_of(config, sources.vocab_size)
  common = {"name": "decode", "size": options.workdir or options.size, "dtype": options.dtype}
  common |= {"threads": options.threads, "sentences": per_round, "beam": beam}
  common |= {"batch_size": options.batch_size}
  common |= {"lengths": "natural" if options.workdir else "exact"}
  lines = []
  for name, each in figures.items():
    by_round = [
      flops.decoding(shape, part(sources.lengths, f["round"], per_round), f.pop("lengths"), beam)
      for f in each
    ]
    found = summary.line(each, "output_tokens", by_round, peak)
    if "compilations" in each[0]:
      found["compilations"] = sum(f["compilations"] for f in each)
    if options.workdir:
      found["output_tokens"] = each[-1]["output_tokens"]
      found |= bleu(config, each[-1]["outputs"], sources.references)
    lines.append(common | {"system": name} | found | {"peak": peak} | facts[name])
  ratios = {"ratios": summary.ratios(figures, "output_tokens")}
  if options.workdir:
    ratios["ratios_of_seconds"] = summary.ratios(figures)
  comparison.show(lines, common | ratios)


def _random(
  options: Any, vocab_size: int, beam: int, folder: str, per_round: int
) -> list[dict[str, Any]]:
  """Returns the systems with random weights."""
  shared = {"folder": folder, "per_round": per_round, "beam": beam, "tokens": TOKENS}
  theirs = {"size": SIZES[options.size], "vocab_size": vocab_size, "rows": options.batch_size}
  systems = [comparison.ours(options, "systems.ours:decode", shared)]
  for name in options.peer:
    library = PEERS[comparison.plain(name)]
    module = MODULES[library]
    kinds = exported.kinds(name) if library == "ctranslate2" else {}
    systems.append(
      comparison.peer(name, options, f"systems.{module}:make", shared | theirs | kinds)
    )
  return systems


def _trained(options: Any, config: Any, beam: int, folder: str) -> list[dict[str, Any]]:
  """Returns the systems with the weights of a run; exports it if there are peers."""
  mine = {"folder": folder, "workdir": options.workdir, "settings": {"beam_size": beam}}
  systems = [comparison.ours(options, "systems.ours:decode_trained", mine)]
  if options.peer:
    exported.export(options.workdir, folder)
  settings = exported.peer_settings(config.generate, beam)
  for name in options.peer:
    opener, arguments = exported.opener(name, folder, settings)
    theirs = {"opener": opener, "folder": folder, **arguments}
    systems.append(comparison.peer(name, options, "systems.trained:make", theirs))
  return systems


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


def bleu(config: Any, outputs: Sequence[str], references: Sequence[Sequence[str]]) -> dict:
  """Returns sacreBLEU's BLEU of the outputs, 0 to 100, with its signature."""
  from tfx_jax.metrics.corpus import corpus_metric

  score, signature = corpus_metric("bleu", config.task.bleu_tokenize).score(outputs, references)
  return {"bleu": round(score, 2), "bleu_signature": signature}


def part(items: Any, number: int, per_round: int) -> Any:
  """Returns the part of an array for round `number`; after the last part follows the first."""
  return items[np.arange(number * per_round, (number + 1) * per_round) % len(items)]


if __name__ == "__main__":
  rounds.report_errors(main)
