"""Constraints on generated tokens: prefixes, forbidden pieces and phrases, from texts to ids."""

import collections
import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfx_jax.codecs.codec import Codec
from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.decoding.phrases import END, START, Phrases
from tfx_jax.errors import UserError
from tfx_jax.generation.inputs import as_ids, as_list, check_ids, is_text, tokens_of
from tfx_jax.generation.settings import GenerateSettings

# Texts, or token lists without EOS.
Prefixes = Sequence[str] | Sequence[Sequence[int]]

# Settings that only texts have.
TEXT_SETTINGS = ("prefix", "forbidden", "forbidden_phrases", "stop", "stream")
# SentencePiece writes this for a space, and puts it before a text.
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_BYTE = re.compile("<0x([0-9A-F]{2})>")


class Constraints(NamedTuple):
  """Constraints on the outputs of a generator.

  Attributes:
    prefix: tokens that outputs begin with where the caller gives no prefixes.
    forbidden: bool [V], true for tokens that are never generated.
    phrases: phrases that never occur in an output, or None.
    eos: ids of the tokens that end an output.
  """

  prefix: list[int]
  forbidden: np.ndarray
  phrases: Phrases | None
  eos: tuple[int, ...]


def make_constraints(codec: Codec, settings: GenerateSettings) -> Constraints:
  """Returns the constraints that settings mean for the outputs of a codec.

  Raises:
    UserError: for a prefix that is too long, a piece that the tokenizer does not have, or a setting
      that is not for this kind of output.
  """
  check_no_frames(settings)
  if is_text(codec):
    prefix = encode_prefix(codec, settings.prefix, settings.max_length)
    phrases = spellings(codec, settings.forbidden_phrases)
  else:
    check_no_text(settings)
    prefix, phrases = [], None
  forbidden = forbidden_mask(codec, settings.forbidden)
  return Constraints(prefix, forbidden, phrases, tokens_of(codec).special_tokens.eos_ids)


def check_no_frames(settings: GenerateSettings) -> None:
  """Checks that settings ask for nothing that only frames have.

  Raises:
    UserError: naming the setting.
  """
  if settings.stop_threshold != GenerateSettings.stop_threshold:
    raise UserError(
      f"generate.stop_threshold={settings.stop_threshold} is for outputs of frames: these outputs "
      "are tokens and end with EOS"
    )


def check_no_text(settings: GenerateSettings) -> None:
  """Checks that settings ask for nothing that only texts have.

  Raises:
    UserError: naming the setting.
  """
  if settings.search == "mbr":
    raise UserError("generate.search='mbr' is for outputs that are texts: use beam or sample")
  for name in TEXT_SETTINGS:
    value = getattr(settings, name)
    if value != getattr(GenerateSettings, name):
      raise UserError(f"generate.{name}={value!r} is for outputs that are texts: leave it out")


def forbidden_mask(codec: Codec, names: Collection[str]) -> np.ndarray:
  """Returns a mask [V] of ids that are never generated.

  They are PAD, BOS, the ids of another codec, and the pieces `names`.

  Raises:
    UserError: for a name that no piece has, or that of EOS.
  """
  tokens = tokens_of(codec)
  special = tokens.special_tokens
  never = [i for i in (special.pad, special.bos) if i is not None]
  ids = np.arange(tokens.vocab_size)
  mask = (np.isin(ids, never) | (ids < tokens.others)) & ~np.isin(ids, special.eos_ids)
  if not names or not is_text(codec):
    return mask
  pieces = {name: i for i, name in enumerate(codec.pieces(range(tokens.vocab_size)))}
  for name in names:
    if name not in pieces:
      (close,) = difflib.get_close_matches(name, pieces, n=1, cutoff=0.0)
      raise UserError(
        f"generate.forbidden: the target tokenizer has no piece '{name}', did you mean '{close}'?"
      )
    mask[pieces[name]] = True
    if mask[list(special.eos_ids)].all():
      raise UserError(f"generate.forbidden: without '{name}' no output could end")
  return mask


