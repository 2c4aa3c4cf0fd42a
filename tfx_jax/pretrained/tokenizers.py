"""Reads and writes the tokenizers of a Hugging Face folder, for sources and for targets."""

import json
import os
from collections.abc import Sequence
from typing import NamedTuple

from tfx_jax.codecs.special_tokens import BOS, EOS, PAD, SpecialTokens
from tfx_jax.codecs.text import files
from tfx_jax.codecs.text.foreign import HuggingFaceTokenizer, MarianTokenizer, beside
from tfx_jax.codecs.text.tokenizer import SentencePieceTokenizer, Tokenizer
from tfx_jax.common.json_object import JsonObject
from tfx_jax.errors import UserError
from tfx_jax.pretrained.folder import read_json

FILE, _SETTINGS = "tokenizer.json", "tokenizer_config.json"
_UNUSED = "<unused>"
_Foreign = HuggingFaceTokenizer | MarianTokenizer
# Special tokens whose ids have a key NAME_token_id.
_SPECIAL_TOKENS = ("eos", "pad", "bos", "decoder_start", "forced_bos")


def read(
  folder: str, settings: JsonObject, vocab_size: int, has_encoder: bool
) -> tuple[Tokenizer, Tokenizer]:
  """Returns the tokenizers of sources and targets.

  Args:
    folder: a folder with tokenizer.json, or with Marian's files.
    settings: config.json, updated with generation_config.json; they define the special tokens.
    vocab_size: vocabulary size of the model.
    has_encoder: true for an encoder-decoder model.

  Raises:
    UserError: if there is no tokenizer, or no id of a special token that is needed.
  """
  ids = {name: _ids(settings, f"{name}_token_id", vocab_size, folder) for name in _SPECIAL_TOKENS}
  if not ids["eos"]:
    raise UserError(f"{folder}: neither config.json nor generation_config.json has an eos_token_id")
  (eos, *others), pad = ids["eos"], _one(ids["pad"])
  special_tokens = SpecialTokens(
    eos=eos, bos=None, unk=None, pad=pad, source_suffix=(eos,), other_eos=tuple(others)
  )
  if has_encoder:
    start = _one(ids["decoder_start"])
    start = special_tokens.pad if start is None else start
    if start is None:
      raise UserError(f"{folder}: generation_config.json has no decoder_start_token_id")
    special_tokens = special_tokens._replace(bos=start)
  forced = ids["forced_bos"] or None
  path = os.path.join(folder, FILE)
  if os.path.isfile(path):
    return _read_huggingface(path, special_tokens, forced, vocab_size, has_encoder)
  if os.path.isfile(os.path.join(folder, "source.spm")):
    return _read_marian(folder, special_tokens, forced, vocab_size)
  raise UserError(
    f"{folder} has no {FILE}: make it by transformers.AutoTokenizer.from_pretrained(FOLDER)"
    ".save_pretrained(FOLDER)"
  )


def _ids(settings: JsonObject, key: str, vocab_size: int, folder: str) -> tuple[int, ...]:
  """Returns the ids that a key defines, without duplicates.

  Raises:
    UserError: naming the key, for an id that the model does not have.
  """
  value = settings.get(key)
  if value is None or (
    key == "pad_token_id" and value == -1
  ):  # no padding, in early files of Llama
    return ()
  ids = value if isinstance(value, list) else [value]
  for i in ids:
    if type(i) is not int or not 0 <= i < vocab_size:
      raise UserError(f"{folder}: {key}={value!r}: use ids below the model's {vocab_size} tokens")
  return tuple(dict.fromkeys(ids))


def _one(ids: tuple[int, ...]) -> int | None:
  return ids[0] if ids else None


def _read_huggingface(
  path: str,
  special_tokens: SpecialTokens,
  forced: tuple[int, ...] | None,
  vocab_size: int,
  has_encoder: bool,
) -> tuple[Tokenizer, Tokenizer]:
  content, others = files.read(path).decode(), beside(os.path.dirname(path))
  model = read_json(path).get("model") or {}
  unk = model.get("unk_id") if model.get("unk_token") is None else model["unk_token"]
  plain = HuggingFaceTokenizer(content, special_tokens, vocab_size, path)
  before, after = plain.around()
  special_tokens = special_tokens._replace(unk=plain.id_of(unk) if isinstance(unk, str) else unk)
  if not has_encoder:
    special_tokens = special_tokens._replace(bos=before[0] if before else None)
    tokenizer = HuggingFaceTokenizer(content, special_tokens, vocab_size, path, others)
    return tokenizer, tokenizer
  source = special_tokens._replace(prefix=before, source_suffix=after)
  target = special_tokens._replace(prefix=before if forced is None else forced)
  return (
    HuggingFaceTokenizer(content, source, vocab_size, path, others),
    HuggingFaceTokenizer(content, target, vocab_size, path, others),
  )


