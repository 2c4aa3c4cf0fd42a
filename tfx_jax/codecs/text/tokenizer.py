"""Text to token ids and back: sentencepiece, bytes or characters, saved with the run."""

import collections
import copy
import functools
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

import sentencepiece

from tfx_jax.codecs.special_tokens import BOS, EOS, OURS, PAD, SPECIALS, UNK, Marks
from tfx_jax.codecs.text import files, sentencepiece_model
from tfx_jax.errors import UserError, nearest

KINDS = ("unigram", "bpe", "bytes", "characters")
NORMALIZATIONS = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity", "lossless")
# sentencepiece has one random generator for the process.
_SAMPLING = threading.Lock()


class Tokenizer(Protocol):
  """Text to ids and back.

  Attributes:
    vocab_size: number of pieces, the specials included.
    marks: see `Marks`.
    fingerprint: changes exactly when `encode` or `decode` may give something else.
  """

  vocab_size: int
  marks: Marks

  @property
  def fingerprint(self) -> str: ...  # noqa: D102

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text, without BOS or EOS."""
    ...

  def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
    """Returns the text of each sequence up to its first EOS, specials left out."""
    ...

  def pieces(self, ids: Sequence[int]) -> list[str]:
    """Returns a printable name for each id, specials included."""
    ...

  def save(self, folder: str) -> None:
    """Writes the tokenizer to a folder, for `load_tokenizer`."""
    ...


def train_tokenizer(
  texts: Iterable[str],
  kind: str,
  vocab_size: int,
  character_coverage: float,
  normalization: str,
  byte_fallback: bool,
  max_sentences: int,
  symbols: Sequence[str] = (),
) -> Tokenizer:
  """Makes a tokenizer of the texts; the same texts and settings give the same tokenizer.

  Args:
    texts: read once, as a stream; not read at all for 'bytes'.
    kind: 'unigram' or 'bpe' (sentencepiece), 'bytes' (of UTF-8, always 260 ids) or 'characters'
      (the most frequent ones, none normalised). What follows but `vocab_size` is sentencepiece's.
    vocab_size: number of pieces, the four specials included; for 'characters' at most so many.
    character_coverage: the share of characters that become pieces; others are UNK, or bytes.
    normalization: a rule of sentencepiece; 'identity' changes nothing but runs of spaces,
      'lossless' nothing at all.
    byte_fallback: whether 256 pieces are bytes, so that nothing is UNK.
    max_sentences: how many lines, drawn over the whole stream, are trained on; 0 for all.
    symbols: strings that are one piece each wherever they stand, a space in front of one included;
      also what normalisation would change, such as a line feed.

  Raises:
    UserError: for a setting out of its range, or a vocabulary that the texts cannot fill.
  """
  if kind not in KINDS:
    raise UserError(f"tokenizer.kind='{kind}' is unknown{nearest(kind, KINDS)}")
  if normalization not in NORMALIZATIONS:
    hint = nearest(normalization, NORMALIZATIONS)
    raise UserError(f"tokenizer.normalization='{normalization}' is unknown{hint}")
  for symbol in symbols:
    if not symbol.strip(" ") or symbol in SPECIALS or list(symbols).count(symbol) > 1:
      raise UserError(f"tokenizer.symbols: {symbol!r} is empty, a special piece, or there twice")
  if kind == "bytes":
    return ByteTokenizer()
  if vocab_size <= len(SPECIALS):
    raise UserError(f"tokenizer.vocab_size={vocab_size} leaves no room beside the four specials")
  if kind == "characters":
    counts = collections.Counter()
    for text in texts:
      counts.update(text)
    if not counts:
      raise UserError("no text to train the tokenizer on")
    order = sorted(counts, key=lambda character: (-counts[character], character))
    return CharacterTokenizer("".join(order[: vocab_size - len(SPECIALS)]))
  model = sentencepiece_model.train(
    texts,
    model_type=kind,
    vocab_size=vocab_size,
    character_coverage=character_coverage,
    normalization_rule_name=normalization,
    byte_fallback=byte_fallback,
    input_sentence_size=max_sentences,
    symbols=symbols,
    pad_id=PAD,
    eos_id=EOS,
    unk_id=UNK,
    bos_id=BOS,
  )
  return SentencePieceTokenizer(model)


def without_end(tokenizer: Tokenizer) -> Tokenizer:
  """The tokenizer with marks by which nothing ends what is read."""
  changed = copy.copy(tokenizer)
  changed.marks = tokenizer.marks._replace(after=())
  return changed


def load_tokenizer(folder: str) -> Tokenizer:
  """Loads what `save` wrote, or a sentencepiece model file of other origin (NAME.model).

  Raises:
    UserError: if it is missing, damaged, or numbers the special pieces in another way.
  """
  if folder.endswith(".model") and not os.path.isdir(folder):
    return SentencePieceTokenizer(files.read(folder), folder)
  path = os.path.join(folder, files.SPEC)
  try:
    spec = json.loads(files.read(path))
    if spec["format"] != files.FORMAT:
      raise UserError(f"{path} has format {spec['format']}, this version reads {files.FORMAT}")
    match spec["kind"]:
      case "bytes":
        tokenizer = ByteTokenizer()
      case "characters":
        tokenizer = CharacterTokenizer(spec["characters"])
      case "sentencepiece":
        model = os.path.join(folder, files.MODEL)
        tokenizer = SentencePieceTokenizer(files.read(model), model)
      case "huggingface" | "marian":
        from tfx_jax.codecs.text import foreign

        tokenizer = foreign.load(folder, spec)
      case kind:
        raise UserError(f"{path} has a tokenizer of unknown kind '{kind}'")
    if spec["fingerprint"] != tokenizer.fingerprint:
      raise UserError(f"the tokenizer in {folder} is damaged: its files do not belong together")
  except UserError:
    raise
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f"{path} is damaged: {type(error).__name__} {error}") from error
  return tokenizer


class SentencePieceTokenizer:
  """A sentencepiece model, unigram or BPE; `model` is its serialized form."""

  def __init__(self, model: bytes, origin: str = "the model") -> None:
    """Reads a serialized model; `origin` is named in errors."""
    try:
      # An empty model is taken for none at all, and every later call then fails.
      self._processor = sentencepiece.SentencePieceProcessor(model_proto=model or b"\0")
    except RuntimeError as error:
      raise UserError(f"{origin} is not a sentencepiece model, or a damaged one") from error
    processor = self._processor
    found = (processor.pad_id(), processor.eos_id(), processor.unk_id(), processor.bos_id())
    if found != (PAD, EOS, UNK, BOS):
      raise UserError(
        f"{origin} has pad, eos, unk, bos = {found} and needs {PAD, EOS, UNK, BOS}: "
        f"train it with --pad_id={PAD} --eos_id={EOS} --unk_id={UNK} --bos_id={BOS}"
      )
    self.model = model
    self.vocab_size = processor.vocab_size()
    self.marks = OURS

  @functools.cached_property
  def fingerprint(self) -> str:
    """Hash of the pieces, scores, normalisation and algorithm, not of how they were trained."""
    return fingerprint_of("sentencepiece", sentencepiece_model.essence(self.model))

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text; a batch is shared among the machine's cores."""
    return self._processor.encode(list(texts), num_threads=-1)

  def sample(self, texts: Sequence[str], rate: float, seed: int) -> list[list[int]]:
    """Returns the ids of a segmentation of each text drawn by chance, the same for the same seed.

    Args:
      texts: to be segmented.
      rate: of a BPE model, the probability that a merge is left out (Provilkov et al. 2020,
        arXiv:1910.13267); of a unigram model, the power of the probability that a segmentation is
        drawn with (Kudo 2018, arXiv:1804.10959, section 3.3).
      seed: of the draw, 0 … 2**32 - 2.
    """
    with _SAMPLING:
      sentencepiece.set_random_generator_seed(seed)
      # One thread: with more, which of them draws for which text is left to chance as well.
      return self._processor.encode(
        list(texts), enable_sampling=True, alpha=rate, nbest_size=-1, num_threads=1
      )

  def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:  # noqa: D102
    # Given an empty list, sentencepiece takes it for one sequence and returns one text.
    if not len(ids):
      return []
    # To start threads takes longer than to decode the outputs of a batch.
    return self._processor.decode([_content(sequence) for sequence in ids], num_threads=1)

  def pieces(self, ids: Sequence[int]) -> list[str]:  # noqa: D102
    return [self._processor.id_to_piece(int(i)) for i in ids]

  def save(self, folder: str) -> None:  # noqa: D102
    spec = {"kind": "sentencepiece", "fingerprint": self.fingerprint}
    files.save(folder, spec, {files.MODEL: self.model})


