"""Sentencepiece models as bytes: training in memory, and fingerprints of their behaviour."""

import io
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sentencepiece

from tfx_jax.errors import UserError

# The pieces of a unigram model depend on the number of training threads: pinned, whatever machine.
_THREADS = 8
_LONGEST_LINE = 1 << 16
# Texts are written back as they were: every space, tab and line feed is kept.
_LOSSLESS = {
  "normalization_rule_name": "identity",
  "remove_extra_whitespaces": False,
  "add_dummy_prefix": False,
  "allow_whitespace_only_pieces": True,
}
# In sentencepiece's ModelProto: the trainer's settings, and those of them that encoding still reads
# (model type, whitespace as suffix, byte fallback) with their defaults.
_TRAINER_SPEC, _TRAINER_DEFAULTS = 2, {3: 1, 24: 0, 35: 0}
_SPACE = "\u2581"  # what stands for a space in pieces


def train(texts: Iterable[str], symbols: Sequence[str] = (), **settings: Any) -> bytes:
  """Trains a model and returns it serialized; the same texts and settings give the same model.

  Args:
    texts: texts to train on, read once as a stream; its exceptions are passed on.
    symbols: strings that are always one piece, together with a space before them.
    **settings: settings of `sentencepiece.SentencePieceTrainer.train`. `input_sentence_size` is the
      number of texts, sampled from the whole stream, to train on; 0 for all. "lossless" is an
      additional `normalization_rule_name`.

  Raises:
    UserError: for a setting out of its range, or a vocabulary that the texts cannot fill.
  """
  coverage, most = settings["character_coverage"], settings["input_sentence_size"]
  if not 0.98 <= coverage <= 1:
    raise UserError(f"tokenizer.character_coverage={coverage} is not in 0.98 … 1")
  if most < 0 or 0 < most <= 100:
    raise UserError(f"tokenizer.max_sentences={most} is neither 0 (all) nor above 100")
  if settings.get("normalization_rule_name") == "lossless":
    settings |= _LOSSLESS
  failure = []

  def stream() -> Iterator[str]:
    # sentencepiece would draw other texts in each process, and turns what an iterator raises into
    # its own RuntimeError: drawn here, and kept here to raise.
    try:
      yield from _short(draw(texts, most) if most else texts)
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
      user_defined_symbols=[symbol.replace(" ", _SPACE) for symbol in symbols],
      **settings,
    )
  except RuntimeError as error:
    if failure:
      raise failure[0] from None
    raise UserError(_mended(str(error), settings["vocab_size"])) from error
  _check_kept(symbols, model.getvalue())
  return model.getvalue()


def _short(texts: Iterable[str]) -> Iterator[str]:
  """Yields the texts, split where they are too long for sentencepiece, which would skip them."""
  longest = _LONGEST_LINE // 4  # characters: none has more than four bytes
  for text in texts:
    yield from (text[start : start + longest] for start in range(0, len(text), longest))


def draw(texts: Iterable[str], most: int) -> list[str]:
  """Returns a uniform sample of at most a number of texts, always the same one.

  The reservoir of Vitter 1985 ("Random Sampling with a Reservoir"), algorithm R.
  """
  rng, kept = random.Random(0), []
  for number, text in enumerate(texts):
    if number < most:
      kept.append(text)
    elif (place := rng.randrange(number + 1)) < most:
      kept[place] = text
  return kept


def essence(model: bytes) -> list[tuple[int, Any]]:
  """Returns the part of a serialized model that decides how it encodes and decodes.

  These are the pieces, scores, normalisation and algorithm, not the other settings of training.
  """
  kept, trainer = [], dict(_TRAINER_DEFAULTS)
  for number, value in _fields(model):
    if number == _TRAINER_SPEC:
      trainer.update((key, v) for key, v in _fields(value) if key in trainer)
    else:
      kept.append((number, value))
  return [*kept, *sorted(trainer.items())]


def _check_kept(symbols: Sequence[str], model: bytes) -> None:
  """Raises a UserError for a symbol that no text is ever encoded to."""
  processor = sentencepiece.SentencePieceProcessor(model_proto=model)
  for symbol in symbols:
    if processor.piece_to_id(symbol.replace(" ", _SPACE)) not in processor.encode(f"a{symbol}"):
      raise UserError(
        f"tokenizer.symbols: {symbol!r} is not kept, tokenizer.normalization changes it; "
        "without a space in front it is"
      )


def _mended(message: str, vocab_size: int) -> str:
  """Returns sentencepiece's message in terms of the config."""
  size = f"tokenizer.vocab_size={vocab_size}"
  if found := re.search(r"size too high .*<= (\d+)", message):
    return f"{size} is more than the text allows: at most {found[1]}"
  if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
    return (
      f"{size} does not hold the characters of the text: at least {found[1]}, "
      "or a lower tokenizer.character_coverage"
    )
  if "sentences_.empty()" in message or "all_chars_count" in message:
    return "no text to train the tokenizer on"
  return f"sentencepiece could not be trained: {' '.join(message.split())}"


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
  """Yields (field number, value) of a protocol buffer: an int, or the bytes as they are.

  The encoding: https://protobuf.dev/programming-guides/encoding
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
