"""Every family against transformers and CTranslate2, with random weights."""

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs tfx_jax[reference]")
pytest.importorskip("transformers", reason="needs tfx_jax[reference]")

import torch
import transformers
from support.foreign_models import KINDS, VARIANTS, make, read

import tfx_jax
from tfx_jax.training.objective import TokenObjective
from tfx_jax.training.step import make_loss_step

INPUTS = ["w5 w6 w7 w8", "w9 w10", "w20 w21 w22 w7 w6 w5 w14 w9"]
TARGETS = ["w13 w14", "w30 w31 w12", "w17"]
BEAMS = 4
LONGEST = 24
# What CTranslate2 computes otherwise.
UNKNOWN_TO_CTRANSLATE2 = {
  "marian-start": "begins with zeros, whatever the table holds",
  "llama-3": "has Llama 3's rotary scaling for texts of 8,192 tokens only",
  "qwen2": "has one window for all layers",
  "llama-all-heads": "takes Llama's heads to be features / heads wide",
  **dict.fromkeys(
    ("gpt2-wide", "bart-uneven", "mbart-50"), "takes no model with more tokens than its tokenizer"
  ),
}


@pytest.fixture(
  scope="module", params=[*KINDS, *(pytest.param(v, marks=pytest.mark.slow) for v in VARIANTS)]
)
def pair(request, tmp_path_factory):
  """The kind, transformers' model, and ours of the same folder."""
  folder = tmp_path_factory.mktemp("model")
  return request.param, make(request.param, folder), tfx_jax.load(str(folder))


@pytest.fixture(scope="module")
def exported(pair, tmp_path_factory):
  """Where ours has been given back."""
  _, model, run = pair
  folder = tmp_path_factory.mktemp("exported") / "model"
  run.export(str(folder), architecture=type(model).__name__)
  return folder


@pytest.fixture(scope="module")
def computed(pair):
  """A batch with a row for each pair of texts, and what our model makes of it."""
  _, _, run = pair
  source, target = run.tokenizers
  sources = [run.layout.source(ids) for ids in source.encode(INPUTS)]
  targets = [run.layout.target(ids) for ids in target.encode(TARGETS)]
  batch = run.layout.pairs(sources, targets, len(sources))

  @jax.jit
  def compute(params, batch):
    states = run.model.bind({"params": params}).encode(batch) if encodes(run) else None
    bound = run.model.bind({"params": params})
    logits = bound.logits(bound(batch), batch.get("inputs"))
    return states, logits, make_loss_step(TokenObjective(run.model))(params, batch).compute()

  return batch, compute(run.params, batch)


def encodes(run):
  return run.config.model.architecture == "encoder_decoder"


def rows(batch):
  """Of each row what transformers is given: the source, the decoder's inputs, and its labels."""
  for number, segments in enumerate(batch["targets_segments"]):
    count = int((segments > 0).sum())
    inputs, targets, weights = (
      batch[name][number, :count] for name in ("decoder_inputs", "targets", "weights")
    )
    source = None
    if "inputs" in batch:
      source = batch["inputs"][number, : (batch["inputs_segments"][number] > 0).sum()].tolist()
    yield source, inputs.tolist(), np.where(weights > 0, targets, -100).tolist()


def run_theirs(model, source, inputs, labels):
  """Their logits of the decoder's inputs, and the mean loss."""
  with torch.no_grad():
    if source is None:  # labels are shifted there
      ids, labels = [*inputs, max(labels[-1], 0)], [-100, *labels]
      found = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]))
      return found.logits[0, :-1].numpy(), float(found.loss)
    found = model(
      input_ids=torch.tensor([source]),
      decoder_input_ids=torch.tensor([inputs]),
      labels=torch.tensor([labels]),
    )
    return found.logits[0].numpy(), float(found.loss)


def test_states_logits_and_loss_are_those_of_transformers(pair, computed):
  _, model, run = pair
  batch, (states, logits, loss) = computed
  total = weight = 0
  for number, (source, inputs, labels) in enumerate(rows(batch)):
    if source is not None:
      with torch.no_grad():
        theirs = model.get_encoder()(input_ids=torch.tensor([source])).last_hidden_state[0]
      np.testing.assert_allclose(states[number, : len(source)], theirs, atol=1e-4, rtol=1e-4)
    theirs, mean = run_theirs(model, source, inputs, labels)
    ours = logits[number, : len(inputs), : theirs.shape[1]]
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)
    count = sum(label >= 0 for label in labels)
    total, weight = total + mean * count, weight + count
  assert float(loss) == pytest.approx(total / weight, rel=1e-4)
  targets = [run.layout.target(ids) for ids in run.tokenizers[1].encode(TARGETS)]
  assert weight == sum(map(len, targets)) - len(targets) * len(
    run.tokenizers[1].special_tokens.prefix
  )


def test_scores_are_those_of_transformers(pair, computed):
  _, model, run = pair
  theirs = rows(computed[0])
  for score, (source, inputs, labels) in zip(run.score(INPUTS, TARGETS), theirs, strict=True):
    logits, _ = run_theirs(model, source, inputs, labels)
    log_probs = torch.tensor(logits).log_softmax(-1)
    expected = sum(log_probs[place, i] for place, i in enumerate(labels) if i >= 0)
    assert score == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize(("beams", "early"), [(1, False), (BEAMS, False), (BEAMS, True)])
