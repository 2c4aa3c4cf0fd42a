"""Tokenizers of pretrained models: those of the library `tokenizers`, and those of Marian."""

import itertools
import json
import os
from collections.abc import Mapping, Sequence

import sentencepiece

from tfx_jax.codecs.special_tokens import SpecialTokens
from tfx_jax.codecs.text import files
from tfx_jax.codecs.text.tokenizer import TextCodec, Tokenizer, fingerprint_of
from tfx_jax.common.json_object import JsonObject
from tfx_jax.errors import UserError

_CONTENT = "huggingface.json"
# Further files of a tokenizer in a Hugging Face folder; they are kept for exports.
BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")

# Names of fields of special tokens in specs of earlier versions, whose key is "marks".
_OLD_FIELDS = {"before": "prefix", "after": "source_suffix", "other_ends": "other_eos"}


class HuggingFaceTokenizer(TextCodec):
  """A tokenizer.json, read by the library `tokenizers`.

  Args:
    content: content of the file.
    special_tokens: see `SpecialTokens`.
    vocab_size: number of ids of the model; it may be more than the tokenizer has pieces, or fewer:
      then texts must not contain the pieces beyond.
    origin: path of the file, for errors.
    beside: contents of the files `BESIDE`, by name.

  Raises:
    UserError: if the library is not installed, or cannot read the file.
  """

  def __init__(
    self,
    content: str,
    special_tokens: SpecialTokens,
    vocab_size: int,
    origin: str = _CONTENT,
    beside: Mapping[str, bytes] | None = None,
  ) -> None:
    try:
      import tokenizers
    except ImportError as error:
      raise UserError(f"{origin} needs tokenizers: pip install 'tfx_jax[pretrained]'") from error
    try:
      self._tokenizer = tokenizers.Tokenizer.from_str(content)
    except Exception as error:  # the library raises nothing more specific
      raise UserError(f"{origin} is no tokenizer, or a damaged one: {error}") from error
    # Truncation and padding are done by the layout.
    self._tokenizer.no_padding()
    self._tokenizer.no_truncation()
    self._exceeds = max(self._tokenizer.get_vocab().values(), default=0) >= vocab_size
    self.special_tokens, self.vocab_size = special_tokens, vocab_size
    self._content, self._beside, self._origin = content, dict(beside or {}), origin
    self.fingerprint = fingerprint_of(
      "huggingface", content, *special_tokens.fingerprint_parts, vocab_size
    )

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text, without special tokens.

    Raises:
      UserError: for a text with a piece that the model does not have.
    """
    encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
    ids = [encoding.ids for encoding in encodings]
    if self._exceeds:
      _check_known(self._origin, self, ids)
    return ids

  def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the ids that the file adds in front of and behind a text."""
    known = min(self._tokenizer.get_vocab_size(), self.vocab_size)
    texts = (self._tokenizer.decode([i]) for i in range(known))
    # Any text that has pieces.
    text = next((text for text in texts if self.encode([text])[0]), "")
    ids, plain = self._tokenizer.encode(text).ids, self.encode([text])[0]
    start = next((n for n in range(len(ids)) if ids[n : n + len(plain)] == plain), 0)
    return tuple(ids[:start]), tuple(ids[start + len(plain) :])

  def id_of(self, piece: str | None) -> int | None:
    """Returns the id of a piece, or None if there is no such piece."""
    return None if piece is None else self._tokenizer.token_to_id(piece)

  def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:  # noqa: D102
    return self._tokenizer.decode_batch(
      [_until(sequence, self.special_tokens.eos_ids) for sequence in ids]
    )

  def pieces(self, ids: Sequence[int]) -> list[str]:  # noqa: D102
    return [self._tokenizer.id_to_token(int(i)) or f"<unused{i}>" for i in ids]

  def save(self, folder: str) -> None:  # noqa: D102
    contents = {_CONTENT: self._content.encode(), **self._beside}
    files.save(folder, _spec("huggingface", self), contents)

  def foreign_files(self) -> dict[str, bytes]:
    """Returns the files of the tokenizer in a Hugging Face folder, by name."""
    return {"tokenizer.json": self._content.encode(), **self._beside}


