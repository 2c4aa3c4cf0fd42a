"""Inputs and token ids as callers give them: checked, and cut to a length that a model can read."""

import operator
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeGuard

import numpy as np
from absl import logging

from tfx_jax.codecs.codec import Codec, Elements, Tokens
from tfx_jax.codecs.text.tokenizer import Tokenizer
from tfx_jax.data.layout import Layout
from tfx_jax.data.truncation import cut
from tfx_jax.errors import UserError, shown

# Most inputs that a warning names.
_NAMED = 5


def is_text(codec: Codec) -> TypeGuard[Tokenizer]:
  """Returns whether a codec is a tokenizer, whose values are texts."""
  return hasattr(codec, "pieces")


class PictureCodec(Codec[np.ndarray], Protocol):
  """A codec of pictures, uint8 [H,W,C]."""

  @property
  def shape(self) -> tuple[int, int, int]:
    """Shape of a picture, (H, W, C)."""
    ...


def is_picture(codec: Codec) -> TypeGuard[PictureCodec]:
  """Returns whether the values of a codec are pictures."""
  return hasattr(codec, "shape")


def tokens_of(codec: Codec) -> Tokens:
  """Returns the element of a codec of tokens.

  Raises:
    UserError: if its elements are frames.
  """
  if not isinstance(codec.element, Tokens):
    raise UserError("the elements of the target codec are frames: use FrameGenerator")
  return codec.element


def as_list(name: str, values: object, kind: str = "texts") -> list:
  """Returns the items of any iterable but a text.

  Args:
    name: name of the parameter, for errors.
    values: the caller's argument.
    kind: kind of the items, for errors.

  Raises:
    UserError: for one text, or a value that is not iterable.
  """
  if isinstance(values, str | bytes | bytearray) or not isinstance(values, Iterable):
    raise UserError(f"{name}={shown(values)}: use a list of {kind}")
  return list(values)


def as_text(name: str, value: object) -> str:
  """Returns one text.

  Raises:
    UserError: for anything else.
  """
  if not isinstance(value, str):
    raise UserError(f"{name}={shown(value)} is {type(value).__name__}, not str: use one text")
  return str(value)


def as_texts(name: str, values: object) -> list[str]:
  """Returns the texts of any iterable.

  Raises:
    UserError: for one text, a value that is not iterable, or items of another type.
  """
  texts = as_list(name, values)
  return [as_text(f"{name}[{number}]", text) for number, text in enumerate(texts)]


def as_ids(name: str, values: object) -> list[int]:
  """Returns the token ids of any iterable of integers, NumPy's included.

  Raises:
    UserError: for anything else.
  """
  ids = as_list(name, values, "token ids")
  try:
    return [operator.index(i) for i in ids]
  except TypeError:
    raise UserError(f"{name}={shown(ids)}: use a text, or a list of token ids") from None


def check_ids(name: str, ids: Iterable[int], codec: Codec, excluded: Sequence[int]) -> None:
  """Checks that token ids exist.

  Args:
    name: name of the list that contains them, for errors.
    ids: token ids.
    codec: codec of these tokens.
    excluded: ids that are not allowed here.

  Raises:
    UserError: for an id that the codec does not have, or that is excluded.
  """
  size = tokens_of(codec).vocab_size
  for i in ids:
    if i in excluded or not 0 <= i < size:
      pieces = codec.pieces(excluded) if is_text(codec) else ["special"] * len(excluded)
      names = zip(excluded, pieces, strict=True)
      known = ", ".join(f"{special} ({name})" for special, name in names)
      also = f", and none of {known}" if known else ""
      raise UserError(f"{name} holds {i}: use ids below {size}{also}")


def as_targets(name: str, values: object, tokenizer: Tokenizer, layout: Layout) -> list[list[int]]:
  """Returns the tokens of targets: texts end as in the layout, ids are taken as they are.

  Raises:
    UserError: for an item that is neither a text nor a list of existing ids.
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
  encoded: Sequence[Elements], layout: Layout, longest: int, warn: bool = True
) -> list[Elements]:
  """Cuts inputs to a length that the model may read, with one warning that names them.

  Args:
    encoded: elements of each input, without special tokens.
    layout: how the model is given inputs.
    longest: `generate.max_source_length`, special tokens counted.
    warn: false if the inputs have been reported before.
  """
  limit = min(longest, layout.window or longest)
  capacity = limit - len(layout.prompt([]))
  long = [str(number) for number, elements in enumerate(encoded, 1) if len(elements) > capacity]
  if long and warn:
    logging.warning(
      "%d of %d inputs cut to %d tokens (%s): %s",
      *(len(long), len(encoded), limit),
      "generate.max_source_length" if limit == longest else "a training row",
      ", ".join([*long[:_NAMED], *["…"] * (len(long) > _NAMED)]),
    )
  return [cut(elements, capacity, layout.cut_start) for elements in encoded]