class ByteTokenizer:
  """The bytes of UTF-8, each byte b as the id 4 + b."""

  vocab_size, marks = len(SPECIALS) + 256, OURS
  fingerprint = "bytes"

  def encode(self, texts: Sequence[str]) -> list[list[int]]:  # noqa: D102
    return [[len(SPECIALS) + byte for byte in text.encode()] for text in texts]

  def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
    """Returns the texts; bytes that are no UTF-8 become U+FFFD."""
    raw = (bytes(i - len(SPECIALS) for i in _content(sequence)) for sequence in ids)
    return [text.decode("utf-8", "replace") for text in raw]

  def pieces(self, ids: Sequence[int]) -> list[str]:  # noqa: D102
    names = [*SPECIALS, *(chr(b) if 32 < b < 127 else f"<0x{b:02X}>" for b in range(256))]
    return [names[i] for i in ids]

  def save(self, folder: str) -> None:  # noqa: D102
    files.save(folder, {"kind": "bytes", "fingerprint": self.fingerprint})


class CharacterTokenizer:
  """Single characters; those it does not know are UNK."""

  def __init__(self, characters: str) -> None:
    self._names = [*SPECIALS, *characters]
    self._ids = {character: i for i, character in enumerate(characters, len(SPECIALS))}
    self.vocab_size, self.marks = len(self._names), OURS
    self.fingerprint = fingerprint_of("characters", characters)

  def encode(self, texts: Sequence[str]) -> list[list[int]]:  # noqa: D102
    return [[self._ids.get(character, UNK) for character in text] for text in texts]

  def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:  # noqa: D102
    return ["".join(self.pieces(_content(sequence))) for sequence in ids]

  def pieces(self, ids: Sequence[int]) -> list[str]:  # noqa: D102
    return [self._names[i] for i in ids]

  def save(self, folder: str) -> None:  # noqa: D102
    characters = "".join(self._names[len(SPECIALS) :])
    spec = {"kind": "characters", "fingerprint": self.fingerprint, "characters": characters}
    files.save(folder, spec)


def _content(sequence: Sequence[int]) -> list[int]:
  """Returns the ids before the first EOS that stand for text."""
  ids = [int(i) for i in sequence]
  end = ids.index(EOS) if EOS in ids else len(ids)
  return [i for i in ids[:end] if i >= len(SPECIALS)]


def fingerprint_of(*parts: object) -> str:
  """A hash of what a tokenizer is."""
  # ascii() writes the same in every Python, where repr() depends on its Unicode tables.
  return hashlib.blake2b(ascii(parts).encode(), digest_size=16).hexdigest()
