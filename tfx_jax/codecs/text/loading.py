"""Training of tokenizers on texts, and loading from the folders that they were saved to."""

import collections
import json
import os
from collections.abc import Iterable, Sequence

from absl import logging

from tfx_jax.codecs.special_tokens import BOS, EOS, PAD, SPECIAL_PIECES, UNK
from tfx_jax.codecs.text import files, foreign, sentencepiece_model
from tfx_jax.codecs.text.tokenizer import (
  ByteTokenizer,
  CharacterTokenizer,
  SentencePieceTokenizer,
  Tokenizer,
)
from tfx_jax.errors import UserError, nearest

KINDS = ("unigram", "bpe", "bytes", "characters")
NORMALIZATIONS = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity", "lossless")


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
  """Trains a tokenizer; the same texts and settings give the same tokenizer.

  Args:
    texts: the texts, read as a stream; read again if `vocab_size` is too small and all of them are
      used; not read at all for 'bytes'.
    kind: 'unigram' or 'bpe' (sentencepiece), 'bytes' (of UTF-8, always 260 ids) or 'characters'
      (the most frequent ones, not normalized). The settings below, except `vocab_size`, are for
      sentencepiece only.
    vocab_size: number of pieces, special ones included. If the texts do not fill as many, or their
      characters need more, a message gives the number that the tokenizer has instead; for
      'characters' the less frequent ones are left out.
    character_coverage: share of characters that become pieces; others are UNK, or bytes.
    normalization: a rule of sentencepiece; 'identity' changes only runs of spaces, 'lossless'
      nothing.
    byte_fallback: whether 256 pieces are bytes, so that nothing is UNK.
    max_sentences: number of texts, drawn from all of them, to train on; 0 for all.
    symbols: strings that are always one piece, including a space in front of one, and characters
      that normalization would change, such as a line feed.

  Raises:
    UserError: for a setting out of its range, or if there is no text.
  """
  if kind not in KINDS:
    raise UserError(f"tokenizer.kind='{kind}' is unknown{nearest(kind, KINDS)}")
  if normalization not in NORMALIZATIONS:
    hint = nearest(normalization, NORMALIZATIONS)
    raise UserError(f"tokenizer.normalization='{normalization}' is unknown{hint}")
  for symbol in symbols:
    if not symbol.strip(" ") or symbol in SPECIAL_PIECES or list(symbols).count(symbol) > 1:
      raise UserError(f"tokenizer.symbols: {symbol!r} is empty, a special piece, or given twice")
  if kind == "bytes":
    return ByteTokenizer()
  if vocab_size <= len(SPECIAL_PIECES):
    raise UserError(
      f"tokenizer.vocab_size={vocab_size}: use more than the {len(SPECIAL_PIECES)} special pieces"
    )
  if kind == "characters":
    counts = collections.Counter()
    for text in texts:
      counts.update(text)
    if not counts:
      raise UserError("no text to train the tokenizer on")
    order = sorted(counts, key=lambda character: (-counts[character], character))
    tokenizer = CharacterTokenizer("".join(order[: vocab_size - len(SPECIAL_PIECES)]))
  else:
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
    tokenizer = SentencePieceTokenizer(model)
  _report_size(tokenizer.vocab_size, vocab_size)
  return tokenizer


def _report_size(size: int, asked: int) -> None:
  """Logs the size of a vocabulary that is not the one asked for."""
  if size < asked:
    logging.warning(
      "the vocabulary has %d pieces: the text does not fill tokenizer.vocab_size=%d", size, asked
    )
  elif size > asked:
    logging.warning(
      "the vocabulary has %d pieces: tokenizer.vocab_size=%d does not hold the characters of the "
      "text; a tokenizer.character_coverage below 1 leaves out rare ones",
      size,
      asked,
    )


def load_tokenizer(folder: str) -> Tokenizer:
  """Loads a saved tokenizer, or a sentencepiece model file of other origin (NAME.model).

  Raises:
    UserError: if it is missing, damaged, or has other ids for the special pieces.
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
