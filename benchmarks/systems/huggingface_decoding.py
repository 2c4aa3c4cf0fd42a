"""Decoding by Hugging Face's `generate`: of a Marian model, and of an exported run."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sentences import pad

from systems.marian import make_marian
from systems.sources import read_rounds
from systems.trained import batches


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
  from tfx_jax.codecs.special_tokens import PAD

  torch, facts = _start(threads)
  model = make_marian(size, vocab_size, dropout=0.0).eval()
  part = read_rounds(folder, per_round)

  def run(number: int) -> dict:
    sources, lengths = part(number), []
    for members in batches(sources, rows):
      inputs = torch.from_numpy(pad([np.array(sources[i]) for i in members])).long()
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

  return run, facts


def open_exported(
  exported: str, beam: int, length_penalty: float, max_length: int, rows: int, threads: int
) -> tuple[Callable, dict]:
  """Opens an exported run; see `systems.trained.make`.

  Args:
    exported: folder of the model.
    beam: W.
    length_penalty: exponent; a score is the log-probability divided by length ** exponent.
    max_length: most new tokens of an output.
    rows: sentences of a batch.
    threads: number of threads.
  """
  torch, facts = _start(threads)
  from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

  tokenizer = AutoTokenizer.from_pretrained(exported)
  model = AutoModelForSeq2SeqLM.from_pretrained(exported).eval()
  search = {"num_beams": beam, "do_sample": False, "max_new_tokens": max_length}
  if beam > 1:
    # By default the library's own heuristic ends a search; an export asks for the exact end.
    search |= {"length_penalty": length_penalty, "early_stopping": False}

  def translate(texts: Sequence[str]) -> list[tuple[str, int]]:
    encoded = tokenizer(list(texts))["input_ids"]
    results: list[tuple[str, int]] = [("", 0)] * len(texts)
    for members in batches(encoded, rows):
      inputs = tokenizer.pad({"input_ids": [encoded[i] for i in members]}, return_tensors="pt")
      with torch.inference_mode():
        outputs = model.generate(**inputs, **search)[:, 1:]
      lengths = (outputs != tokenizer.pad_token_id).sum(1).tolist()
      decoded = tokenizer.batch_decode(outputs, skip_special_tokens=True)
      for member, output in zip(members, zip(decoded, lengths, strict=True), strict=True):
        results[member] = output
    return results

  return translate, facts | {"search": search | {"length_penalty_form": "power"}}


def _start(threads: int) -> tuple[Any, dict]:
  """Returns torch, and facts about the libraries."""
  import torch
  import transformers

  torch.set_num_threads(threads)
  transformers.logging.set_verbosity_error()
  facts = {"transformers": transformers.__version__, "torch": torch.__version__}
  return torch, facts | {"malloc": os.environ.get("MALLOC_MMAP_MAX_") == "0"}
