from tfx_jax.tasks.conversation import Conversation
from tfx_jax.tasks.dialogue import Dialogue, Turn


def conversation(longest=1000):
  return Conversation(Dialogue().source_of, lambda text: len(text) <= longest)


def test_the_model_reads_all_turns_and_whose_it_is():
  talk = conversation()
  assert talk.ask("Hi.") == ("<1> Hi. <2>", 0)
  talk.answer("Hello.")
  assert talk.ask("How are you?") == ("<1> Hi. <2> Hello. <1> How are you? <2>", 0)


def test_the_oldest_turns_are_forgotten_first():
  talk = conversation(len("<2> Hello. <1> How are you? <2>"))
  talk.ask("Hi.")
  talk.answer("Hello.")
  assert talk.ask("How are you?") == ("<2> Hello. <1> How are you? <2>", 1)
  talk.answer("Fine.")
  assert talk.ask("Good.") == ("<2> Fine. <1> Good. <2>", 2)
  assert talk.turns == [Turn(2, "Fine."), Turn(1, "Good.")]


def test_what_was_just_said_is_never_forgotten():
  talk = conversation(10)
  talk.ask("Hi.")
  talk.answer("Hello.")
  assert talk.ask("A long story about something.")[1] == 2
  assert [turn.text for turn in talk.turns] == ["A long story about something."]


def test_without_an_answer_a_person_goes_on():
  talk = conversation()
  talk.ask("Hi.")
  talk.answer("")
  assert talk.ask("Anyone?") == ("<1> Hi. Anyone? <2>", 0)


def test_a_reset_forgets_everything():
  talk = conversation()
  talk.ask("Hi.")
  talk.reset()
  assert talk.ask("New.") == ("<1> New. <2>", 0)
