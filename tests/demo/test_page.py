"""Kinds of pages, bounded input, settings, and the server, without a browser."""

import asyncio
import contextlib
import http.client
import logging
import socket
import urllib.parse

import pytest

gr = pytest.importorskip("gradio")

from tfx_jax.demo import parts, server
from tfx_jax.demo.chat import chat
from tfx_jax.demo.continuation import continuation
from tfx_jax.demo.page import kind_of_page
from tfx_jax.demo.pictures import describing, drawing
from tfx_jax.demo.settings import SettingsPanel
from tfx_jax.demo.text_to_text import summary, text_to_text, translation
from tfx_jax.errors import UserError
from tfx_jax.generation.settings import SEARCHES
from tfx_jax.tasks.describe import Describe
from tfx_jax.tasks.dialogue import Dialogue
from tfx_jax.tasks.draw import Draw
from tfx_jax.tasks.summarize import Summarize
from tfx_jax.tasks.text import Text
from tfx_jax.tasks.text_to_text import TextToText
from tfx_jax.tasks.translate import Translate


@pytest.mark.parametrize(
  ("task", "kind"),
  [
    (Translate("en", "de"), translation),
    (Summarize("text", "summary"), summary),
    (TextToText("source", "target"), text_to_text),
    (Text("text"), continuation),
    (Dialogue(), chat),
    (Draw("caption", "picture"), drawing),
    (Describe("picture", "caption"), describing),
  ],
)
def test_the_kind_of_page_follows_from_the_task(task, kind):
  assert kind_of_page(task) is kind


def panel_of(run, several=False):
  async def make():
    with gr.Blocks(analytics_enabled=False):
      return SettingsPanel(run, several)

  return asyncio.run(make())


def values_of(panel, **changes):
  values = {field.elem_id or field.label: field.value for field in panel.fields}
  return list((values | changes).values())


def test_a_panel_that_nobody_touches_keeps_the_settings_of_the_run(writer):
  changes = panel_of(writer).changes(values_of(panel_of(writer)))
  assert writer.generator.settings.replace(**changes) == writer.generator.settings
  assert {"temperature", "top_k", "top_p", "min_p", "typical_p", "seed"} <= changes.keys()


@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_can_be_chosen_and_shows_what_it_reads(writer, translator, search):
  for run, several in ((writer, False), (translator, True)):
    panel = panel_of(run, several)
    changes = panel.changes(values_of(panel, search=search, temperature=0.5, stop=""))
    settings = run.generator.settings.replace(**changes)
    assert settings.search == search
    assert settings.temperature == (1.0 if search == "beam" else 0.5)


def test_lines_are_texts_of_a_setting(writer):
  panel = panel_of(writer)
  changes = panel.changes(values_of(panel, stop="a b\nc", top_k=3.0))
  assert changes["stop"] == ("a b", "c") and type(changes["top_k"]) is int


@pytest.mark.parametrize("length", [1, 23, 24, 63, 64, 400, 100_000])
def test_a_note_tells_exactly_of_texts_that_are_cut(translator, talker, length):
  text = ("abcdef " * length)[:length]
  for run, read in ((translator, "first"), (talker, "last")):
    longest = run.longest_input
    part, note = parts.bounded(run, text)
    assert (note == "") == run.reads_whole(text)
    assert note in ("", f"The text is too long: only its {read} {longest} tokens are read.")
    assert len(part) <= 16 * longest
    assert part == (text[: len(part)] if read == "first" else text[-len(part) :])
    (ids,) = run.tokenizers[0].encode([part])
    assert len(ids) >= min(length, longest - 1)


def test_the_longest_input_is_where_cutting_begins(translator):
  longest = translator.longest_input - 1  # and EOS
  assert translator.reads_whole("a" * longest) and not translator.reads_whole("a" * (longest + 1))


def ask(url, method="GET", path="/", headers=()):
  """Status, headers and body of an answer."""
  connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
  with contextlib.closing(connection):
    connection.putrequest(method, path)
    for name, value in headers:
      connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read().decode()


def test_the_server_keeps_browsers_at_home_and_takes_no_long_requests(translator, serve):
  url = serve(translator, Translate("en", "de"))
  assert url.startswith("http://127.0.0.1:")
  status, headers, page = ask(url)
  assert status == 200 and headers["content-security-policy"].startswith("default-src 'self' ")
  for kind in ("<script", "<link", "<img", "<iframe"):
    assert not [tag for tag in page.split(kind)[1:] if "//" in tag.partition(">")[0]], kind
  for header, expected in (
    (("content-length", 2**20 + 1), (413, "the request is too long")),
    (("transfer-encoding", "chunked"), (411, "the request does not tell its length")),
  ):
    status, _, text = ask(url, "POST", "/gradio_api/queue/join", [header])
    assert (status, text) == expected


def test_the_server_leaves_the_logs_of_others_alone(translator, serve, tmp_path):
  handler = logging.FileHandler(tmp_path / "log")
  with contextlib.closing(handler):
    serve(translator, Translate("en", "de"))
    assert handler.stream is not None and not handler.stream.closed


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid"])
def test_an_address_that_cannot_be_used_is_one_line(host):
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    with pytest.raises(UserError, match=rf"^--host={host} --port={port}: .*; use an address"):
      server.bind(host, port)


@pytest.mark.parametrize(
  ("host", "start"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")]
)
def test_the_url_is_that_of_the_socket(host, start):
  with server.bind(host, 0) as bound:
    assert server.url(bound) == f"{start}{bound.getsockname()[1]}/"
