"""The tokenizers of a Hugging Face folder, for sources and for targets."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfx_jax.codecs.special_tokens import SpecialTokens
from tfx_jax.codecs.text import files
from tfx_jax.codecs.text.foreign import HuggingFaceTokenizer, MarianTokenizer, beside
from tfx_jax.codecs.text.tokenizer import SentencePieceTokenizer, Tokenizer
from tfx_jax.errors import UserError
from tfx_jax.pretrained.folder import read_json

FILE, _SETTINGS = "tokenizer.json", "tokenizer_config.json"
_UNUSED = "<unused>"
# What a key NAME_token_id names.
_SPECIAL_TOKENS = ("eos", "pad", "bos", "decoder_start", "forced_bos")


def read(
  folder: str, settings: Mapping[str, Any], vocab_size: int, encodes: bool
) -> tuple[Tokenizer, Tokenizer]:
  """The tokenizers of sources and targets.

  Args:
    folder: with tokenizer.json, or the files of Marian.
    settings: of config.json and over them those of generation_config.json, with the
      special tokens.
    vocab_size: of the model.
    encodes: whether there is an encoder.

  Raises:
    UserError: if there is no tokenizer, or a mark is not told.
  """
  ids = {name: _ids(settings, f"{name}_token_id", vocab_size, folder) for name in _SPECIAL_TOKENS}
  if not ids["eos"]:
    raise UserError(f"{folder}: neither config.json nor generation_config.json has an eos_token_id")
  (eos, *others), pad = ids["eos"], _one(ids["pad"])
  special_tokens = SpecialTokens(
    eos=eos, bos=None, unk=None, pad=pad, source_suffix=(eos,), other_eos=tuple(others)
  )
  if encodes:
    start = _one(ids["decoder_start"])
    start = special_tokens.pad if start is None else start
    if start is None:
      raise UserError(f"{folder}: generation_config.json has no decoder_start_token_id")
    special_tokens = special_tokens._replace(bos=start)
  forced = ids["forced_bos"] or None
  path = os.path.join(folder, FILE)
  if os.path.isfile(path):
    return _read_huggingface(path, special_tokens, forced, vocab_size, encodes)
  if os.path.isfile(os.path.join(folder, "source.spm")):
    return _read_marian(folder, special_tokens, forced, vocab_size)
  raise UserError(
    f"{folder} holds no {FILE}: make it by transformers.AutoTokenizer.from_pretrained(FOLDER)"
    ".save_pretrained(FOLDER)"
  )


def _ids(settings: Mapping[str, Any], key: str, vocab_size: int, folder: str) -> tuple[int, ...]:
  """The ids that a key names, none twice.

  Raises:
    UserError: naming the key, for an id that the model does not have.
  """
  value = settings.get(key)
  if value is None or (key == "pad_token_id" and value == -1):  # early files of Llama: no padding
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
  encodes: bool,
) -> tuple[Tokenizer, Tokenizer]:
  content, others = files.read(path).decode(), beside(os.path.dirname(path))
  model = read_json(path).get("model") or {}
  unk = model.get("unk_id") if model.get("unk_token") is None else model["unk_token"]
  plain = HuggingFaceTokenizer(content, special_tokens, vocab_size, path)
  before, after = plain.around()
  special_tokens = special_tokens._replace(unk=plain.id_of(unk) if isinstance(unk, str) else unk)
  if not encodes:
    special_tokens = special_tokens._replace(bos=before[0] if before else None)
    tokenizer = HuggingFaceTokenizer(content, special_tokens, vocab_size, path, others)
    return tokenizer, tokenizer
  source = special_tokens._replace(prefix=before, source_suffix=after)
  target = special_tokens._replace(prefix=before if forced is None else forced)
  return tuple(HuggingFaceTokenizer(content, m, vocab_size, path, others) for m in (source, target))


def _read_marian(
  folder: str, special_tokens: SpecialTokens, forced: tuple[int, ...] | None, vocab_size: int
) -> tuple[Tokenizer, Tokenizer]:
  models = [files.read(os.path.join(folder, name)) for name in ("source.spm", "target.spm")]
  vocabulary = read_json(os.path.join(folder, "vocab.json"))
  if "<unk>" not in vocabulary:
    raise UserError(f"{folder}/vocab.json has no piece <unk>")
  special_tokens = special_tokens._replace(unk=vocabulary["<unk>"])
  source, target = special_tokens, special_tokens._replace(prefix=forced or ())
  return tuple(
    MarianTokenizer(models, vocabulary, m, vocab_size, side, folder, beside(folder))
    for side, m in enumerate((source, target))
  )


class Written(NamedTuple):
  """Tokenizers as transformers has them.

  Attributes:
    files: of a folder, by name.
    kind: the class in transformers.
    ids: our ids in the order of theirs.
    bos: their id of what a decoder reads before all else; None: nothing.
    eos_ids: their ids of what ends an output.
    pad: their id of padding; None if there is none.
  """

  files: dict[str, bytes]
  kind: str
  ids: Sequence[int]
  bos: int | None
  eos_ids: Sequence[int]
  pad: int | None


def write(pair: tuple[Tokenizer, Tokenizer], start: int | None = None) -> Written:
  """The tokenizers of sources and targets for a Hugging Face folder.

  Those that were read are given back as they were. Of a sentencepiece model that was trained here
  Marian's tokenizer is made, whose last piece both fills up and begins what is written; what filled
  up here keeps its row, so that probabilities are the same.

  Args:
    pair: of sources and targets.
    start: the row that decoders begin with, where it is none of the tokens of a model that was
      trained here; None: that of BOS.

  Raises:
    UserError: if transformers has no such tokenizer.
  """
  source, target = pair
  special_tokens = target.special_tokens
  if isinstance(target, HuggingFaceTokenizer | MarianTokenizer):
    ids = range(target.vocab_size)
    kind = "MarianTokenizer" if isinstance(target, MarianTokenizer) else "PreTrainedTokenizerFast"
    contents = {_SETTINGS: _settings(target, kind)} | source.foreign_files()
    kind = json.loads(contents[_SETTINGS]).get("tokenizer_class", kind)
    return Written(
      contents, kind, ids, special_tokens.bos, special_tokens.eos_ids, special_tokens.pad
    )
  if not isinstance(target, SentencePieceTokenizer) or source.fingerprint != target.fingerprint:
    raise UserError(
      "transformers has no tokenizer like this: it takes tokenizer.kind='unigram' or 'bpe', and "
      "tokenizer.joint=True"
    )
  ids = [i for i in range(target.vocab_size) if i not in (special_tokens.pad, special_tokens.bos)]
  pieces = [*target.pieces(ids), _UNUSED]
  ids += [special_tokens.pad, special_tokens.bos]
  if start is not None:
    pieces, ids = [*pieces, *target.pieces([special_tokens.bos])], [*ids, start]
  pieces += target.pieces([special_tokens.pad])
  kind, last = "MarianTokenizer", len(ids) - 1
  contents = {
    "source.spm": target.model,
    "target.spm": target.model,
    "vocab.json": json.dumps({piece: i for i, piece in enumerate(pieces)}).encode(),
    _SETTINGS: _settings(target, kind),
  }
  return Written(contents, kind, ids, last, [ids.index(special_tokens.eos)], last)


def _settings(tokenizer: Tokenizer, kind: str) -> bytes:
  """tokenizer_config.json where there was none."""
  found = {"tokenizer_class": kind}
  for name in ("eos", "pad", "unk"):
    i = getattr(tokenizer.special_tokens, name)
    if i is not None:
      (found[f"{name}_token"],) = tokenizer.pieces([i])
  return json.dumps(found).encode()
