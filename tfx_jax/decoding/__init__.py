"""Searches over `step(elements, parents, cache) -> (output, cache)`; they know no model.

Every search is a module (`beam`, `diverse`, `sample`, `frames`) with the same functions:

  begin(output, settings, active, ...) -> state
    Starts from the output of the prompt and chooses the first element of every hypothesis.
  advance(step, state, cache, settings, steps) -> (state, cache)
    Adds at most `steps` elements to every hypothesis. The result does not depend on how many calls
    the steps are divided into, so the caller may stop between any two of them to stream the output,
    to look for stop strings, or to enlarge the cache.
  cut(state, keep) -> state
    Ends hypotheses at a length that the caller chose. Only `sample` has it: beams are compared by
    their scores at EOS, and a hypothesis that was cut has none.

A state says which elements go into the next step and which rows are finished: see `loop.State`.
Settings hold numbers that are traced: other numbers do not compile another program.

An element is what one position holds: a token id, or a frame of C numbers. `step` must reorder its
cache by `parents` before it reads it: hypothesis w continues hypothesis parents[b, w] of row b.

Letters of shapes, in all files of this package:

  A  arcs of a graph of phrases     P  tokens of a forced prefix
  B  rows, one input each           R  hypotheses kept of each row
  C  channels of a frame            S  source positions
  G  groups of beams                T  capacity: elements that an output can hold
  K  elements selected              U  known tokens; the model may pad its vocabulary to V
  M  elements to select from        V  vocabulary of the logits
  N  nodes of a graph of phrases    W  hypotheses of each row in progress: beams or samples
"""
