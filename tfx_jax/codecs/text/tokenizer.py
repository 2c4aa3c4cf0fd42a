"""Tokenizers, the codecs of texts: sentencepiece, bytes or characters."""

import copy
import functools
import hashlib
import random
from collections.abc import Sequence
from typing import Protocol

import sentencepiece

from tfx_jax.codecs.codec import Codec, Tokens
from tfx_jax.codecs.special_tokens import BOS, DEFAULT, EOS, PAD, SPECIAL_PIECES, UNK, SpecialTokens
from tfx_jax.codecs.text import files, sentencepiece_model
from tfx_jax.codecs.text.segmentation import Segmenter
from tfx_jax.errors import UserError


class Tokenizer(Codec[str], Protocol):
  """A codec of texts whose elements are tokens.

  Attributes:
    vocab_size: number of ids, the special tokens included.
    special_tokens: ids that stand for no part of a text.
  """

  vocab_size: int
  special_tokens: SpecialTokens

  @property
  def element(self) -> Tokens:
    """The tokens, as layouts and models know them."""
    ...

  def encode(self, texts: Sequence[str], /) -> list[list[int]]:
    """Returns the ids of each text, without special tokens."""
    ...

  def decode(self, ids: Sequence[Sequence[int]], /) -> list[str]:
    """Returns the text of each sequence up to its first EOS, special tokens left out."""
    ...

  def pieces(self, ids: Sequence[int], /) -> list[str]:
    """Returns a printable name for each id, special tokens included."""
    ...


class TextCodec:
  """Base class of the tokenizers: the properties that all of them compute in the same way."""

  vocab_size: int
  special_tokens: SpecialTokens = DEFAULT

  @property
  def element(self) -> Tokens:
    """The tokens, as layouts and models know them."""
    return Tokens(self.vocab_size, self.special_tokens)

  def measure(self, text: str, /) -> dict[str, int]:
    """Returns the size of a text in bytes of UTF-8 and in words between white space."""
    return {"bytes": len(text.encode()), "words": len(text.split())}


def without_source_suffix(tokenizer: Tokenizer) -> Tokenizer:
  """Returns the tokenizer with special tokens that add nothing behind a source."""
  changed = copy.copy(tokenizer)
  changed.special_tokens = tokenizer.special_tokens._replace(source_suffix=())
  return changed


