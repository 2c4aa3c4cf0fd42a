"""Pages as a person uses them, in a browser: type, press, read."""

import io
import threading
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

from tfx_jax.tasks.describe import Describe
from tfx_jax.tasks.dialogue import Dialogue
from tfx_jax.tasks.draw import Draw
from tfx_jax.tasks.summarize import Summarize
from tfx_jax.tasks.text import Text
from tfx_jax.tasks.translate import Translate

# Of Gradio's own record of its requests.
pytestmark = pytest.mark.filterwarnings(
  "ignore:'future.no_silent_downcasting' is deprecated", "ignore:The copy keyword is deprecated"
)
DRAW, DESCRIBE = Draw("caption", "picture"), Describe("picture", "caption")
TRANSLATE, TEXT = Translate("en", "de"), Text("text")
DIALOGUE = Dialogue(detokenize=False)
# As long as a text that is cut, so that programs are compiled for one length only.
SOURCE = "abc def fed cab bad"
# Seconds until a program is compiled, at most.
PATIENCE = 180


class Page:
  """A page in a browser."""

  def __init__(self, browser, url):
    self.browser, self.url = browser, url
    browser.get(url)
    self.wait(lambda: self.find("button"))

  def find(self, selector):
    return self.browser.find_elements("css selector", selector)

  def wait(self, condition):
    """The value of a condition, as soon as it holds."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    # Gradio makes elements anew while they are read.
    again = [StaleElementReferenceException]
    return WebDriverWait(self.browser, PATIENCE, 0.05, again).until(lambda _: condition())

  def type(self, field, text):
    (box,) = self.find(f"#{field} textarea, #{field} input[type=number]")
    box.clear()
    box.send_keys(text)

  def press(self, button):
    self.find(f"#{button}")[0].click()

  def value(self, field):
    boxes = self.find(f"#{field} textarea")
    return boxes[0].get_attribute("value") if boxes else ""

  def cell(self, row, column):
    return self.find(f"#outputs [data-testid=cell-{row}-{column}]")

  def say(self, text):
    self.type("turn", text)
    self.press("send")

  def messages(self):
    """All that was said."""
    found = self.find("#conversation .message .message-content")
    return [message.text.strip() for message in found]

  def foreign(self):
    """Addresses elsewhere that the page has loaded, or that the browser has kept it from."""
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    loaded = [x for x in self.browser.execute_script(script) if not x.startswith(self.url)]
    log = [entry["message"] for entry in self.browser.get_log("browser")]
    return loaded + [line for line in log if "Content Security Policy" in line]


@pytest.fixture
def open_page(chromium, serve):
  chromium.get_log("browser")  # forgets the pages before
  yield lambda run, task: Page(chromium, serve(run, task))
  chromium.get("about:blank")


def test_a_translation_with_all_outputs_and_the_alignment_of_one(translator, open_page):
  page = open_page(translator, TRANSLATE)
  (expected,) = translator.generate([SOURCE])
  page.type("source", SOURCE)
  page.press("generate")
  assert page.wait(lambda: page.value("output")) == expected[0].text
  page.wait(lambda: page.cell(len(expected) - 1, 2))
  for number, output in enumerate(expected):
    score, log_prob, text = (page.cell(number, column)[0].text for column in range(3))
    assert text.strip() == output.text.strip()
    assert [float(score), float(log_prob)] == pytest.approx(
      [output.score, output.log_prob], abs=1e-4
    )
  first = page.wait(lambda: page.find("#alignment img"))[0].get_attribute("src")
  page.cell(1, 2)[0].click()
  page.wait(lambda: page.find("#alignment img")[0].get_attribute("src") != first)
  width = "return document.querySelector('#alignment img').naturalWidth"
  assert page.wait(lambda: page.browser.execute_script(width)) > 100
  assert page.foreign() == []


def test_a_text_that_is_cut_and_a_mistake_are_told_in_a_line(translator, open_page):
  page = open_page(translator, TRANSLATE)
  page.press("generate")
  assert page.wait(lambda: page.value("note")) == "The text is empty: write one first."
  page.type("source", "abcdef " * 4)
  page.press("generate")
  assert page.wait(lambda: page.value("output"))
  assert page.value("note") == "The text is too long: only its first 24 tokens are read."
  page.press("settings button")
  page.wait(lambda: page.find("#stop textarea")[0].is_displayed())
  page.type("stop", "a")
  page.press("generate")
  page.wait(lambda: "does not go with generate.beam_size=4" in page.value("note"))
  assert page.value("output") == ""


def test_a_summary_has_no_alignment(translator, open_page):
  page = open_page(translator, Summarize("text", "summary"))
  page.type("source", SOURCE)
  page.press("generate")
  assert page.wait(lambda: page.value("output")) == translator.generate([SOURCE])[0][0].text
  assert not page.find("#alignment")


def test_a_text_goes_on_as_the_settings_say(writer, open_page):
  page = open_page(writer, TEXT)
  expected = "abc" + "".join(writer.stream("abc", seed=3))
  page.type("source", "abc")
  page.type("seed", "3")
  page.press("generate")
  page.wait(lambda: page.value("output") == expected)
  assert page.foreign() == []


def test_a_stream_is_shown_while_it_is_generated_until_it_is_stopped(
  writer, open_page, monkeypatch
):
  stopped = threading.Event()

  def endless(text, number, **changes):
    try:
      while True:
        yield "x"
        time.sleep(0.02)
    finally:
      stopped.set()

  page = open_page(writer, TEXT)
  monkeypatch.setattr(writer, "stream", endless)
  page.type("source", "abc")
  page.press("generate")
  page.wait(lambda: page.value("output").startswith("abcxx"))
  page.press("stop_button")
  assert stopped.wait(PATIENCE)
  monkeypatch.undo()
  page.press("generate")
  page.wait(lambda: page.value("output") == "abc" + "".join(writer.stream("abc")))


def test_a_conversation_is_remembered_until_it_is_forgotten(talker, open_page):
  page = open_page(talker, DIALOGUE)

  def answer(source):
    return "".join(talker.stream(source)).strip()

  first = answer("<1> abc <2>")
  second = answer(f"<1> abc <2> {first} <1> d <2>")
  assert first and second and len({first, second, answer("<1> d <2>")}) == 3
  page.say("abc")
  page.wait(lambda: page.messages() == ["abc", first])
  assert page.value("turn") == ""
  page.say("d")
  page.wait(lambda: page.messages() == ["abc", first, "d", second])
  page.press("reset")
  page.wait(lambda: page.messages() == [])
  page.say("d")
  page.wait(lambda: page.messages() == ["d", answer("<1> d <2>")])
  assert page.foreign() == []


def test_turns_that_no_longer_fit_are_forgotten_and_a_line_says_so(talker, open_page):
  page = open_page(talker, DIALOGUE)
  long = "abc def " * 5 + "abc"
  for text in ("abc", long):
    count = len(page.messages())
    page.say(text)
    page.wait(lambda count=count: len(page.messages()) == count + 2)
  expected = "".join(talker.stream(f"<1> {long} <2>")).strip()
  page.wait(lambda: page.messages()[2:] == [long, expected])
  note = "The first 2 turns that were remembered no longer fit, and are forgotten."
  assert page.value("note") == note


def test_the_model_does_one_request_at_a_time(translator, open_page, monkeypatch):
  generate, inside, most = translator.generate, [], []

  def watched(texts, **settings):
    inside.append(texts)
    most.append(len(inside))
    time.sleep(0.5)
    inside.pop()
    return generate(texts, **settings)

  page = open_page(translator, TRANSLATE)
  monkeypatch.setattr(translator, "generate", watched)
  windows = [page.browser.current_window_handle]
  page.browser.switch_to.new_window("tab")
  windows.append(page.browser.current_window_handle)
  Page(page.browser, page.url)
  for window in windows:
    page.browser.switch_to.window(window)
    page.type("source", SOURCE)
    page.press("generate")
  for window in windows:
    page.browser.switch_to.window(window)
    assert page.wait(lambda: page.value("output"))
  page.browser.close()
  page.browser.switch_to.window(windows[0])
  assert most == [1, 1]


def test_a_picture_is_drawn(painter, open_page):
  page = open_page(painter, DRAW)
  page.type("source", "abc")
  page.press("generate")
  (source,) = page.wait(lambda: [image.get_attribute("src") for image in page.find("#picture img")])
  with urllib.request.urlopen(source) as answer, Image.open(io.BytesIO(answer.read())) as image:
    found = np.asarray(image.convert("RGB"))
  ((best,),) = painter.generate(["abc"])
  times = len(found) // len(best.value)
  assert times > 1 and np.array_equal(found[::times, ::times], best.value)
  assert page.foreign() == []


def test_a_picture_is_described(viewer, open_page, tmp_path):
  page = open_page(viewer, DESCRIBE)
  page.press("generate")
  assert page.wait(lambda: page.value("note")) == "There is no picture: choose a file first."
  picture = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
  Image.fromarray(picture).save(tmp_path / "small.png")
  page.find("#source input[type=file]")[0].send_keys(str(tmp_path / "small.png"))
  page.wait(lambda: page.find("#source img"))
  page.press("generate")
  ((best,),) = viewer.generate([picture])
  assert page.wait(lambda: page.value("output")) == best.text
  assert page.foreign() == []
