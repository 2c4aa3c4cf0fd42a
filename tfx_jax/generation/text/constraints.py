"""What outputs must begin with and must not hold, from names and texts to ids."""

import collections
import difflib
import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.decoding.phrases import END, START, Phrases
from tfx_jax.errors import UserError
from tfx_jax.generation.inputs import as_ids, as_list, check_ids

# Texts, or token lists without EOS.
Prefixes = Sequence[str] | Sequence[Sequence[int]]

# What sentencepiece writes for a space, and puts before a text.
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_BYTE = re.compile("<0x([0-9A-F]{2})>")


def forbidden_mask(tokenizer: Tokenizer, names: Collection[str]) -> np.ndarray:
  """Which ids are never generated: bool [V], of PAD, BOS and the pieces of these names.

  Raises:
    UserError: for a name that no piece has, or that of EOS.
  """
  special_tokens = tokenizer.special_tokens
  unwritten = [
    i for i in (special_tokens.pad, special_tokens.bos) if i not in (None, *special_tokens.eos_ids)
  ]
  mask = np.isin(np.arange(tokenizer.vocab_size), unwritten)
  if not names:
    return mask
  ids = {name: i for i, name in enumerate(tokenizer.pieces(range(tokenizer.vocab_size)))}
  for name in names:
    if name not in ids:
      (close,) = difflib.get_close_matches(name, ids, n=1, cutoff=0.0)
      raise UserError(
        f"generate.forbidden: the target tokenizer has no piece '{name}', did you mean '{close}'?"
      )
    mask[ids[name]] = True
    if mask[list(special_tokens.eos_ids)].all():
      raise UserError(f"generate.forbidden: without '{name}' no output could end")
  return mask


def spellings(tokenizer: Tokenizer, phrases: Collection[str]) -> Phrases | None:
  """All ways in which pieces of the tokenizer spell these phrases; None where there is no way.

  A spelling begins with the beginning of a piece and ends with the end of one. Where the tokenizer
  marks the beginning of a word, the phrase is spelled with and without that mark.

  Args:
    tokenizer: of the outputs; the phrases are normalised as it does.
    phrases: texts.
  """
  if not phrases:
    return None
  pieces = collections.defaultdict(list)
  for i, name in enumerate(tokenizer.pieces(range(tokenizer.vocab_size))):
    if i not in tokenizer.special_tokens.ids:
      pieces[_spelled(name)].append(i)
  arcs, nodes, longest, reach = [], END + 1, 1, max(map(len, pieces))
  for text in _surfaces(tokenizer, phrases):
    node = {0: START, len(text): END}
    for begin in range(len(text)):
      for end in range(begin + 1, min(len(text), begin + reach) + 1):
        tokens = pieces.get(text[begin:end], ()) if begin in node else ()
        if tokens and end not in node:
          node[end], nodes = nodes, nodes + 1
        arcs += [(node[begin], token, node[end]) for token in tokens]
    longest = max(longest, len(node) - 1)
  return Phrases(*np.array(arcs, np.int32).T, nodes, longest) if arcs else None


def _surfaces(tokenizer: Tokenizer, phrases: Collection[str]) -> Iterator[bytes]:
  """What the pieces of each phrase spell together; nothing for what they cannot spell."""
  phrases = list(phrases)
  for phrase, ids in zip(phrases, tokenizer.encode(phrases), strict=True):
    if ids and tokenizer.special_tokens.unk not in ids:
      names = tokenizer.pieces(ids)
      yield b"".join(map(_spelled, names))
      if names[0].startswith(SPACE) and not phrase.startswith(SPACE):
        yield b"".join(map(_spelled, (names[0].removeprefix(SPACE), *names[1:])))


def _spelled(name: str) -> bytes:
  """The UTF-8 that a piece of this name stands for."""
  byte = _BYTE.fullmatch(name)
  return bytes.fromhex(byte[1]) if byte else name.encode()


def encode_prefix(tokenizer: Tokenizer, text: str, max_length: int) -> list[int]:
  """The tokens of `generate.prefix`.

  Raises:
    UserError: if it leaves no room in an output of `max_length` tokens.
  """
  return _checked("generate.prefix", tokenizer.encode([text])[0], tokenizer, max_length)


def encode_prefixes(
  tokenizer: Tokenizer, prefixes: Prefixes, count: int, max_length: int
) -> list[list[int]]:
  """The tokens of each of `count` prefixes, given as texts or as tokens.

  Raises:
    UserError: if one leaves no room in an output of `max_length` tokens, or they are not as many.
  """
  if isinstance(prefixes, str) or len(prefixes := as_list("prefixes", prefixes)) != count:
    raise UserError(f"prefixes must be a list with one for each of {count} inputs")
  found = []
  for number, prefix in enumerate(prefixes, 1):
    name, is_text = f"prefix {number}", isinstance(prefix, str)
    ids = tokenizer.encode([str(prefix)])[0] if is_text else as_ids(name, prefix)
    found.append(_checked(name, ids, tokenizer, max_length))
  return found


def _checked(name: str, ids: list[int], tokenizer: Tokenizer, max_length: int) -> list[int]:
  if len(ids) >= max_length:
    raise UserError(
      f"{name} has {len(ids)} tokens, no fewer than generate.max_length={max_length}: "
      f"use {len(ids) + 1} or more"
    )
  check_ids(
    name, ids, tokenizer, sorted(tokenizer.special_tokens.ids - {tokenizer.special_tokens.unk})
  )
  return ids