def _read_marian(
  folder: str, special_tokens: SpecialTokens, forced: tuple[int, ...] | None, vocab_size: int
) -> tuple[Tokenizer, Tokenizer]:
  models = [files.read(os.path.join(folder, name)) for name in ("source.spm", "target.spm")]
  vocabulary = read_json(os.path.join(folder, "vocab.json"))
  if "<unk>" not in vocabulary:
    raise UserError(f"{folder}/vocab.json has no piece <unk>")
  special_tokens = special_tokens._replace(unk=vocabulary["<unk>"])
  source, target = special_tokens, special_tokens._replace(prefix=forced or ())
  others = beside(folder)
  return (
    MarianTokenizer(models, vocabulary, source, vocab_size, 0, folder, others),
    MarianTokenizer(models, vocabulary, target, vocab_size, 1, folder, others),
  )


class Written(NamedTuple):
  """Tokenizers in the form that transformers reads.

  Attributes:
    files: contents of the folder's files, by name.
    kind: class of the tokenizer in transformers.
    ids: our ids, in the order of transformers' ids.
    bos: transformers' id of the first decoder input; None if there is none.
    eos_ids: transformers' ids that end an output.
    pad: transformers' id of padding; None if there is none.
  """

  files: dict[str, bytes]
  kind: str
  ids: Sequence[int]
  bos: int | None
  eos_ids: Sequence[int]
  pad: int | None


def write(pair: tuple[Tokenizer, Tokenizer], start: int | None = None) -> Written:
  """Returns tokenizers of sources and targets in the form of a Hugging Face folder.

  Tokenizers that were read from such a folder are returned unchanged. A sentencepiece model trained
  here becomes Marian's tokenizer, whose last piece is both padding and the first decoder input. Our
  padding piece keeps its row, so that all probabilities stay the same.

  Args:
    pair: the tokenizers of sources and targets.
    start: row of the embedding table that decoders start with, if it belongs to no token of a
      tokenizer trained here; None means the row of BOS.

  Raises:
    UserError: if transformers has no such tokenizer.
  """
  source, target = pair
  special_tokens = target.special_tokens
  if isinstance(source, _Foreign) and isinstance(target, _Foreign):
    ids = range(target.vocab_size)
    kind = "MarianTokenizer" if isinstance(target, MarianTokenizer) else "PreTrainedTokenizerFast"
    contents = {_SETTINGS: _settings(target, kind)} | source.foreign_files()
    kind = json.loads(contents[_SETTINGS]).get("tokenizer_class", kind)
    return Written(
      contents, kind, ids, special_tokens.bos, special_tokens.eos_ids, special_tokens.pad
    )
  if not isinstance(target, SentencePieceTokenizer) or source.fingerprint != target.fingerprint:
    raise UserError(
      "transformers has no such tokenizer: train with tokenizer.kind='unigram' or 'bpe', and "
      "tokenizer.joint=True"
    )
  ids = [i for i in range(target.vocab_size) if i not in (PAD, BOS)]
  pieces = [*target.pieces(ids), _UNUSED]
  ids += [PAD, BOS]
  if start is not None:
    pieces, ids = [*pieces, *target.pieces([BOS])], [*ids, start]
  pieces += target.pieces([PAD])
  kind, last = "MarianTokenizer", len(ids) - 1
  contents = {
    "source.spm": target.model,
    "target.spm": target.model,
    "vocab.json": json.dumps({piece: i for i, piece in enumerate(pieces)}).encode(),
    _SETTINGS: _settings(target, kind),
  }
  return Written(contents, kind, ids, last, [ids.index(EOS)], last)


def _settings(tokenizer: Tokenizer, kind: str) -> bytes:
  """Returns a tokenizer_config.json, for a tokenizer that has none."""
  settings = {"tokenizer_class": kind}
  for name in ("eos", "pad", "unk"):
    i = getattr(tokenizer.special_tokens, name)
    if i is not None:
      (settings[f"{name}_token"],) = tokenizer.pieces([i])
  return json.dumps(settings).encode()
