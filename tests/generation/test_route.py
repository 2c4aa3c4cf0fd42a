"""The route of a request through the package: few calls from the command to the beam search."""

import concurrent.futures
import contextlib
import io
import os
import sys
import types

import pytest

import tfx_jax
from tfx_jax import builders
from tfx_jax.cli import generate as command
from tfx_jax.decoding import beam
from tfx_jax.generation import generator

PACKAGE = os.path.dirname(tfx_jax.__file__)
MOST_CALLS = 10


class Reached(Exception):
  """The beam search was entered; it need not be compiled."""


def calls_of_ours():
  """'file:function' of every frame of the package on the stack, outermost first."""
  frame, calls = sys._getframe(1), []
  while frame is not None:
    path = os.path.relpath(frame.f_code.co_filename, PACKAGE)
    if not path.startswith(".."):
      calls.append(f"{path}:{frame.f_code.co_name}")
    frame = frame.f_back
  return calls[::-1]


@pytest.mark.parametrize("threads", [False, True])
def test_few_calls_lead_from_the_command_to_the_beam_search(small, monkeypatch, threads):
  """With threads, the calls that hand over the work count as well as those of the thread."""
  handed_over, entered = [], []

  def submit(pool, *args):
    handed_over.append(calls_of_ours())
    return original_submit(pool, *args)

  def advance(*args):
    entered.append([*calls_of_ours(), "decoding/beam.py:advance"])
    raise Reached

  original_submit = concurrent.futures.ThreadPoolExecutor.submit
  monkeypatch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", submit)
  monkeypatch.setattr(beam, "advance", advance)
  in_flight = generator.in_flight
  monkeypatch.setattr(
    generator, "in_flight", lambda start, items, **_: in_flight(start, items, threads)
  )
  codecs = small.tokenizer, small.tokenizer
  run = types.SimpleNamespace(
    params=small.params,
    codecs=codecs,
    generator=builders.make_generator(small.config, small.model, codecs, small.parallel),
  )
  monkeypatch.setattr(command, "load", lambda *args, **settings: run)
  nothing = contextlib.nullcontext(lambda count: None)
  monkeypatch.setattr(command, "texts_progress", lambda *args: nothing)
  with pytest.raises(Reached):
    command.generate(small.config, "workdir", ["abc"], io.StringIO())
  (route,) = entered
  if threads:
    route = [*handed_over[0], *route]
  assert route[0] == "cli/generate.py:generate"
  assert len(route) <= MOST_CALLS, route