def test_outputs_are_those_of_transformers(pair, beams, early):
  _, model, run = pair
  settings = {"beam_size": beams, "num_return": beams, "max_length": LONGEST, "length_penalty": 0.7}
  found = run.generate(INPUTS, early_stopping=early, **settings)
  compared, special_tokens = 0, run.tokenizers[1].special_tokens
  start = {
    "decoder_start_token_id": special_tokens.bos,
    "forced_bos_token_id": (*special_tokens.prefix, None)[0],
  }
  for text, hypotheses in zip(INPUTS, found, strict=True):
    ids = torch.tensor([read(run, text)])
    theirs = model.generate(
      input_ids=ids,
      attention_mask=torch.ones_like(ids),
      generation_config=transformers.GenerationConfig(
        **start if encodes(run) else {},
        eos_token_id=special_tokens.eos,
        pad_token_id=special_tokens.pad or 0,
        do_sample=False,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=LONGEST + len(special_tokens.prefix),
        **{"length_penalty": 0.7, "early_stopping": early or "never"} if beams > 1 else {},
      ),
      return_dict_in_generate=True,
      output_scores=True,
    )
    begun = 1 + len(special_tokens.prefix) if encodes(run) else ids.shape[1]
    for place, hypothesis in enumerate(hypotheses):
      tokens = theirs.sequences[place].tolist()[begun:]
      if special_tokens.eos not in tokens:
        break  # what is cut off ends without EOS there, and with it here
      assert hypothesis.tokens == tokens[: tokens.index(special_tokens.eos) + 1]
      if beams > 1:
        assert hypothesis.score == pytest.approx(float(theirs.sequences_scores[place]), abs=1e-3)
      compared += 1
  assert compared, "no output has ended"


def test_an_exported_model_equals_the_one_read(pair, computed, exported):
  _, model, run = pair
  again = tfx_jax.load(str(exported))
  jax.tree.map(np.testing.assert_array_equal, run.params, again.params)
  assert [t.fingerprint for t in again.tokenizers] == [t.fingerprint for t in run.tokenizers]
  assert again.config.generate.to_dict() == run.config.generate.to_dict()

  auto = transformers.AutoModelForSeq2SeqLM if encodes(run) else transformers.AutoModelForCausalLM
  loaded = auto.from_pretrained(exported).eval()
  assert type(loaded) is type(model)
  for row in rows(computed[0]):
    np.testing.assert_array_equal(run_theirs(loaded, *row)[0], run_theirs(model, *row)[0])


def test_texts_are_read_and_written_as_by_the_tokenizer_that_is_exported(pair, exported):
  _, _, run = pair
  tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
  for text in [*INPUTS, "w5  w60 é w6", ">>1<< w5", ""]:
    assert tokenizer(text).input_ids == read(run, text)
  written = run.tokenizers[1].encode(TARGETS)
  for ids, text in zip(written, run.tokenizers[1].decode(written), strict=True):
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text.strip()


def test_ctranslate2_converts_an_exported_model_and_generates_the_same(pair, exported, tmp_path):
  kind, _, run = pair
  ctranslate2 = pytest.importorskip("ctranslate2", reason="needs tfx_jax[reference]")
  if kind in UNKNOWN_TO_CTRANSLATE2:
    pytest.skip(f"CTranslate2 {UNKNOWN_TO_CTRANSLATE2[kind]}")
  converted, special_tokens = str(tmp_path / "converted"), run.tokenizers[1].special_tokens

  class Converter(ctranslate2.converters.TransformersConverter):
    """Knows whether T5 scales hidden states, which by its `tie_word_embeddings` all would."""

    def load_model(self, *args, **settings):
      model = super().load_model(*args, **settings)
      if model.config.model_type in ("t5", "mt5"):
        model.config.tie_word_embeddings = getattr(model.config, "scale_decoder_outputs", False)
      return model

  Converter(str(exported)).convert(converted)
  pieces = run.tokenizers[1].pieces
  settings = {"beam_size": 1, "return_scores": True}
  sources = [run.tokenizers[0].pieces(read(run, text)) for text in INPUTS]
  if encodes(run):
    # The language that mBART begins with is for the user to tell, as are forced tokens.
    begin = [special_tokens.bos] * (kind == "mbart") + [*special_tokens.prefix]
    theirs = ctranslate2.Translator(converted, intra_threads=1).translate_batch(
      sources,
      target_prefix=[pieces(begin)] * len(sources),
      length_penalty=0,
      max_decoding_length=LONGEST - 1 + len(special_tokens.prefix),
      min_decoding_length=0,
      **settings,
    )
    texts = [found.hypotheses[0][len(special_tokens.prefix) :] for found in theirs]
  else:
    theirs = ctranslate2.Generator(converted, intra_threads=1).generate_batch(
      sources, include_prompt_in_result=False, max_length=LONGEST - 1, length_penalty=0, **settings
    )
    texts = [found.sequences[0] for found in theirs]
  compared, (end,) = 0, pieces([special_tokens.eos])
  ours = run.generate(INPUTS, beam_size=1, max_length=LONGEST)
  for (hypothesis,), text, found in zip(ours, texts, theirs, strict=True):
    assert pieces(hypothesis.tokens[:-1]) == [piece for piece in text if piece != end]
    if len(hypothesis.tokens) < LONGEST and not special_tokens.prefix:
      assert found.scores[0] == pytest.approx(hypothesis.log_prob, abs=1e-3)
      compared += 1
  assert compared or special_tokens.prefix
