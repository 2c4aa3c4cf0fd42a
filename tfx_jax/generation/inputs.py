"""Texts and token ids as people give them: checked, and cut to what a model reads."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from absl import logging

from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.data.layout import Layout
from tfx_jax.data.truncation import cut
from tfx_jax.errors import UserError, shown

# Most inputs that a warning names.
_NAMED = 5


def as_list(name: str, values: Any, kind: str = "texts") -> list:
  """Returns the items of any iterable but a text.

  Args:
    name: of the parameter, for errors.
    values: as they were given.
    kind: of the items, for errors.

  Raises:
    UserError: for what is no iterable, or one text.
  """
  if isinstance(values, str | bytes | bytearray) or not isinstance(values, Iterable):
    raise UserError(f"{name}={shown(values)}: use a list of {kind}")
  return list(values)


def as_text(name: str, value: Any) -> str:
  """Returns one text.

  Raises:
    UserError: for anything else.
  """
  if not isinstance(value, str):
    raise UserError(f"{name}={shown(value)} is {type(value).__name__}, not str: use one text")
  return str(value)


def as_texts(name: str, values: Any) -> list[str]:
  """Returns the texts of any iterable.

  Raises:
    UserError: for what is no iterable, one text, or holds anything else.
  """
  texts = as_list(name, values)
  return [as_text(f"{name}[{number}]", text) for number, text in enumerate(texts)]


def as_ids(name: str, values: Any) -> list[int]:
  """Returns the token ids of any iterable of whole numbers, NumPy's included.

  Raises:
    UserError: for anything else.
  """
  ids = as_list(name, values, "token ids")
  try:
    return [operator.index(i) for i in ids]
  except TypeError:
    raise UserError(f"{name}={shown(ids)}: use a text, or a list of token ids") from None


def check_ids(name: str, ids: Iterable[int], tokenizer: Tokenizer, excluded: Sequence[int]) -> None:
  """Checks that there are such tokens.

  Args:
    name: of what holds them, for errors.
    ids: of tokens.
    tokenizer: of these tokens.
    excluded: ids that are not allowed here.

  Raises:
    UserError: for an id that the tokenizer does not have, or one that is excluded.
  """
  for i in ids:
    if i in excluded or not 0 <= i < tokenizer.vocab_size:
      names = zip(excluded, tokenizer.pieces(excluded), strict=True)
      known = ", ".join(f"{special} ({name})" for special, name in names)
      also = f", and none of {known}" if known else ""
      raise UserError(f"{name} holds {i}: use ids below {tokenizer.vocab_size}{also}")


def as_targets(name: str, values: Any, tokenizer: Tokenizer, layout: Layout) -> list[list[int]]:
  """Returns the tokens of targets; texts are ended as the layout ends them, ids taken as they are.

  Raises:
    UserError: for an item that is neither a text nor a list of ids that there are.
  """
  targets = []
  for number, target in enumerate(as_list(name, values, "texts or of token lists")):
    if isinstance(target, str):
      targets.append(layout.target(tokenizer.encode([str(target)])[0]))
      continue
    targets.append(as_ids(f"{name}[{number}]", target))
    check_ids(f"{name}[{number}]", targets[-1], tokenizer, ())
  return targets


def cut_long(
  encoded: Sequence[list[int]], layout: Layout, longest: int, warn: bool = True
) -> list[list[int]]:
  """Cuts inputs to what a model may read, with one warning that names them.

  Args:
    encoded: the tokens of each input, nothing around them.
    layout: how the model reads them.
    longest: `generate.max_source_length`, special tokens counted.
    warn: false if the inputs have been reported before.
  """
  limit = min(longest, layout.window or longest)
  room = limit - len(layout.prompt([]))
  long = [str(number) for number, ids in enumerate(encoded, 1) if len(ids) > room]
  if long and warn:
    logging.warning(
      "%d of %d inputs cut to %d tokens (%s): %s",
      *(len(long), len(encoded), limit),
      "generate.max_source_length" if limit == longest else "a training row",
      ", ".join([*long[:_NAMED], *["…"] * (len(long) > _NAMED)]),
    )
  return [list(cut(ids, room, layout.cut_start)) for ids in encoded]