def spellings(tokenizer: Tokenizer, phrases: Collection[str]) -> Phrases | None:
  """Returns a graph of all ways in which pieces spell phrases; None if there is no way.

  A spelling starts at the beginning of a piece and stops at the end of one. Where the tokenizer
  puts a space before words, a phrase is spelled with and without it.

  Args:
    tokenizer: tokenizer of the outputs; it normalizes the phrases.
    phrases: texts.
  """
  if not phrases:
    return None
  pieces = collections.defaultdict(list)
  for i, name in enumerate(tokenizer.pieces(range(tokenizer.vocab_size))):
    if i not in tokenizer.special_tokens.ids:
      pieces[_utf8(name)].append(i)
  arcs, nodes, longest, reach = [], END + 1, 1, max(map(len, pieces))
  for text in _surfaces(tokenizer, phrases):
    # Nodes are positions in the text, in bytes; arcs are pieces.
    node = {0: START, len(text): END}
    for begin in range(len(text)):
      for end in range(begin + 1, min(len(text), begin + reach) + 1):
        tokens = pieces.get(text[begin:end], ()) if begin in node else ()
        if tokens and end not in node:
          node[end], nodes = nodes, nodes + 1
        arcs += [(node[begin], token, node[end]) for token in tokens]
    longest = max(longest, len(node) - 1)
  if not arcs:
    return None
  source, token, target = np.array(arcs, np.int32).T
  return Phrases(source, token, target, nodes, longest)


def _surfaces(tokenizer: Tokenizer, phrases: Collection[str]) -> Iterator[bytes]:
  """Yields the bytes that each phrase's pieces spell; nothing for one that they cannot spell."""
  phrases = list(phrases)
  for phrase, ids in zip(phrases, tokenizer.encode(phrases), strict=True):
    if ids and tokenizer.special_tokens.unk not in ids:
      names = tokenizer.pieces(ids)
      yield b"".join(map(_utf8, names))
      if names[0].startswith(SPACE) and not phrase.startswith(SPACE):
        yield b"".join(map(_utf8, (names[0].removeprefix(SPACE), *names[1:])))


def _utf8(name: str) -> bytes:
  """Returns the UTF-8 that a piece of this name stands for."""
  byte = _BYTE.fullmatch(name)
  return bytes.fromhex(byte[1]) if byte else name.encode()


def encode_prefix(tokenizer: Tokenizer, text: str, max_length: int) -> list[int]:
  """Returns the tokens of `generate.prefix`.

  Raises:
    UserError: if an output of `max_length` tokens has no capacity for more than the prefix.
  """
  return _checked("generate.prefix", tokenizer.encode([text])[0], tokenizer, max_length)


def encode_prefixes(
  codec: Codec, prefixes: Prefixes, count: int, max_length: int
) -> list[list[int]]:
  """Returns the tokens of each of `count` prefixes, given as texts or as tokens.

  Raises:
    UserError: if one leaves no capacity in an output of `max_length` tokens, if there are not
      `count`, or for texts where outputs are no texts.
  """
  if isinstance(prefixes, str) or len(prefixes := as_list("prefixes", prefixes)) != count:
    raise UserError(f"prefixes must be a list with one for each of {count} inputs")
  encoded = []
  for number, prefix in enumerate(prefixes, 1):
    name = f"prefix {number}"
    if isinstance(prefix, str) and is_text(codec):
      ids = codec.encode([str(prefix)])[0]
    else:
      ids = as_ids(name, prefix)
    encoded.append(_checked(name, ids, codec, max_length))
  return encoded


def _checked(name: str, ids: list[int], codec: Codec, max_length: int) -> list[int]:
  if len(ids) >= max_length:
    raise UserError(
      f"{name} has {len(ids)} tokens, no fewer than generate.max_length={max_length}: "
      f"use {len(ids) + 1} or more"
    )
  special = tokens_of(codec).special_tokens
  check_ids(name, ids, codec, sorted(special.ids - {special.unk}))
  return ids
