"""Every family against transformers, with random weights."""

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs tfx_jax[reference]")
pytest.importorskip("transformers", reason="needs tfx_jax[reference]")

import torch
import transformers
from foreign_models import ALONE, KINDS, make

import tfx_jax

INPUTS = ["w4 w5 w6 w7 w8", "w9 w10", "w20 w21 w22 w7 w6 w5 w4 w9"]
TARGETS = ["w13 w14", "w30 w31 w32 w12", "w17"]
BEAMS = 4


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
  """The kind, transformers' model, and ours of the same folder."""
  folder = tmp_path_factory.mktemp(request.param)
  return request.param, make(request.param, folder), tfx_jax.load(str(folder))


def read(run, text):
  """What the model reads of an input."""
  return run.layout.prompt(run.tokenizers[0].encode([text])[0])


def logits_of(kind, model, run, text, target):
  """Their logits of a target's tokens, and the tokens."""
  source, written = read(run, text), run.layout.target(run.tokenizers[1].encode([target])[0])
  with torch.no_grad():
    if kind in ALONE:
      logits = model(input_ids=torch.tensor([source + written])).logits[0]
      return logits[len(source) - 1 : -1].numpy(), written
    begun = [run.tokenizers[1].marks.bos, *written[:-1]]
    batch = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([begun])}
    return model(**batch).logits[0].numpy(), written


def test_logits_are_those_of_transformers(pair):
  kind, model, run = pair
  for text, target in zip(INPUTS, TARGETS, strict=True):
    theirs, written = logits_of(kind, model, run, text, target)
    source = read(run, text)
    if kind in ALONE:
      batch = run.layout.prompts([source + written], len(source) + len(written))
    else:
      batch = run.layout.pairs([source], [written], 1)
    hidden = run.model.apply({"params": run.params}, batch)
    ours = run.model.apply({"params": run.params}, hidden, batch.get("inputs"), method="logits")
    ours = ours[0, len(source) - 1 : -1] if kind in ALONE else ours[0, : len(written)]
    np.testing.assert_allclose(ours[:, : theirs.shape[1]], theirs, atol=1e-4, rtol=1e-4)


def test_scores_are_those_of_transformers(pair):
  kind, model, run = pair
  given = len(run.tokenizers[1].marks.before)
  for text, target, score in zip(INPUTS, TARGETS, run.score(INPUTS, TARGETS), strict=True):
    logits, written = logits_of(kind, model, run, text, target)
    log_probs = torch.tensor(logits).log_softmax(-1)
    expected = sum(log_probs[place, token] for place, token in list(enumerate(written))[given:])
    assert score == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize(("beams", "early"), [(1, False), (BEAMS, False), (BEAMS, True)])
def test_outputs_are_those_of_transformers(pair, beams, early):
  kind, model, run = pair
  settings = {"beam_size": beams, "num_return": beams, "max_length": 30, "length_penalty": 0.7}
  found = run.generate(INPUTS, early_stopping=early, **settings)
  compared, marks = 0, run.tokenizers[1].marks
  for text, hypotheses in zip(INPUTS, found, strict=True):
    ids = torch.tensor([read(run, text)])
    theirs = model.generate(
      input_ids=ids,
      attention_mask=torch.ones_like(ids),
      generation_config=transformers.GenerationConfig(
        **{name: value for name, value in KINDS[kind][1].items() if name.endswith("_token_id")}
        | {"eos_token_id": marks.eos, "pad_token_id": marks.pad or 0},
        do_sample=False,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=30,
        **{"length_penalty": 0.7, "early_stopping": early or "never"} if beams > 1 else {},
      ),
      return_dict_in_generate=True,
      output_scores=True,
    )
    begun = ids.shape[1] if kind in ALONE else 1 + len(marks.before)
    for place, hypothesis in enumerate(hypotheses):
      tokens = theirs.sequences[place].tolist()[begun:]
      if marks.eos not in tokens:
        break  # what is cut off ends without EOS there, and with it here
      assert hypothesis.tokens == tokens[: tokens.index(marks.eos) + 1]
      if beams > 1:
        assert hypothesis.score == pytest.approx(float(theirs.sequences_scores[place]), abs=1e-3)
      compared += 1
  assert compared, "no output has ended"


def test_what_is_exported_is_what_was_read(pair, tmp_path):
  kind, model, run = pair
  folder = str(tmp_path / "out")
  architecture = type(model).__name__
  run.export(folder, architecture=architecture)
  again = tfx_jax.load(folder)
  jax.tree.map(np.testing.assert_array_equal, run.params, again.params)
  assert again.tokenizers[1].marks == run.tokenizers[1].marks
  assert architecture in (tmp_path / "out" / "config.json").read_text()

  auto = transformers.AutoModelForCausalLM if kind in ALONE else transformers.AutoModelForSeq2SeqLM
  loaded = auto.from_pretrained(folder).eval()
  for text, target in zip(INPUTS[:2], TARGETS, strict=False):
    ours, _ = logits_of(kind, model, run, text, target)
    theirs, _ = logits_of(kind, loaded, run, text, target)
    np.testing.assert_array_equal(theirs, ours)
  # By its own class: AutoTokenizer takes a family's, and these are no tokenizers of the families.
  tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
  assert tokenizer(INPUTS[0]).input_ids == read(run, INPUTS[0])
