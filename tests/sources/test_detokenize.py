import pytest

from tfx_jax.sources.detokenize import detokenize

WRITTEN = [
  "I don't know, Mr. O'Neil... It's 3.50 (or 4,000), isn't it?!",
  'She said "yes", then "no" and left; the minutes\' walk took 20 minutes.',
  "Go to example.com at 12:30 p.m., it is .5% -- or so - to e.g. the U.K. and back.",
  "Rock 'n' roll of the '20s: that's all.",
  "",
]


@pytest.mark.parametrize("text", WRITTEN)
def test_what_is_written_well_stays(text):
  assert detokenize(text) == text


@pytest.mark.parametrize(
  ("split", "written"),
  [
    ("I don \u2019 t know , sir . Do you ?", "I don't know, sir. Do you?"),
    ("I \u2018 d say it ' s ten o \u2019 clock .", "I'd say it's ten o'clock."),
    ("I ' Ve seen it and We'Re off , You 'Ll see", "I've seen it and We're off, You'll see"),
    ("YOU ' LL SEE . IT ' S DEFAULT", "YOU'LL SEE. IT'S DEFAULT"),
    ("Well . . . it costs $ 30 , 5 % less ( or so ) .", "Well... it costs $30, 5% less (or so)."),
    ("She said , “ Come in . ” And left", 'She said, "Come in." And left'),
    ('He is a " paper tiger " , yes', 'He is a "paper tiger", yes'),
    ("I'd like to meet him.Will you?I will", "I'd like to meet him. Will you? I will"),
    ("Well,yes  it\tis", "Well, yes it is"),
  ],
)
def test_split_words_are_joined(split, written):
  assert detokenize(split) == written
  assert detokenize(written) == written


def test_an_odd_quotation_mark_pairs_nothing():
  assert detokenize('a " b " c " d') == 'a " b " c " d'


@pytest.mark.parametrize("odd", ["\xa0", "\x85", "\u2028", "\u3000"])
def test_only_spaces_and_line_ends_are_joined(odd):
  text = f"{odd}one{odd} two {odd}, three{odd}"
  assert detokenize(text) == text
  assert detokenize(" a\t\r\n b \n") == "a b"
