import io
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import sentencepiece

from tfx_jax.codecs.special_tokens import BOS, EOS, PAD, UNK
from tfx_jax.codecs.text.loading import load_tokenizer, train_tokenizer
from tfx_jax.errors import UserError

WORDS = ["haus", "maus", "laus", "katze", "tatze", "hund", "mund", "rund", "wald", "bald", "kalt"]
TEXTS = [" ".join(words) for words in itertools.permutations(WORDS, 3)]
KINDS = ["unigram", "bpe", "bytes", "characters"]


def train(kind, texts=TEXTS, vocab_size=28, **settings):
  defaults = dict(
    character_coverage=1.0, normalization="nmt_nfkc", byte_fallback=False, max_sentences=0
  )
  return train_tokenizer(texts, kind, vocab_size, **(defaults | settings))


def failure(function):
  with pytest.raises(UserError) as info:
    function()
  assert "\n" not in str(info.value)
  return str(info.value)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
  return train(request.param)


def test_texts_come_back(tokenizer):
  ids = tokenizer.encode(TEXTS[:50])
  assert tokenizer.decode(ids) == TEXTS[:50]
  flat = [i for sequence in ids for i in sequence]
  assert BOS < min(flat) and max(flat) < tokenizer.vocab_size
  assert all(type(i) is int for i in flat)
  assert tokenizer.encode([]) == tokenizer.decode([]) == []
  assert tokenizer.encode([""]) == [[]]
  assert tokenizer.decode([[]]) == [""]


def test_decoding_stops_at_the_first_eos_and_leaves_specials_out(tokenizer):
  (ids,) = tokenizer.encode(["katze"])
  row = np.array([BOS, *ids, PAD, UNK, EOS, *ids], np.int32)
  assert tokenizer.decode([row, [EOS, *ids], []]) == ["katze", "", ""]


def test_every_id_has_a_piece(tokenizer):
  pieces = tokenizer.pieces(np.arange(tokenizer.vocab_size))
  assert pieces[:4] == ["<pad>", "</s>", "<unk>", "<s>"]
  assert len(set(pieces)) == tokenizer.vocab_size
  assert "".join(tokenizer.pieces(tokenizer.encode(["katze"])[0])).strip("▁") == "katze"


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
  folder = tmp_path / "new" / "tokenizer"
  for _ in range(2):
    tokenizer.save(str(folder))
  assert set(p.name for p in folder.iterdir()) <= {"tokenizer.json", "sentencepiece.model"}
  loaded = load_tokenizer(str(folder))
  assert loaded.vocab_size == tokenizer.vocab_size
  assert loaded.fingerprint == tokenizer.fingerprint
  assert loaded.encode(TEXTS) == tokenizer.encode(TEXTS)


def test_sizes():
  assert train("bytes").vocab_size == 260
  assert train("unigram").vocab_size == train("bpe").vocab_size == 28
  assert train("characters", ["aab"], 9).vocab_size == 6


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_sentencepiece_training_is_repeatable(kind):
  assert train(kind).fingerprint == train(kind).fingerprint


def test_another_process_draws_the_same_sentences():
  call = "train('bpe', vocab_size=25, max_sentences=150).fingerprint"
  code = f"from test_tokenizer import train; print({call})"
  found = subprocess.run(
    [sys.executable, "-c", code], cwd=os.path.dirname(__file__), check=True, capture_output=True,
    text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
  )  # fmt: skip
  drawn = eval(call)
  assert found.stdout.strip() == drawn != train("bpe", vocab_size=25).fingerprint


def test_fingerprints_tell_pieces_and_settings_apart():
  made = [
    train("unigram"),
    train("bpe"),
    train("bpe", vocab_size=29),
    train("bpe", normalization="identity"),
    train("bytes"),
    train("characters", ["ab"]),
    train("characters", ["bba"]),
  ]
  assert len({tokenizer.fingerprint for tokenizer in made}) == len(made)


def sentencepiece_model(**settings):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS),
    model_writer=model,
    model_type="bpe",
    vocab_size=28,
    minloglevel=2,
    **settings,
  )
  return model.getvalue()