class SentencePieceTokenizer(TextCodec):
  """A sentencepiece model, unigram or BPE.

  Attributes:
    model: the serialized model.
  """

  def __init__(self, model: bytes, origin: str = "the model") -> None:
    """Reads a serialized model; errors name `origin`."""
    try:
      # sentencepiece takes empty bytes for no model at all, and every later call fails.
      self._processor = sentencepiece.SentencePieceProcessor(model_proto=model or b"\0")
    except RuntimeError as error:
      raise UserError(f"{origin} is not a sentencepiece model, or a damaged one") from error
    processor = self._processor
    ids = (processor.pad_id(), processor.eos_id(), processor.unk_id(), processor.bos_id())
    if ids != (PAD, EOS, UNK, BOS):
      raise UserError(
        f"{origin} has pad, eos, unk, bos = {ids} and needs {PAD, EOS, UNK, BOS}: "
        f"train it with --pad_id={PAD} --eos_id={EOS} --unk_id={UNK} --bos_id={BOS}"
      )
    self.model = model
    self.vocab_size = processor.vocab_size()

  @property
  def fingerprint(self) -> str:
    """A hash of the pieces, scores, normalization and algorithm, not of how they were trained."""
    return self._fingerprint

  @functools.cached_property
  def _fingerprint(self) -> str:
    return fingerprint_of("sentencepiece", sentencepiece_model.essence(self.model))

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text; all cores of the machine encode."""
    return self._processor.encode(list(texts), num_threads=-1)

  def sample(self, texts: Sequence[str], rate: float, seed: int) -> list[list[int]]:
    """Returns the ids of a random segmentation of each text, the same for the same seed.

    Args:
      texts: the texts.
      rate: for a BPE model, the probability that a merge is left out (Provilkov et al. 2020,
        arXiv:1910.13267); for a unigram model, the power of the segmentations' probabilities that
        they are sampled with (Kudo 2018, arXiv:1804.10959, section 3.3).
      seed: seed of the random choices.
    """
    rng = random.Random(seed)
    normalized = self._processor.normalize(list(texts))
    return [self._segmenter.sample(text, rate, rng) for text in normalized]

  @functools.cached_property
  def _segmenter(self) -> Segmenter:
    return Segmenter(self.model)

  def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:  # noqa: D102
    # sentencepiece takes an empty list for one sequence, and returns one text.
    if not len(ids):
      return []
    # Starting threads takes longer than decoding the outputs of a batch.
    return self._processor.decode([_content(sequence) for sequence in ids], num_threads=1)

  def pieces(self, ids: Sequence[int]) -> list[str]:  # noqa: D102
    return [self._processor.id_to_piece(int(i)) for i in ids]

  def save(self, folder: str) -> None:  # noqa: D102
    spec = {"kind": "sentencepiece", "fingerprint": self.fingerprint}
    files.save(folder, spec, {files.MODEL: self.model})


class ByteTokenizer(TextCodec):
  """Bytes of UTF-8; byte b has the id 4 + b."""

  vocab_size = len(SPECIAL_PIECES) + 256
  fingerprint = "bytes"

  def encode(self, texts: Sequence[str]) -> list[list[int]]:  # noqa: D102
    return [[len(SPECIAL_PIECES) + byte for byte in text.encode()] for text in texts]

  def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
    """Returns the texts; bytes that are not UTF-8 become U+FFFD."""
    raw = (bytes(i - len(SPECIAL_PIECES) for i in _content(sequence)) for sequence in ids)
    return [text.decode("utf-8", "replace") for text in raw]

  def pieces(self, ids: Sequence[int]) -> list[str]:  # noqa: D102
    names = [*SPECIAL_PIECES, *(chr(b) if 32 < b < 127 else f"<0x{b:02X}>" for b in range(256))]
    return [names[i] for i in ids]

  def save(self, folder: str) -> None:  # noqa: D102
    files.save(folder, {"kind": "bytes", "fingerprint": self.fingerprint})


class CharacterTokenizer(TextCodec):
  """Single characters; unknown ones are UNK."""

  def __init__(self, characters: str) -> None:
    self._names = [*SPECIAL_PIECES, *characters]
    self._ids = {character: i for i, character in enumerate(characters, len(SPECIAL_PIECES))}
    self.vocab_size = len(self._names)
    self.fingerprint = fingerprint_of("characters", characters)

  def encode(self, texts: Sequence[str]) -> list[list[int]]:  # noqa: D102
    return [[self._ids.get(character, UNK) for character in text] for text in texts]

  def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:  # noqa: D102
    return ["".join(self.pieces(_content(sequence))) for sequence in ids]

  def pieces(self, ids: Sequence[int]) -> list[str]:  # noqa: D102
    return [self._names[i] for i in ids]

  def save(self, folder: str) -> None:  # noqa: D102
    characters = "".join(self._names[len(SPECIAL_PIECES) :])
    spec = {"kind": "characters", "fingerprint": self.fingerprint, "characters": characters}
    files.save(folder, spec)


def _content(sequence: Sequence[int]) -> list[int]:
  """Returns the ids before the first EOS, without special tokens."""
  ids = [int(i) for i in sequence]
  end = ids.index(EOS) if EOS in ids else len(ids)
  return [i for i in ids[:end] if i >= len(SPECIAL_PIECES)]


def fingerprint_of(*parts: object) -> str:
  """Returns a hash of everything that a tokenizer consists of."""
  # ascii() writes the same in every Python, where repr() depends on its Unicode tables.
  return hashlib.blake2b(ascii(parts).encode(), digest_size=16).hexdigest()
