import pytest

from tfx_jax.data.example import Example
from tfx_jax.errors import UserError
from tfx_jax.sources.formats import open_source
from tfx_jax.tasks.dialogue import Dialogue, Turn, turns

LINES = "#Person1#: Hi .\n#Person2#: Hello , Ann .\n#Person2#: How are you ?\n#Person1#: Fine ."
ENDED = "Hi . __eou__ Hello , Ann . How are you ? __eou__ Fine . __eou__\t1\t1 2 1\t0 0 4"
TURNS = [Turn(1, "Hi."), Turn(2, "Hello, Ann. How are you?"), Turn(1, "Fine.")]
EXAMPLES = [
  Example("<1> Hi. <2>", "Hello, Ann. How are you?"),
  Example("<1> Hi. <2> Hello, Ann. How are you? <1>", "Fine."),
]


def examples(text, **settings):
  task = Dialogue(**settings)
  return list(task.examples({task.source: text}))


@pytest.mark.parametrize("text", [LINES, ENDED])
def test_both_ways_to_write_a_dialogue_give_the_same(text):
  assert Dialogue().turns(text) == TURNS
  assert examples(text) == EXAMPLES


def test_speakers_are_numbered_as_they_come_in():
  text = "Bob: a\nMr. Smith: b\nand so on\nat 12:30 sharp\n\nAnn:\nAnn: c\n #BOB#:d\nbob: e"
  assert turns(text) == [
    Turn(1, "a"),
    Turn(2, "b and so on at 12:30 sharp"),
    Turn(3, "c"),
    Turn(4, "d"),
    Turn(1, "e"),
  ]


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\xa0", "\r"])
def test_only_a_line_feed_ends_a_turn(odd):
  said = f"wait{odd} Really: yes {odd}Note: no"
  assert turns(f"A: {said}\r\nB: ok") == [Turn(1, said), Turn(2, "ok")]
  assert [turn.text for turn in turns(f"{said} __eou__ ok")] == [said, "ok"]


def test_turns_in_alternation_may_lack_the_last_end_and_labels():
  assert [turn.text for turn in turns("a __eou__ b __eou__ __eou__c")] == ["a", "b", "c"]
  assert [turn.speaker for turn in turns("a __eou__ b __eou__ __eou__c")] == [1, 2, 1]
  assert [turn.text for turn in turns("a: x __eou__ b\tc __eou__ d")] == ["a: x", "b"]


@pytest.mark.parametrize("text", ["", "  \n", "Hi .", "Hi . __eou__", "Ann: Hi\nAnn: you", "\t1"])
def test_a_dialogue_of_one_turn_has_no_answer(text):
  assert examples(text) == examples(text, answers="last") == []


def test_settings_choose_answers_history_and_cleaning():
  assert examples(ENDED, answers="last") == EXAMPLES[1:]
  assert examples(ENDED, history_turns=1) == [
    EXAMPLES[0],
    Example("<2> Hello, Ann. How are you? <1>", "Fine."),
  ]
  assert examples(ENDED, history_turns=2) == EXAMPLES
  assert examples(ENDED, detokenize=False)[0] == Example(
    "<1> Hi . <2>", "Hello , Ann . How are you ?"
  )
  task = Dialogue(source="text")
  assert task.fields("train") == task.fields("test") == ("text",)
  assert list(task.examples({"text": LINES})) == EXAMPLES


def test_the_identity_tells_apart_what_gives_other_examples():
  settings = [
    {},
    {"source": "x"},
    {"answers": "last"},
    {"history_turns": 1},
    {"detokenize": False},
  ]
  assert len({Dialogue(**changed).identity for changed in settings}) == len(settings)
  assert Dialogue(metrics=("chrf",)).identity == Dialogue().identity


def test_a_chat_reads_what_training_read():
  assert Dialogue().source_of(TURNS[:2], speaker=1) == EXAMPLES[1].source
  assert Dialogue().source_of([], speaker=2) == "<2>"


def test_dialogues_are_alike_that_have_two_turns_in_a_row_in_common():
  def keys(text):
    return set(Dialogue().overlap_keys({"dialogue": text}))

  assert len(keys(LINES)) == 2
  assert keys(LINES) == keys(ENDED) == keys(ENDED.replace(" ,", "").upper().replace("EOU", "eou"))
  assert len(keys("Hey __eou__ Hello Ann how are you __eou__ Fine") & keys(LINES)) == 1
  assert not keys("Fine __eou__ Hello Ann how are you __eou__ Hi") & keys(LINES)
  assert not keys("Hi Hello __eou__ Ann how are you __eou__ well fine") & keys(LINES)
  assert keys("Hi .") == set()


def test_a_line_without_the_dialogue_is_named(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text('{"dialogue": "a __eou__ b"}\n{"dialog": "c __eou__ d"}\n')
  reader = open_source("jsonl", str(path), Dialogue().fields("train"))
  with pytest.raises(
    UserError, match=r"a\.jsonl, line 2: no key 'dialogue', did you mean 'dialog'"
  ):
    list(reader)


def test_scores_are_those_of_the_metrics_named():
  answers = [example.target for example in EXAMPLES]
  scores = Dialogue().score(answers, EXAMPLES)
  assert scores["bleu1"] == scores["bleu2"] == pytest.approx(100)
  assert scores["length"] == (8 + 2) / 2
  assert {"distinct1", "distinct2", "bleu2_signature"} < scores.keys()
  assert list(Dialogue(metrics=("chrf", "length", "bleu2")).corpus_metrics()) == ["chrf", "bleu2"]


@pytest.mark.parametrize(
  ("settings", "told"),
  [
    ({"answers": "lost"}, "task.answers='lost', did you mean 'last'"),
    ({"history_turns": -1}, "task.history_turns=-1: use 0"),
    ({"metrics": ("bleu3",)}, "did you mean 'bleu"),
    ({"bleu_tokenize": "14a"}, "did you mean '13a'"),
  ],
)
def test_settings_that_make_no_sense_are_told(settings, told):
  with pytest.raises(UserError) as info:
    Dialogue(**settings)
  assert told in str(info.value) and "\n" not in str(info.value)
