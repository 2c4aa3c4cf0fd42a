"""Values that are no texts are generated as a full forward pass, step by step, would give them."""

import types

import jax
import numpy as np
import pytest
from support.codec_model import codec_model, random_params
from support.small_codecs import KINDS, make_examples, make_layout

from tfx_jax.codecs.codec import Frames
from tfx_jax.errors import UserError
from tfx_jax.generation.frames import FrameGenerator, hit_max_length_share
from tfx_jax.generation.generator import Generator
from tfx_jax.generation.settings import GenerateSettings
from tfx_jax.parallel import Parallel

LONGEST = 12
SETTINGS = GenerateSettings(
  beam_size=1, max_length=LONGEST, max_length_ratio=0.0, max_source_length=24, batch_size=8
)


@pytest.fixture(scope="module", params=KINDS)
def run(request):
  """A generator with random parameters, the inputs, and the full forward pass."""
  examples, codecs = make_examples(request.param, 6)
  layout, model, parallel = make_layout(request.param, 24, 16), codec_model(codecs), Parallel()
  inputs = [example.source for example in examples]
  sources = [layout.source(sequence) for sequence in codecs[0].encode(inputs)]
  params = random_params(model, layout.arrays([layout.empty]))
  is_frames = isinstance(codecs[1].element, Frames)

  @jax.jit
  def output(batch):
    bound = model.bind({"params": params})
    return bound.logits(bound(batch))

  def forward(targets):
    """Output [B,T,…] for the sources and the elements so far, shifted by one."""
    with parallel.context():
      rows = [([np.asarray(s)], [np.asarray(t)]) for s, t in zip(sources, targets, strict=True)]
      # Empty rows make the batch divisible by the devices of the mesh.
      rows += [layout.empty] * (-len(rows) % parallel.mesh.size)
      return jax.tree.map(lambda x: x[: len(sources)], jax.device_get(output(layout.arrays(rows))))

  kind = FrameGenerator if is_frames else Generator
  return types.SimpleNamespace(
    is_frames=is_frames,
    codec=codecs[1],
    inputs=inputs,
    forward=forward,
    params=params,
    generator=kind(model, parallel, *codecs, layout, SETTINGS),
  )


def test_cached_generation_is_the_full_forward_pass_step_by_step(run):
  if run.is_frames:
    frames_are_those_of_the_forward_pass(run)
  else:
    tokens_are_those_of_the_forward_pass(run)


def tokens_are_those_of_the_forward_pass(run):
  special = run.codec.element.special_tokens
  tokens = [[] for _ in run.inputs]
  for step in range(LONGEST):
    # Any token in the last place: it is predicted, not read.
    logits = np.array(run.forward([[*row, special.eos] for row in tokens]))[:, step]
    logits[:, [special.pad, special.bos]] = -np.inf
    for row, best in zip(tokens, logits.argmax(axis=-1).tolist(), strict=True):
      if special.eos not in row:
        row.append(special.eos if step == LONGEST - 1 else best)
  outputs = [best for (best,) in run.generator(run.params, run.inputs)]
  assert [output.tokens for output in outputs] == tokens
  assert len({tuple(row) for row in tokens}) > 2
  for output, value in zip(outputs, run.codec.decode(tokens), strict=True):
    np.testing.assert_array_equal(output.value, value)


def frames_are_those_of_the_forward_pass(run):
  channels = run.codec.element.channels
  frames = np.zeros((len(run.inputs), LONGEST, channels), np.float32)
  stops = np.zeros((len(run.inputs), LONGEST))
  for step in range(LONGEST):
    predicted, stop = run.forward(frames[:, : step + 1])
    frames[:, step], stops[:, step] = predicted[:, step], stop[:, step]
  outputs = run.generator(run.params, run.inputs)
  ends = stops > 0
  lengths = np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, LONGEST)
  assert [len(output.elements) for output in outputs] == lengths.tolist()
  assert [output.hit_max_length for output in outputs] == (~ends.any(axis=1)).tolist()
  for output, expected, length in zip(outputs, frames, lengths, strict=True):
    np.testing.assert_allclose(output.elements, expected[:length], atol=1e-4)
    np.testing.assert_array_equal(output.value, output.elements)  # the codec keeps vectors


def test_outputs_that_end_at_the_greatest_length_are_counted(run):
  if not run.is_frames:
    with pytest.raises(UserError, match=r"generate.stop_threshold=0.9 is for outputs of frames"):
      run.generator(run.params, run.inputs, stop_threshold=0.9)
    return
  endless = run.generator(run.params, run.inputs, stop_threshold=1.0)
  assert [len(output.elements) for output in endless] == [LONGEST] * len(run.inputs)
  assert hit_max_length_share(endless) == 1.0
  at_once = run.generator(run.params, run.inputs, stop_threshold=0.0, min_length=3)
  assert [len(output.elements) for output in at_once] == [3] * len(run.inputs)
  assert hit_max_length_share(at_once) == hit_max_length_share([]) == 0.0


@pytest.mark.parametrize(
  "changes",
  [
    {"prefix": "a"},
    {"forbidden": ("a",)},
    {"forbidden_phrases": ("a",)},
    {"stop": ("a",)},
    {"stream": True},
    {"search": "mbr"},
  ],
  ids=str,
)
def test_what_only_texts_have_is_one_line(run, changes):
  (name,) = changes
  with pytest.raises(UserError, match=f"generate.{name}=.* for outputs that are texts") as info:
    run.generator(run.params, run.inputs, **changes)
  assert "\n" not in str(info.value)


def test_frames_have_no_beams_to_choose_from(run):
  settings = {"num_return": 2}
  if run.is_frames:
    with pytest.raises(UserError, match=r"generate.num_return=2 is for outputs of tokens"):
      run.generator(run.params, run.inputs, **settings)
  else:
    assert all(len(best) == 2 for best in run.generator(run.params, run.inputs, **settings))