class MarianTokenizer(TextCodec):
  """Sentencepiece models of source and target with one vocabulary, as in OPUS-MT.

  Args:
    models: sentencepiece models of sources and of targets.
    vocabulary: piece -> id.
    special_tokens: see `SpecialTokens`.
    vocab_size: number of ids of the model.
    side: 0 for the tokenizer of sources, 1 for that of targets.
    origin: path of the folder, for errors.
    beside: contents of the files `BESIDE`, by name.

  Raises:
    UserError: if a model is damaged.
  """

  def __init__(
    self,
    models: Sequence[bytes],
    vocabulary: dict[str, int],
    special_tokens: SpecialTokens,
    vocab_size: int,
    side: int,
    origin: str = "the tokenizer",
    beside: Mapping[str, bytes] | None = None,
  ) -> None:
    try:
      self._processor = sentencepiece.SentencePieceProcessor(model_proto=models[side] or b"\0")
    except RuntimeError as error:
      raise UserError(f"{origin}: a sentencepiece model is damaged") from error
    self._exceeds = max(vocabulary.values(), default=0) >= vocab_size
    self.special_tokens, self.vocab_size = special_tokens, vocab_size
    self._models, self._vocabulary, self._side = tuple(models), vocabulary, side
    self._beside, self._origin = dict(beside or {}), origin
    self._unk = vocabulary["<unk>"]
    self._names = {i: piece for piece, i in vocabulary.items()}
    self.fingerprint = fingerprint_of(
      "marian", models, vocabulary, *special_tokens.fingerprint_parts, vocab_size, side
    )

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text; a language in front, such as >>fr<<, is one piece.

    Raises:
      UserError: for a text with a piece that the model does not have.
    """
    ids = [self._encode(text) for text in texts]
    if self._exceeds:
      _check_known(self._origin, self, ids)
    return ids

  def _encode(self, text: str) -> list[int]:
    code, bracket, rest = text.partition("<<")
    language = [f"{code}{bracket}"] if bracket and code.startswith(">>") else []
    pieces = language + self._processor.encode(rest if language else text, out_type=str)
    return [self._vocabulary.get(piece, self._unk) for piece in pieces]

  def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:  # noqa: D102
    texts = (
      [i for i in _until(s, self.special_tokens.eos_ids) if i not in self.special_tokens.ids]
      for s in ids
    )
    return [self._processor.decode_pieces(self.pieces(text)).strip() for text in texts]

  def pieces(self, ids: Sequence[int]) -> list[str]:  # noqa: D102
    return [self._names.get(int(i), f"<unused{i}>") for i in ids]

  def save(self, folder: str) -> None:  # noqa: D102
    files.save(folder, _spec("marian", self) | {"side": self._side}, self.foreign_files())

  def foreign_files(self) -> dict[str, bytes]:
    """Returns the files of the tokenizer in a Hugging Face folder, by name."""
    source, target = self._models
    vocabulary = json.dumps(self._vocabulary).encode()
    return {"source.spm": source, "target.spm": target, "vocab.json": vocabulary, **self._beside}


def load(folder: str, spec: JsonObject) -> Tokenizer:
  """Returns the tokenizer that was saved to a folder."""
  special_tokens = _special_tokens(spec)
  if spec["kind"] == "huggingface":
    path = os.path.join(folder, _CONTENT)
    content = files.read(path).decode()
    return HuggingFaceTokenizer(content, special_tokens, spec["vocab_size"], path, beside(folder))
  models = [files.read(os.path.join(folder, name)) for name in ("source.spm", "target.spm")]
  vocabulary = json.loads(files.read(os.path.join(folder, "vocab.json")))
  settings = special_tokens, spec["vocab_size"], spec["side"], folder, beside(folder)
  return MarianTokenizer(models, vocabulary, *settings)


def _special_tokens(spec: JsonObject) -> SpecialTokens:
  """Special tokens from a spec; those written by earlier versions have other names."""
  saved = spec["special_tokens"] if "special_tokens" in spec else spec["marks"]
  fields: JsonObject = {
    str(_OLD_FIELDS.get(name, name)): tuple(value) if isinstance(value, list) else value
    for name, value in saved.items()
  }
  return SpecialTokens(**fields)


def beside(folder: str) -> dict[str, bytes]:
  """Returns the contents of those files `BESIDE` that a folder has, by name."""
  paths = {name: os.path.join(folder, name) for name in BESIDE}
  return {name: files.read(path) for name, path in paths.items() if os.path.isfile(path)}


def _spec(kind: str, tokenizer: Tokenizer) -> JsonObject:
  return {
    "kind": kind,
    "fingerprint": tokenizer.fingerprint,
    "special_tokens": tokenizer.special_tokens._asdict(),
    "vocab_size": tokenizer.vocab_size,
  }


def _check_known(origin: str, tokenizer: Tokenizer, ids: Sequence[Sequence[int]]) -> None:
  """Raises UserError for an id that the model does not have."""
  for i in set(itertools.chain.from_iterable(ids)):
    if i >= tokenizer.vocab_size:
      (piece,) = tokenizer.pieces([i])
      raise UserError(
        f"{origin}: a text contains the piece {piece!r}, whose id {i} is beyond the model's "
        f"{tokenizer.vocab_size} tokens: remove it from the text"
      )


def _until(sequence: Sequence[int], ends: Sequence[int]) -> list[int]:
  """Returns the ids before the first of `ends`."""
  return list(itertools.takewhile(lambda i: i not in ends, map(int, sequence)))
