"""What people do with a trained run from Python."""

import os
import pathlib
import shutil

import jax
import numpy as np
import pytest
from support.tiny_run import COUNTS, read_log, settings

import tfx_jax
from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.codecs.text.loading import load_tokenizer
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.config import files as config_files
from tfx_jax.errors import UserError
from tfx_jax.generation.generator import Hypothesis

# What a recorded evaluation says of the run, beside its figures.
OF_THE_RUN = {"step", "split", "checkpoint", "checkpoint_step", "parameters"}
TEXTS = ["ab", "", "cde fa", "  ", "f", " b"]


@pytest.fixture(scope="module")
def run(trained):
  return tfx_jax.load(trained[1])


def as_texts(hypotheses):
  return [best[0].text for best in hypotheses]


def test_an_opened_run_has_its_configuration_and_parameters(trained, run):
  assert run.step == 12
  assert run.config.to_dict() == config_files.read_config(trained[1]).to_dict()
  folder = os.path.dirname(trained[1])
  for key, value in settings(folder).items():
    section, name = key.split(".")
    assert run.config[section][name] == value
  assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(run.params))
  assert tfx_jax.load(trained[1], checkpoint=12).step == 12
  assert tfx_jax.load(trained[1], checkpoint="latest").step == 12


def test_generate_takes_settings(run):
  found = run.generate(TEXTS, beam_size=2, num_return=2)
  assert found[1] == found[3] == [Hypothesis("", 0.0, 0.0, [])]
  for place in (0, 2, 4, 5):
    first, second = found[place]
    assert first.score >= second.score and first.tokens != second.tokens
    assert first.tokens[-1] == EOS
  assert as_texts(run.generate(TEXTS)) == as_texts(found)
  with pytest.raises(UserError, match="'beamsize', did you mean 'beam_size'"):
    run.generate(TEXTS, beamsize=2)
  with pytest.raises(UserError, match="a list of texts"):
    run.generate("ab")


def test_stream_gives_the_text_of_generate_in_pieces(run):
  for changes in ({"beam_size": 1}, {"search": "sample", "stop": ("D",), "prefix": "BA"}):
    (best,) = run.generate(["ab"], **changes)[0]
    assert "".join(run.stream("ab", **changes)) == best.text
  with pytest.raises(UserError, match="'beamsize', did you mean 'beam_size'"):
    run.stream("ab", beamsize=2)
  with pytest.raises(UserError, match=r"^stream: text=\['ab'\] is list, not str: use one text$"):
    run.stream(["ab"])


def test_score_agrees_with_generate(run):
  texts = [text for text in TEXTS if text.strip()]
  found = [best[0] for best in run.generate(texts)]
  by_tokens = run.score(texts, [best.tokens for best in found])
  np.testing.assert_allclose(by_tokens, [best.log_prob for best in found], atol=1e-4)
  # Characters that the tokenizer knows come back as they were.
  assert all(best.tokens == [*run.tokenizers[1].encode([best.text])[0], EOS] for best in found)
  np.testing.assert_allclose(run.score(texts, [b.text for b in found]), by_tokens, atol=1e-5)
  assert run.score([], []) == []
  with pytest.raises(UserError, match="2 inputs but 1 targets"):
    run.score(["a", "b"], ["A"])
  with pytest.raises(UserError, match=r"^score: inputs='ab': use a list of texts$"):
    run.score("ab", "AB")


