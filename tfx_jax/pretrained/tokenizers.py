"""The tokenizers of a Hugging Face folder, for sources and for targets."""

import json
import os
from collections.abc import Mapping
from typing import Any

from tfx_jax.data import tokenizer_files as files
from tfx_jax.data.foreign_tokenizer import HuggingFaceTokenizer, MarianTokenizer
from tfx_jax.data.marks import Marks
from tfx_jax.data.tokenizer import SentencePieceTokenizer, Tokenizer
from tfx_jax.errors import UserError
from tfx_jax.pretrained.folder import read_json

FILE = "tokenizer.json"


def read(
  folder: str, settings: Mapping[str, Any], vocab_size: int, encodes: bool
) -> tuple[Tokenizer, Tokenizer]:
  """The tokenizers of sources and targets.

  Args:
    folder: with tokenizer.json, or the files of Marian.
    settings: of config.json and over them those of generation_config.json, which name the marks.
    vocab_size: of the model.
    encodes: whether there is an encoder.

  Raises:
    UserError: if there is no tokenizer, or a mark is not told.
  """
  eos = settings.get("eos_token_id")
  if isinstance(eos, list):
    if len(eos) > 1:
      raise UserError(f"{folder}: eos_token_id={eos}: several are not supported")
    (eos,) = eos
  if eos is None:
    raise UserError(f"{folder}: neither config.json nor generation_config.json has an eos_token_id")
  marks = Marks(eos=eos, bos=None, unk=None, pad=settings.get("pad_token_id"), after=(eos,))
  if encodes:
    start = settings.get("decoder_start_token_id")
    start = marks.pad if start is None else start
    if start is None:
      raise UserError(f"{folder}: generation_config.json has no decoder_start_token_id")
    marks = marks._replace(bos=start)
  forced = settings.get("forced_bos_token_id")
  forced = None if forced is None else (forced,)
  path = os.path.join(folder, FILE)
  if os.path.isfile(path):
    return _read_huggingface(path, marks, forced, vocab_size, encodes)
  if os.path.isfile(os.path.join(folder, "source.spm")):
    return _read_marian(folder, marks, forced, vocab_size)
  raise UserError(
    f"{folder} holds no {FILE}: make it by transformers.AutoTokenizer.from_pretrained(FOLDER)"
    ".save_pretrained(FOLDER)"
  )


def _read_huggingface(
  path: str, marks: Marks, forced: tuple[int, ...] | None, vocab_size: int, encodes: bool
) -> tuple[Tokenizer, Tokenizer]:
  content = files.read(path).decode()
  unk = read_json(path).get("model", {}).get("unk_token")
  plain = HuggingFaceTokenizer(content, marks, vocab_size, path)
  before, after = plain.around()
  marks = marks._replace(unk=plain.id_of(unk) if isinstance(unk, str) else None)
  if not encodes:
    marks = marks._replace(bos=before[0] if before else None)
    tokenizer = HuggingFaceTokenizer(content, marks, vocab_size, path)
    return tokenizer, tokenizer
  source = marks._replace(before=before, after=after)
  target = marks._replace(before=before if forced is None else forced)
  return tuple(HuggingFaceTokenizer(content, m, vocab_size, path) for m in (source, target))


def _read_marian(
  folder: str, marks: Marks, forced: tuple[int, ...] | None, vocab_size: int
) -> tuple[Tokenizer, Tokenizer]:
  models = [files.read(os.path.join(folder, name)) for name in ("source.spm", "target.spm")]
  vocabulary = read_json(os.path.join(folder, "vocab.json"))
  if "<unk>" not in vocabulary:
    raise UserError(f"{folder}/vocab.json has no piece <unk>")
  marks = marks._replace(unk=vocabulary["<unk>"])
  source, target = marks, marks._replace(before=forced or ())
  return tuple(
    MarianTokenizer(models, vocabulary, m, vocab_size, side, folder)
    for side, m in enumerate((source, target))
  )


def write(pair: tuple[Tokenizer, Tokenizer]) -> dict[str, bytes]:
  """The files of a Hugging Face folder that hold the tokenizers of sources and targets, by name.

  Raises:
    UserError: if transformers has no such tokenizer.
  """
  source, target = pair
  if isinstance(target, HuggingFaceTokenizer):
    (eos,) = target.pieces([target.marks.eos])
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos}
    for name, i in (("pad_token", target.marks.pad), ("unk_token", target.marks.unk)):
      if i is not None:
        (names[name],) = target.pieces([i])
    return source.foreign_files() | {"tokenizer_config.json": json.dumps(names).encode()}
  if isinstance(target, MarianTokenizer):
    contents = source.foreign_files()
  elif isinstance(target, SentencePieceTokenizer) and source.fingerprint == target.fingerprint:
    pieces = target.pieces(range(target.vocab_size))
    vocabulary = json.dumps({piece: i for i, piece in enumerate(pieces)}).encode()
    contents = {"source.spm": target.model, "target.spm": target.model, "vocab.json": vocabulary}
  else:
    raise UserError(
      "transformers has no tokenizer like this: it takes tokenizer.kind='unigram' or 'bpe', and "
      "tokenizer.joint=True"
    )
  names = {"tokenizer_class": "MarianTokenizer", "eos_token": "</s>", "unk_token": "<unk>"}
  (names["pad_token"],) = target.pieces([target.marks.pad])
  return contents | {"tokenizer_config.json": json.dumps(names).encode()}
