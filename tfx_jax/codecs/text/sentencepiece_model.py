"""Sentencepiece models as bytes: trained in memory, and compared by their behavior."""

import io
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sentencepiece

from tfx_jax.codecs.special_tokens import SPECIAL_PIECES
from tfx_jax.errors import UserError

# The pieces of a unigram model depend on the number of training threads: the same on all machines.
_THREADS = 8
_LONGEST_LINE = 1 << 16
# Decoding gives the encoded texts exactly: every space, tab and line feed is kept.
_LOSSLESS = {
  "normalization_rule_name": "identity",
  "remove_extra_whitespaces": False,
  "add_dummy_prefix": False,
  "allow_whitespace_only_pieces": True,
}
# In sentencepiece's ModelProto: the settings of the trainer, and those of them that encoding uses
# (model type, whitespace as suffix, byte fallback) with their defaults.
_TRAINER_SPEC, _TRAINER_DEFAULTS = 2, {3: 1, 24: 0, 35: 0}
_SPACE = "\u2581"  # the space in pieces


def train(texts: Iterable[str], symbols: Sequence[str] = (), **settings: Any) -> bytes:
  """Trains a model and returns it serialized; the same texts and settings give the same model.

  The model has fewer pieces than `vocab_size` if the texts do not fill more, and more pieces if
  their characters and the symbols need more.

  Args:
    texts: the texts; its exceptions are raised unchanged. Read as a stream, and again if
      `vocab_size` is too small and all texts are used.
    symbols: strings that are always one piece, including a space in front of one.
    **settings: those of `sentencepiece.SentencePieceTrainer.train`, with two differences:
      `input_sentence_size` texts are drawn from all of them, 0 for all; `normalization_rule_name`
      may be "lossless", too.

  Raises:
    UserError: for a setting out of its range, or texts without any text.
  """
  coverage, most = settings["character_coverage"], settings["input_sentence_size"]
  if not 0.98 <= coverage <= 1:
    raise UserError(f"tokenizer.character_coverage={coverage} is not in 0.98 … 1")
  if most < 0 or 0 < most <= 100:
    raise UserError(f"tokenizer.max_sentences={most} is neither 0 (all) nor above 100")
  if settings.get("normalization_rule_name") == "lossless":
    settings |= _LOSSLESS
  # Drawn here, because sentencepiece draws other texts in each process.
  texts = draw(texts, most) if most else texts
  settings["vocab_size"] = max(settings["vocab_size"], len(SPECIAL_PIECES) + len(symbols) + 1)
  try:
    model = _train_once(texts, symbols, settings)
  except _TooSmallError as error:
    model = _train_once(texts, symbols, settings | {"vocab_size": error.least})
  _check_kept(symbols, model)
  return model


class _TooSmallError(Exception):
  """A vocabulary that does not hold the characters of the texts; `least` is the smallest size."""

  def __init__(self, least: int) -> None:
    super().__init__(least)
    self.least = least


def _train_once(texts: Iterable[str], symbols: Sequence[str], settings: dict[str, Any]) -> bytes:
  failure = []

  def stream() -> Iterator[str]:
    # Exceptions are kept, because sentencepiece raises its own RuntimeError instead.
    try:
      yield from _short(texts)
    except BaseException as error:
      failure.append(error)
      raise

  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=stream(),
      model_writer=model,
      num_threads=_THREADS,
      max_sentence_length=_LONGEST_LINE,
      minloglevel=2,
      hard_vocab_limit=False,  # fewer pieces are no error; otherwise the same model
      user_defined_symbols=[symbol.replace(" ", _SPACE) for symbol in symbols],
      **settings,
    )
  except RuntimeError as error:
    if failure:
      raise failure[0] from None
    message = str(error)
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
      raise _TooSmallError(int(match[1])) from error
    if "sentences_.empty()" in message or "all_chars_count" in message:
      raise UserError("no text to train the tokenizer on") from error
    reason = " ".join(message.split())
    raise UserError(f"sentencepiece could not be trained: {reason}") from error
  return model.getvalue()


def _short(texts: Iterable[str]) -> Iterator[str]:
  """Yields the texts in chunks that are short enough for sentencepiece, which skips longer ones."""
  longest = _LONGEST_LINE // 4  # in characters, which have at most four bytes
  for text in texts:
    yield from (text[start : start + longest] for start in range(0, len(text), longest))


def draw(texts: Iterable[str], most: int) -> list[str]:
  """Returns at most `most` of the texts, with equal probability, always the same ones.

  Algorithm R of Vitter 1985, "Random Sampling with a Reservoir".
  """
  rng, kept = random.Random(0), []
  for number, text in enumerate(texts):
    if number < most:
      kept.append(text)
    elif (place := rng.randrange(number + 1)) < most:
      kept[place] = text
  return kept


def essence(model: bytes) -> list[tuple[int, Any]]:
  """Returns the fields of a serialized model that decide how it encodes and decodes.

  These are pieces, scores, normalization and algorithm, not the other settings of training.
  """
  kept, trainer = [], dict(_TRAINER_DEFAULTS)
  for number, value in fields(model):
    if number == _TRAINER_SPEC:
      trainer.update((key, v) for key, v in fields(value) if key in trainer)
    else:
      kept.append((number, value))
  return [*kept, *sorted(trainer.items())]


def _check_kept(symbols: Sequence[str], model: bytes) -> None:
  """Raises UserError for a symbol that is not kept as one piece."""
  processor = sentencepiece.SentencePieceProcessor(model_proto=model)
  for symbol in symbols:
    if processor.piece_to_id(symbol.replace(" ", _SPACE)) not in processor.encode(f"a{symbol}"):
      raise UserError(
        f"tokenizer.symbols: {symbol!r} is not kept, tokenizer.normalization changes it; "
        "without a space in front it is"
      )


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
  """Yields (field number, value) of a protocol buffer: an int, or bytes.

  Encoding: https://protobuf.dev/programming-guides/encoding
  """
  place = 0

  def varint() -> int:
    nonlocal place
    number = shift = 0
    while True:
      byte = message[place]
      place += 1
      number |= (byte & 0x7F) << shift
      shift += 7
      if byte < 0x80:
        return number

  while place < len(message):
    key = varint()
    if key & 7 == 0:
      value = varint()
    else:
      size = varint() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
      value = message[place : place + size]
      place += size
    yield key >> 3, value