@pytest.mark.parametrize(
  ("call", "told"),
  [
    (lambda run: run.score(["ab"], [[10**6]]), "score: targets[0] holds 1000000: use ids below "),
    (lambda run: run.score(["ab", "b"], ["A", [-1]]), "score: targets[1] holds -1: use ids below "),
    (lambda run: run.attention(["ab"], [[40]]), "attention: targets[0] holds 40: use ids below "),
    (lambda run: run.draw_attention("a.png", "ab", [99]), "attention: targets[0] holds 99"),
    (lambda run: run.generate(["ab"], [[99]]), "prefix 1 holds 99: use ids below "),
    (lambda run: run.score(["ab"], [[1.5]]), "score: targets[0]=[1.5]: use a text, or a list of"),
    (lambda run: run.score(["ab"], [b"AB"]), "score: targets[0]=b'AB': use a list of token ids"),
    (lambda run: run.score(["ab"], None), "score: targets=None: use a list of texts or of token"),
    (lambda run: run.score(["ab"], [None]), "score: targets[0]=None: use a list of token ids"),
    (lambda run: run.score([b"ab"], ["AB"]), "score: inputs[0]=b'ab' is bytes, not str"),
    (lambda run: run.generate(None), "generate: inputs=None: use a list of texts"),
    (lambda run: run.generate("ab"), "generate: inputs='ab': use a list of texts"),
    (lambda run: run.generate(b"ab"), "generate: inputs=b'ab': use a list of texts"),
    (lambda run: run.generate(["ab", 3]), "generate: inputs[1]=3 is int, not str"),
    (lambda run: run.generate(["ab"], beam_size=2.0), "generate.beam_size=2.0 is float, not int"),
    (lambda run: run.generate(["ab"], 5), "prefixes=5: use a list of texts"),
    (lambda run: run.generate(["ab"], [b"B"]), "prefix 1=b'B': use a list of token ids"),
    (lambda run: run.stream(None), "stream: text=None is NoneType, not str"),
    (lambda run: run.stream("ab", number=1.5), "stream: number=1.5: use a whole number"),
    (lambda run: run.attention("ab", ["AB"]), "attention: inputs='ab': use a list of texts"),
    (lambda run: run.draw_attention(3, "ab", "AB"), "draw_attention: path=3 is int: use a path"),
    (lambda run: run.export(None), "export: folder=None is NoneType: use a path"),
    (lambda run: run.export("out", format=None), "format=None: use huggingface, safetensors or"),
    (lambda run: run.export("out", architecture=3), "export: architecture=3 is int, not str"),
    (lambda run: run.evaluate("tset"), "evaluate: split='tset': use train, validation, test"),
    (lambda run: run.evaluate(None), "evaluate: split=None: use train, validation, test"),
    (lambda run: tfx_jax.load(None), "load: workdir=None is NoneType: use a path"),
    (lambda run: tfx_jax.load("x", config={}), "load: config is dict: use a ConfigDict"),
    (lambda run: tfx_jax.load("x", ensemble=3), "load: ensemble=3: use a list of texts"),
    (lambda run: tfx_jax.load("x", ensemble=[3]), "load: ensemble[0]=3 is int, not str"),
  ],
)
def test_what_python_cannot_mean_is_one_line_that_names_the_parameter(
  run, call, told, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError) as info:
    call(run)
  assert told in str(info.value) and "\n" not in str(info.value)
  assert not os.listdir(tmp_path)


def test_any_iterable_of_texts_and_numpys_numbers_are_taken(trained, run):
  texts, written = ["ab", "cde fa"], ["BA", "AF"]
  expected = run.generate(texts, beam_size=2)
  for given in (iter(texts), tuple(texts), np.array(texts), dict.fromkeys(texts)):
    assert run.generate(given, beam_size=np.int64(2)) == expected
  scores = run.score(texts, written)
  ids = [np.array([*ids, EOS]) for ids in run.tokenizers[1].encode(written)]
  assert run.score(iter(texts), (target for target in written)) == scores
  assert run.score(np.array(texts), iter(ids)) == scores
  given = run.generate(iter(texts), prefixes=iter(["B", ids[1][:1]]))
  assert given == run.generate(texts, prefixes=["B", "A"])
  assert tfx_jax.load(pathlib.Path(trained[1]), checkpoint=np.int64(12)).step == 12