def test_a_model_file_of_other_origin(tmp_path):
  path = tmp_path / "own.model"
  path.write_bytes(sentencepiece_model(pad_id=0, eos_id=1, unk_id=2, bos_id=3, num_threads=1))
  loaded, ours = load_tokenizer(str(path)), train("bpe")
  assert loaded.encode(TEXTS) == ours.encode(TEXTS)
  assert loaded.model != ours.model, "the file tells how it was trained"
  assert loaded.fingerprint == ours.fingerprint, "the fingerprint does not"
  for settings in ({}, dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)):
    path.write_bytes(sentencepiece_model(**settings))
    message = failure(lambda: load_tokenizer(str(path)))
    assert "--pad_id=0 --eos_id=1 --unk_id=2 --bos_id=3" in message
  for content in (b"", b"garbage", b"\0\0"):
    path.write_bytes(content)
    assert "not a sentencepiece model" in failure(lambda: load_tokenizer(str(path)))
  assert "No such file" in failure(lambda: load_tokenizer(str(tmp_path / "no.model")))


@pytest.mark.parametrize("kind", ["unigram", "bpe", "characters"])
def test_a_vocabulary_that_the_texts_do_not_fill_is_smaller_and_a_line_says_so(kind, caplog):
  tokenizer = train(kind, vocab_size=5000)
  size = tokenizer.vocab_size
  assert caplog.messages == [
    f"the vocabulary has {size} pieces: the text does not fill tokenizer.vocab_size=5000"
  ]
  caplog.clear()
  assert train(kind, vocab_size=size).fingerprint == tokenizer.fingerprint
  assert train(kind, vocab_size=size - 1).vocab_size == size - 1
  assert not caplog.messages


@pytest.mark.parametrize("most", [0, 200])
@pytest.mark.parametrize("settings", [{}, {"byte_fallback": True}, {"symbols": tuple("!?.:;,+*")}])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_vocabulary_too_small_for_the_characters_is_the_smallest_possible(
  kind, settings, most, caplog
):
  characters = len({*"".join(WORDS), "\u2581"})
  least = 4 + characters + 256 * settings.get("byte_fallback", 0) + len(settings.get("symbols", ""))
  for size in (5, least - 1):
    tokenizer = train(kind, TEXTS, size, max_sentences=most, **settings)
    assert tokenizer.vocab_size == least and tokenizer.decode(tokenizer.encode(WORDS)) == WORDS
    (line,) = caplog.messages
    assert f"has {least} pieces: tokenizer.vocab_size={size} does not hold" in line
    caplog.clear()
  train(kind, TEXTS, least, max_sentences=most, **settings)
  assert not caplog.messages


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_training_is_quiet(kind, capfd):
  sentencepiece.set_min_log_level(0)
  for size in (28, 5000, 5):
    train(kind, vocab_size=size)
  lines = "".join(capfd.readouterr()).splitlines()
  assert all("the vocabulary has" in line for line in lines) and len(lines) <= 2


@pytest.mark.parametrize("kind", ["unigram", "bpe", "characters"])
def test_what_the_texts_raise_comes_through(kind):
  def texts():
    yield "haus"
    raise UserError("file x, line 2: bad")

  assert failure(lambda: train(kind, texts())) == "file x, line 2: bad"
  assert "no text" in failure(lambda: train(kind, []))
  assert "no text" in failure(lambda: train(kind, [""]))


def test_settings_out_of_range():
  assert "did you mean 'unigram'" in failure(lambda: train("unigrams"))
  assert "did you mean 'nfkc_cf'" in failure(lambda: train("bytes", normalization="nfkc_fc"))
  assert "character_coverage=0.5" in failure(lambda: train("bpe", character_coverage=0.5))
  assert "max_sentences=7" in failure(lambda: train("bpe", max_sentences=7))
  assert "vocab_size=4" in failure(lambda: train("characters", vocab_size=4))


def test_normalization_and_byte_fallback():
  assert train("bpe").decode(train("bpe").encode(["ﬁne"])) != ["ﬁne"]
  exact = train("bpe", vocab_size=300, normalization="identity", byte_fallback=True)
  assert exact.decode(exact.encode(["ﬁne 🙂 haus"])) == ["ﬁne 🙂 haus"]
  assert UNK in train("bpe").encode(["🙂"])[0]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_symbol_is_one_piece_wherever_it_stands(kind):
  # What normalisation would change, and what a comma-separated list would cut, among them.
  symbols = ("<1>", " <2>", "\n", "①", "a,b", 'q"')
  made = train(kind, vocab_size=34, symbols=symbols)
  text = '<1> haus <2>maus\nhund <1><1>katze ① <2> a,b\n wald q"'
  (ids,) = made.encode([text])
  assert made.decode([ids]) == [text]
  pieces = made.pieces(ids)
  assert [piece for piece in pieces if piece.replace("▁", " ") in symbols] == [
    *("<1>", "▁<2>", "\n", "<1>", "<1>", "①", "▁<2>", "a,b", "\n", 'q"')
  ]
  drawn = made.sample([text] * 20, 0.5, seed=0)
  assert made.decode(drawn) == [text] * 20
  assert {made.pieces(ids).count("▁<2>") for ids in drawn} == {2}


