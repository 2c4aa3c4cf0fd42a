"""Decoding of a Marian model with random weights by CTranslate2."""

import os
import tempfile
from collections.abc import Callable
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
  import ctranslate2

  kind = "int8" if int8 else "float32"
  pieces = ["<pad>", "</s>", "<unk>", "<s>", *(f"<{i}>" for i in range(4, vocab_size))]
  with tempfile.TemporaryDirectory() as converted:
    convert(make_marian(size, vocab_size, dropout=0.0), pieces, kind, converted)
    translator = ctranslate2.Translator(
      converted,
      device="cpu",
      compute_type=kind,
      inter_threads=threads if side_by_side else 1,
      intra_threads=1 if side_by_side else threads,
    )
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

  facts = {"ctranslate2": ctranslate2.__version__, "compute_type": translator.compute_type}
  return run, facts | {"malloc": os.environ.get("MALLOC_MMAP_MAX_") == "0"}


def convert(model: Any, pieces: list[str], kind: str, folder: str) -> None:
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
  specification.optimize(quantization=kind)
  specification.save(folder)