def test_long_inputs_are_cut_alike_with_one_warning(run, caplog):
  long, short = "abcdefa" + "bcdef" * 4, "abcdefa"
  (best,) = run.generate([long])[0]
  told = [record.getMessage() for record in caplog.records]
  assert told == ["1 of 1 inputs cut to 8 tokens (generate.max_source_length): 1"]
  assert run.generate([short])[0][0].tokens == best.tokens
  caplog.clear()
  score, other = run.score([long, short], [best.tokens] * 2)
  assert [record.getMessage() for record in caplog.records] == [
    "1 of 2 inputs cut to 8 tokens (generate.max_source_length): 1"
  ]
  assert score == pytest.approx(other, abs=1e-5) and score == pytest.approx(best.log_prob, abs=1e-4)


@pytest.fixture(scope="module")
def damaged(trained):
  """The run with parameters that are no numbers."""
  run = tfx_jax.load(trained[1])
  run.params = jax.tree.map(lambda x: x * np.nan, run.params)
  return run


@pytest.mark.parametrize(
  "call",
  [
    lambda run: run.generate(["ab", "c"], beam_size=1),
    lambda run: run.generate(["ab", "c"]),
    lambda run: run.generate(["ab", "c"], num_return=2),
    lambda run: run.generate(["ab", "c"], search="sample", top_p=0.9),
    lambda run: run.generate(["ab", "c"], beam_size=1, stop=("A",)),
    lambda run: [*run.stream("ab", beam_size=1)],
    lambda run: run.score(["ab", "c"], ["BA", "C"]),
    lambda run: run.attention(["ab"], ["BA"]),
    lambda run: run.evaluate("test"),
  ],
)
def test_scores_that_are_no_numbers_are_told(damaged, call):
  with pytest.raises(
    UserError, match=r"^(input \d+|pair 1|generate): the model's .* not finite: its"
  ):
    call(damaged)


def test_attention_is_of_every_piece_and_agrees_with_what_was_written(run, tmp_path):
  texts = [text for text in TEXTS if text.strip()]
  found = [best[0] for best in run.generate(texts)]
  by_tokens = run.attention(texts, [best.tokens for best in found])
  by_text = run.attention(texts, [best.text for best in found])
  for text, best, one, other in zip(texts, found, by_tokens, by_text, strict=True):
    assert one.source[-1] == one.target[-1] == "</s>"
    assert "".join(one.source[:-1]) == text and "".join(one.target[:-1]) == best.text
    assert one.weights.shape == (len(one.target), len(one.source))
    np.testing.assert_allclose(one.weights.sum(axis=1), np.ones(len(one.target)), rtol=1e-5)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-5)
    assert [t for _, t in one.links()] == [*range(len(best.text))]
  assert run.attention(["abc" * 9], ["A"])[0].source == [*"abcabca", "</s>"]  # cut at 8
  assert run.attention([], []) == []
  with pytest.raises(UserError, match="attention got 2 inputs but 1 targets"):
    run.attention(["a", "b"], ["A"])
  run.draw_attention(str(tmp_path / "a.png"), "ab", "BA")
  assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_an_ensemble_is_the_model_of_the_run(trained, run):
  workdir = trained[1]
  for members, count in (("@12", 1), ((f"{workdir}@latest", workdir), 2)):
    several = tfx_jax.load(workdir, ensemble=members)
    assert several.step == 12 and len(several.params) == 1 + count
    for a, b in zip(several.generate(TEXTS), run.generate(TEXTS), strict=True):
      assert a[0].tokens == b[0].tokens
      assert a[0].score == pytest.approx(b[0].score, abs=1e-4)
  scores = several.score(["ab"], ["BA"]), run.score(["ab"], ["BA"])
  assert scores[0] == pytest.approx(scores[1], abs=1e-4)
  figures, _ = several.evaluate("test")
  recorded = read_log(workdir)[-1]
  assert {name: figures[name] for name in ("loss", "chrf")} == pytest.approx(
    {name: recorded[name] for name in ("loss", "chrf")}, rel=1e-4
  )


