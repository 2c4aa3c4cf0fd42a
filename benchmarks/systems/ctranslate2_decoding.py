"""Decoding by CTranslate2: of a Marian model with random weights, and of an exported run."""

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

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
  int8: bool,
  side_by_side: bool,
) -> tuple[Callable, dict]:
  """Makes rounds of exactly `tokens` tokens per source; CTranslate2 makes batches of `rows`.

  All threads work on one batch or, with `side_by_side`, each on a separate one.
  """
  pieces = ["<pad>", "</s>", "<unk>", "<s>", *(f"<{i}>" for i in range(4, vocab_size))]
  with tempfile.TemporaryDirectory() as converted:
    convert(make_marian(size, vocab_size, dropout=0.0), pieces, converted)
    translator, facts = _open(converted, threads, int8, side_by_side)
  part = read_rounds(folder, per_round)

  def run(number: int) -> dict:
    results = translator.translate_batch(
      [[pieces[i] for i in source] for source in part(number)],
      max_batch_size=rows,
      beam_size=beam,
      min_decoding_length=tokens,
      max_decoding_length=tokens,
      max_input_length=0,
    )
    lengths = [len(result.hypotheses[0]) for result in results]
    assert set(lengths) == {tokens}, f"outputs have {set(lengths)} tokens"
    return {"output_tokens": sum(lengths), "lengths": lengths}

  return run, facts


def open_exported(
  exported: str,
  converted: str,
  beam: int,
  length_penalty: float,
  max_length: int,
  rows: int,
  threads: int,
  int8: bool,
  side_by_side: bool,
) -> tuple[Callable, dict]:
  """Opens a converted run; see `systems.trained.make`.

  Args:
    exported: folder of the tokenizers, source.spm and target.spm.
    converted: folder of the model.
    beam: W.
    length_penalty: exponent; a score is the log-probability divided by length ** exponent.
    max_length: most tokens of an output.
    rows: sentences of a batch.
    threads: number of threads.
    int8: whether weights are int8, otherwise float32.
    side_by_side: whether each thread has a batch of its own.
  """
  import sentencepiece

  translator, facts = _open(converted, threads, int8, side_by_side)
  source, target = (
    sentencepiece.SentencePieceProcessor(model_file=os.path.join(exported, f"{side}.spm"))
    for side in ("source", "target")
  )
  search = {"beam_size": beam, "length_penalty": length_penalty}
  search |= {"min_decoding_length": 0, "max_decoding_length": max_length}

  def translate(texts: Sequence[str]) -> list[tuple[str, int]]:
    pieces = [[*found, "</s>"] for found in source.encode(list(texts), out_type=str)]
    results = translator.translate_batch(pieces, max_batch_size=rows, max_input_length=0, **search)
    best = [result.hypotheses[0] for result in results]
    return [(text, len(one) + 1) for text, one in zip(target.decode(best), best, strict=True)]

  return translate, facts | {"search": search | {"length_penalty_form": "power"}}


def _open(folder: str, threads: int, int8: bool, side_by_side: bool) -> tuple[Any, dict]:
  """Returns the translator and facts about it."""
  import ctranslate2

  translator = ctranslate2.Translator(
    folder,
    device="cpu",
    compute_type="int8" if int8 else "float32",
    inter_threads=threads if side_by_side else 1,
    intra_threads=1 if side_by_side else threads,
  )
  facts = {"ctranslate2": ctranslate2.__version__, "compute_type": translator.compute_type}
  return translator, facts | {"malloc": os.environ.get("MALLOC_MMAP_MAX_") == "0"}


def convert(model: Any, pieces: list[str], folder: str) -> None:
  """Writes a `MarianMTModel` in CTranslate2's format."""
  from ctranslate2.converters.transformers import BartLoader

  # Attributes that the converter reads from a model like BART.
  model.config.normalize_before = model.config.normalize_embedding = False
  specification = BartLoader().get_model_spec(model)
  specification.register_source_vocabulary(pieces)
  specification.register_target_vocabulary(pieces)
  settings = specification.config
  settings.bos_token, settings.eos_token, settings.unk_token = "<s>", "</s>", "<unk>"
  settings.decoder_start_token = "<s>"
  settings.add_source_eos = False
  specification.validate()
  specification.optimize()
  specification.save(folder)
