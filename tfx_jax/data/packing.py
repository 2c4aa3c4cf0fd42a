"""Packing: rows of sequences as the arrays of a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfx_jax.codecs.codec import Element, Elements, Tokens
from tfx_jax.data.chains import unroll
from tfx_jax.data.example import Pair

# Arrays of a batch, by the keys of `tfx_jax.models.model.Batch`.
Arrays = dict[str, np.ndarray]
# The default element has the special tokens of our own tokenizers; its size is not used here.
TOKENS = Tokens(vocab_size=0)


def pack(
  sources: Sequence[Sequence[Elements]],
  targets: Sequence[Sequence[Elements]],
  source_length: int,
  target_length: int,
  elements: tuple[Element, Element] = (TOKENS, TOKENS),
  multiple: int = 1,
) -> Arrays:
  """Arranges rows of sequences as a batch.

  Args:
    sources: the source sequences of each row, special tokens included.
    targets: the target sequences of each row, in the same order.
    source_length: S.
    target_length: T.
    elements: elements of sources and of targets.
    multiple: each target begins at a multiple of this in its row.

  Returns:
    `inputs` [B,S] (frames: [B,S,C]), int32 `inputs_segments`, `inputs_positions` [B,S];
    `decoder_inputs`, `targets` [B,T] (frames: [B,T,C]), int32 `targets_segments`,
    `targets_positions` [B,T]; float32 `weights` [B,T]. Each target is shifted right separately: its
    first decoder input is BOS or a frame of zeros, whatever precedes it in the row. The first
    `prefix_length` elements of each target have weight 0.
  """
  inputs = lay_out(sources, source_length, elements[0])
  shifted = _shifted(targets, elements[1])
  arrays = decoder_arrays(shifted, targets, target_length, elements[1], multiple)
  arrays["weights"] *= arrays["targets_positions"] >= elements[1].prefix_length
  return {
    "inputs": inputs.values,
    "inputs_segments": inputs.segments,
    "inputs_positions": inputs.positions,
  } | arrays


def pack_sequences(
  rows: Sequence[Sequence[Sequence[Pair]]], length: int, element: Tokens = TOKENS
) -> Arrays:
  """Arranges rows of sequences for a decoder-only model, each source in front of its target.

  Args:
    rows: the chains of each row, see `chains`; a source may be empty.
    length: T.
    element: element of sources and targets, which have the same special tokens.

  Returns:
    `decoder_inputs`, `targets`, `targets_segments`, `targets_positions` and `weights` [B,T], as
    those of `pack`; sources are predicted too, but without weight.
  """
  unrolled = [[unroll(chain) for chain in row] for row in rows]
  tokens, predicted, weights = ([[s[i] for s in row] for row in unrolled] for i in range(3))
  arrays = decoder_arrays(_shifted(tokens, element), predicted, length)
  return arrays | {"weights": lay_out(weights, length).values.astype(np.float32)}


def decoder_arrays(
  inputs: Sequence[Sequence[Elements]],
  targets: Sequence[Sequence[Elements]],
  length: int,
  element: Element = TOKENS,
  multiple: int = 1,
) -> Arrays:
  """Arranges decoder inputs and their targets in rows of `length`.

  Args:
    inputs: the decoder inputs of each row, a sequence for each target.
    targets: the target sequences of each row, of the same lengths.
    length: T.
    element: element of both.
    multiple: each begins at a multiple of this in its row.

  Returns:
    `decoder_inputs`, `targets`, `targets_segments`, `targets_positions` and `weights`, as those of
    `pack`; every target has weight 1.
  """
  laid = lay_out(targets, length, element, multiple)
  return {
    "decoder_inputs": lay_out(inputs, length, element, multiple).values,
    "targets": laid.values,
    "targets_segments": laid.segments,
    "targets_positions": laid.positions,
    "weights": (laid.segments > 0).astype(np.float32),
  }


def _shifted(rows: Sequence[Sequence[Elements]], element: Element) -> list[list[np.ndarray]]:
  """Returns each sequence with the first decoder input in front and without its last element."""
  first = element.first_input()
  return [[np.concatenate([first, sequence[:-1]]) for sequence in row] for row in rows]


class LaidOut(NamedTuple):
  """Rows of sequences as arrays, zeros where padded.

  Attributes:
    values: [B,length,*shape of an element].
    segments: int32 [B,length], number of the sequence in its row, from 1.
    positions: int32 [B,length], position in the sequence, from 0.
  """

  values: np.ndarray
  segments: np.ndarray
  positions: np.ndarray


def lay_out(
  rows: Sequence[Sequence[Elements]], length: int, element: Element = TOKENS, multiple: int = 1
) -> LaidOut:
  """Lays the sequences of each row out end to end, each from a multiple of `multiple`."""
  shape = len(rows), length
  laid = LaidOut(
    np.zeros((*shape, *element.shape), element.dtype),
    np.zeros(shape, np.int32),
    np.zeros(shape, np.int32),
  )
  for number, row in enumerate(rows):
    start = 0
    for segment, sequence in enumerate(row, 1):
      end = start + len(sequence)
      laid.values[number, start:end] = sequence
      laid.segments[number, start:end] = segment
      laid.positions[number, start:end] = np.arange(len(sequence))
      start = -(-end // multiple) * multiple
  return laid