def test_a_member_that_does_not_fit_is_one_line(trained, tmp_path):
  workdir = trained[1]
  other = shutil.copytree(workdir, tmp_path / "other", ignore=shutil.ignore_patterns("tokenizer"))
  old = load_tokenizer(f"{workdir}/tokenizer/joint")
  pieces = "".join(old.pieces(range(4, old.vocab_size)))
  CharacterTokenizer(pieces[::-1]).save(str(other / "tokenizer" / "joint"))
  for name, told in (
    (str(other), f"{other} has another source codec than {workdir}"),
    (f"{tmp_path}/no", f"{tmp_path}/no holds no run"),
    ("@7", f"{workdir} holds no checkpoint '7'"),
    ("@ema", f"{workdir} holds no moving average"),
    (f"{tmp_path}/a@b/no", f"{tmp_path}/a@b/no holds no run"),
  ):
    with pytest.raises(UserError) as info:
      tfx_jax.load(workdir, ensemble=(name,))
    assert str(info.value).startswith(f"generate.ensemble: {told}")
    assert "\n" not in str(info.value)


def test_the_score_of_an_output_is_its_log_probability_under_all_rules(run):
  texts = ["ab", "cde fa", "f"]
  rules = {"forbidden": ("F", "<unk>"), "no_repeat_ngram_size": 1, "repetition_penalty": 1.5}
  for search in (
    {},
    {"search": "sample", "temperature": 1.5, "top_p": 0.9},
    {"search": "mbr", "num_samples": 4, "seed": 3},
  ):
    found = [best[0] for best in run.generate(texts, ["BA", "", "E"], **rules, **search)]
    assert found[0].text.startswith("BA") and found[2].text.startswith("E")
    scores = run.score(texts, [best.tokens for best in found])
    np.testing.assert_allclose(scores, [best.log_prob for best in found], atol=1e-4)
  with pytest.raises(UserError, match="one for each of 3 inputs"):
    run.generate(texts, ["BA"])


def test_evaluate_gives_the_recorded_figures(trained, run):
  figures, rows = run.evaluate("test")
  recorded = read_log(trained[1])[-1]
  assert figures.keys() == recorded.keys() - OF_THE_RUN
  for name, value in figures.items():
    assert recorded[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5))
  assert len(rows) == COUNTS["test"]
  assert rows[0].keys() == {"source", "reference", "output"}
  assert rows[0]["reference"].lower() != rows[0]["output"].lower()


def test_a_run_is_opened_with_other_settings(trained, run):
  config = config_files.read_config(trained[1])
  config.model.dtype = "bfloat16"
  config.model.plain_gradients = True
  config.generate.beam_size = 1
  other = tfx_jax.load(trained[1], config=config)
  (best,) = other.generate(["ab"])[0]
  assert best.score == best.log_prob
  assert other.score(["ab"], ["BA"]) == pytest.approx(run.score(["ab"], ["BA"]), rel=0.05)
  assert other.score(["ab"], ["BA"]) != run.score(["ab"], ["BA"])


@pytest.mark.parametrize(
  ("changes", "told"),
  [
    ({"checkpoint": "7"}, "holds no checkpoint '7'"),
    ({"checkpoint": "newest"}, "holds no checkpoint 'newest'"),
  ],
)
def test_a_checkpoint_that_is_not_there_is_one_line(trained, changes, told):
  with pytest.raises(UserError, match=told) as info:
    tfx_jax.load(trained[1], **changes)
  assert "\n" not in str(info.value)


def test_a_folder_without_a_run_is_one_line(tmp_path):
  for workdir in (tmp_path, tmp_path / "missing"):
    with pytest.raises(UserError, match=f"{workdir} holds no run"):
      tfx_jax.load(str(workdir))
