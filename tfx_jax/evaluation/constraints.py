"""What outputs must begin with and must not hold, from names and texts to ids."""

import difflib
from collections.abc import Collection, Sequence

import numpy as np

from tfx_jax.data.tokenizer import BOS, EOS, PAD, SPECIALS, Tokenizer
from tfx_jax.errors import UserError

# Texts, or token lists without EOS.
Prefixes = Sequence[str] | Sequence[Sequence[int]]


def forbidden_mask(tokenizer: Tokenizer, names: Collection[str]) -> np.ndarray:
  """Which ids are never generated: bool [V], true for PAD, BOS and the pieces of these names.

  Raises:
    UserError: for a name that no piece has, or that of EOS.
  """
  ids = {name: i for i, name in enumerate(tokenizer.pieces(range(tokenizer.vocab_size)))}
  mask = np.isin(np.arange(tokenizer.vocab_size), (PAD, BOS))
  for name in names:
    if name not in ids:
      (close,) = difflib.get_close_matches(name, ids, n=1, cutoff=0.0)
      raise UserError(
        f"generate.forbidden: the target tokenizer has no piece '{name}', did you mean '{close}'?"
      )
    if ids[name] == EOS:
      raise UserError(f"generate.forbidden: without '{name}' no output could end")
    mask[ids[name]] = True
  return mask


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
  if isinstance(prefixes, str) or len(prefixes) != count:
    raise UserError(f"prefixes must be a list with one for each of {count} inputs")
  return [
    _checked(
      f"prefix {number}",
      tokenizer.encode([prefix])[0] if isinstance(prefix, str) else list(prefix),
      tokenizer,
      max_length,
    )
    for number, prefix in enumerate(prefixes, 1)
  ]


def _checked(name: str, ids: list[int], tokenizer: Tokenizer, max_length: int) -> list[int]:
  if len(ids) >= max_length:
    raise UserError(
      f"{name} has {len(ids)} tokens, no fewer than generate.max_length={max_length}: "
      f"use {len(ids) + 1} or more"
    )
  specials = (PAD, EOS, BOS)
  for i in ids:
    if i in specials or not 0 <= i < tokenizer.vocab_size:
      known = ", ".join(f"{special} ({SPECIALS[special]})" for special in specials)
      raise UserError(
        f"{name} holds {i}: use ids below {tokenizer.vocab_size}, and none of {known}"
      )
  return ids
