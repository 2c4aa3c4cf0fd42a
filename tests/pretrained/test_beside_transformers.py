"""Settings of generation, languages, models from scratch: beside transformers and CTranslate2."""

import pytest

pytest.importorskip("torch", reason="needs tfx_jax[reference]")
pytest.importorskip("transformers", reason="needs tfx_jax[reference]")

import torch
import transformers
from support.foreign_models import make, read
from support.from_scratch import architectures, make_run

import tfx_jax

INPUTS = ["w5 w6 w7 w8", "w9 w10", "w20 w21 w22 w7 w6 w5 w14 w9"]


def test_generation_is_as_its_settings_say(tmp_path):
  model = make("bart", tmp_path)
  suppressed = [*range(12, 30)]
  settings = transformers.GenerationConfig(
    num_beams=3,
    num_return_sequences=2,
    length_penalty=1.3,
    early_stopping=True,
    no_repeat_ngram_size=2,
    suppress_tokens=suppressed,
    bad_words_ids=[[7]],
    forced_bos_token_id=9,
    decoder_start_token_id=6,
    min_length=7,
    max_length=20,
    eos_token_id=2,
    pad_token_id=1,
  )
  settings.save_pretrained(tmp_path)
  run, compared = tfx_jax.load(str(tmp_path)), 0
  for text, hypotheses in zip(INPUTS, run.generate(INPUTS), strict=True):
    ids = torch.tensor([read(run, text)])
    theirs = model.generate(
      input_ids=ids,
      attention_mask=torch.ones_like(ids),
      generation_config=settings,
      return_dict_in_generate=True,
      output_scores=True,
    )
    for place, hypothesis in enumerate(hypotheses):
      tokens = theirs.sequences[place].tolist()
      assert tokens[:2] == [6, 9] and not {7, *suppressed} & {*hypothesis.tokens}
      if 2 in tokens[2:]:
        assert hypothesis.tokens == tokens[2 : tokens.index(2, 2) + 1]
        assert hypothesis.score == pytest.approx(float(theirs.sequences_scores[place]), abs=1e-3)
        compared += 1
  assert compared, "no output has ended"


def test_the_source_language_of_mbart_is_the_tokenizers(tmp_path):
  make("mbart", tmp_path)
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, src_lang="cs_CZ")
  tokenizer.save_pretrained(tmp_path)
  run = tfx_jax.load(str(tmp_path))
  assert read(run, "w5 w6") == tokenizer("w5 w6").input_ids
  assert run.tokenizers[0].pieces(read(run, "w5"))[-2:] == ["</s>", "cs_CZ"]
  assert run.tokenizers[1].pieces([run.tokenizers[1].special_tokens.bos]) == ["de_DE"]


@pytest.fixture(scope="module", params=architectures().items(), ids=lambda item: item[0])
def given_away(request, tmp_path_factory):
  """A model of each architecture of the experiments, and the folder that it was exported to."""
  _, model = request.param
  folder = str(tmp_path_factory.mktemp("given") / "out")
  run = make_run(**model)
  run.export(folder)
  return run, folder


TEXTS = ["ab cd", "fed cba ab", "de"]


def test_models_trained_here_give_the_same_log_probabilities_in_transformers(given_away):
  run, folder = given_away
  model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  for text, score in zip(TEXTS, run.score(TEXTS, TEXTS), strict=True):
    batch = tokenizer(text, text_target=text, return_tensors="pt")
    with torch.no_grad():
      log_probs = model(**batch).logits[0].log_softmax(-1)
    found = log_probs.gather(1, batch.labels[0][:, None]).sum()
    assert score == pytest.approx(float(found), abs=1e-3)


def test_models_trained_here_generate_the_same_in_transformers(given_away, tmp_path):
  ctranslate2 = pytest.importorskip("ctranslate2", reason="needs tfx_jax[reference]")
  run, folder = given_away
  converted = str(tmp_path / "converted")
  model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  ctranslate2.converters.TransformersConverter(folder).convert(converted)
  translator = ctranslate2.Translator(converted, intra_threads=1)
  ours = run.generate(TEXTS, beam_size=1, max_length=12)
  for text, (hypothesis,) in zip(TEXTS, ours, strict=True):
    batch = tokenizer(text, return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(batch.input_ids[0]) == run.tokenizers[0].pieces(
      run.layout.prompt(run.tokenizers[0].encode([text])[0])
    )
    written = model.generate(**batch, num_beams=1, max_new_tokens=11)[0]
    expected = run.tokenizers[1].pieces([i for i in hypothesis.tokens if i != 1])[:11]
    found = [piece for piece in tokenizer.convert_ids_to_tokens(written[1:]) if piece != "</s>"]
    assert found[:11] == expected
    theirs = translator.translate_batch(
      [tokenizer.convert_ids_to_tokens(batch.input_ids[0])],
      beam_size=1,
      max_decoding_length=11,
      suppress_sequences=[[tokenizer.pad_token]] if model.config.model_type == "pegasus" else None,
    )
    assert theirs[0].hypotheses[0] == expected