def test_symbols_are_part_of_the_fingerprint():
  made = [train("bpe", symbols=symbols) for symbols in ((), ("<1>",), ("<2>",), (" <1>",))]
  assert len({tokenizer.fingerprint for tokenizer in made}) == len(made)


@pytest.mark.parametrize("kind", ["bytes", "characters"])
def test_bytes_and_characters_spell_symbols(kind):
  texts = ["<1> haus <2> maus"]
  plain, told = train(kind, texts), train(kind, texts, symbols=("<1>", " <2>"))
  assert told.fingerprint == plain.fingerprint
  assert told.decode(told.encode(texts)) == texts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("symbols", [("",), ("  ",), ("<s>",), ("</s>",), ("<1>", "<1>")])
def test_symbols_that_make_no_sense_are_told(kind, symbols):
  assert "tokenizer.symbols: " in failure(lambda: train(kind, symbols=symbols))


def test_a_symbol_that_normalisation_changes_is_told():
  assert "' ①' is not kept" in failure(lambda: train("bpe", symbols=(" ①",)))
  train("bpe", symbols=(" ①",), normalization="identity")


def test_long_lines_are_trained_on():
  assert "q" in "".join(train("bpe", [*TEXTS, "haus qq " * 2000]).pieces(range(28)))


def test_characters_are_ranked_by_count_then_code_point():
  made = train("characters", ["cba", "bb", "a\n"], 7)
  assert made.pieces(range(4, 7)) == ["b", "a", "\n"]
  assert made.encode(["abc"]) == [[5, 4, UNK]]


def test_bytes_are_lossless_and_broken_ones_do_not_stop():
  made = train("bytes")
  text = "ﬁne  \t🙂\u2028\0"
  assert made.encode(["aä"]) == [[4 + 97, 4 + 0xC3, 4 + 0xA4]]
  assert made.decode(made.encode([text])) == [text]
  assert made.decode([[4 + 97, 4 + 0xC3]]) == ["a\ufffd"]


def test_bytes_are_not_trained():
  assert train("bytes", (1 / 0 for _ in "a")).vocab_size == 260


@pytest.mark.parametrize(
  ("spec", "told"),
  [
    (None, "No such file"),
    ("{", "damaged"),
    ("[]", "damaged"),
    ('{"format": 1}', "damaged"),
    ('{"format": 99, "kind": "bytes"}', "format 99"),
    ('{"format": 1, "kind": "runes"}', "'runes'"),
    ('{"format": 1, "kind": "characters", "characters": "ab", "fingerprint": "x"}', "damaged"),
    ('{"format": 1, "kind": "sentencepiece", "fingerprint": "x"}', "sentencepiece.model"),
  ],
)
def test_a_damaged_folder_is_told(tmp_path, spec, told):
  if spec is not None:
    (tmp_path / "tokenizer.json").write_text(spec)
  message = failure(lambda: load_tokenizer(str(tmp_path)))
  assert told in message and str(tmp_path) in message


def test_a_model_of_another_tokenizer_is_told(tmp_path):
  train("bpe").save(str(tmp_path))
  (tmp_path / "sentencepiece.model").write_bytes(train("bpe", vocab_size=29).model)
  assert "damaged" in failure(lambda: load_tokenizer(str(tmp_path)))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_lossless_pieces_give_every_character_back(kind):
  code = 'def f(x):\n    """A  b."""\n\treturn  x \n\n\n'
  made = train_tokenizer(
    [code * 40] * 30, kind, {"bpe": 300, "unigram": 281}[kind], 1.0, "lossless", True, 0
  )
  for text in (code, "  a\t\tb \n\n c ", "\n", "ﬁne ① 🙂 日本"):
    assert made.decode(made.encode([text])) == [text]
  assert "▁▁" in "".join(made.pieces(range(made.vocab_size)))


def test_texts_of_any_length_are_trained_on():
  long = "abc " * 40_000 + "xyz " * 40_000
  made = train_tokenizer([long], "bpe", 18, 1.0, "nmt_nfkc", False, 0)
  assert {"▁abc", "▁xyz"} <= set(made.pieces(range(made.vocab_size)))
