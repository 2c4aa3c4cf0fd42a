"""Runs with random parameters, their pages served, and a browser to look at them with."""

import asyncio
import contextlib
import shutil
import socket
import threading
import time

import numpy as np
import pytest
from support.random_run import random_params as random_params
from support.random_run import small_run

from tfx_jax.codecs.image.patches import PatchCodec
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.run.run import Run

ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1400")
LOCAL = ("127.0.0.1", "::1")
CHARACTERS = CharacterTokenizer("abcdef ")
# Four colours, a patch for each pixel of a picture.
PATCHES = PatchCodec(
  np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [255, 255, 255]], np.uint8)[:, None, None],
  (3, 4),
)
PICTURES = {
  "task.metrics": ("exact_match",),
  "model.share_embeddings": False,
  "generate.beam_size": 1,
  "generate.num_return": 1,
  "generate.max_length_ratio": 0.0,
  "generate.min_length": 12,
}


@pytest.fixture(scope="package")
def make_run(random_params):
  """Makes a run of the small model, with changes of its configuration."""

  def make(codecs=None, **changes):
    small = small_run(random_params, {"generate.batch_size": 1} | changes, codecs)
    return Run(
      small.config,
      small.params,
      12,
      model=small.model,
      codecs=small.codecs,
      parallel=small.parallel,
    )

  return make


@pytest.fixture(scope="package")
def painter(make_run):
  return make_run((CHARACTERS, PATCHES), **PICTURES, **{"task.name": "draw"})


@pytest.fixture(scope="package")
def viewer(make_run):
  return make_run((PATCHES, CHARACTERS), **PICTURES, **{"task.name": "describe"})


@pytest.fixture(scope="package")
def translator(make_run):
  return make_run()


@pytest.fixture(scope="package")
def writer(make_run):
  changes = {"model.architecture": "decoder_only", "task.name": "text"}
  return make_run(**changes, **{"generate.search": "sample", "generate.num_return": 1})


@pytest.fixture(scope="package")
def talker(make_run):
  changes = {"task.name": "dialogue", "data.long_sources": "cut_start"}
  changes |= {"generate.beam_size": 1, "generate.num_return": 1}
  # Answers that can be seen, and differ.
  changes |= {"generate.forbidden": ("<unk>",), "generate.no_repeat_ngram_size": 2}
  return make_run(**changes, **{"generate.max_source_length": 64, "generate.min_length": 6})


@pytest.fixture
def reached(monkeypatch):
  """Addresses elsewhere that this process has tried to reach; none is reached."""
  addresses, connect = [], socket.socket.connect

  def only_here(self, address):
    if self.family != socket.AF_UNIX and address[0] not in LOCAL:
      addresses.append(address)
      raise OSError("not in this test")
    return connect(self, address)

  monkeypatch.setattr(socket.socket, "connect", only_here)
  return addresses


@pytest.fixture
def serve(reached):
  """Serves the page of a run and a task; returns its URL."""
  pytest.importorskip("gradio")
  from tfx_jax.demo import page, server

  with contextlib.ExitStack() as stack:

    async def make(run, task):
      # Without an event loop that runs, Gradio would make several, and close none.
      return server.make_server(page.make_page(run, task, "small"))

    def start(run, task):
      bound = stack.enter_context(server.bind("127.0.0.1", 0))
      served = asyncio.run(make(run, task))
      thread = threading.Thread(target=served.run, kwargs={"sockets": [bound]})
      thread.start()
      stack.callback(thread.join)
      stack.callback(setattr, served, "should_exit", True)
      while not served.started:
        assert thread.is_alive()
        time.sleep(0.01)
      return server.url(bound)

    yield start
  assert reached == []


@pytest.fixture(scope="package")
def chromium():
  """Chromium, driven by selenium."""
  webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
  browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
  if not browser or not driver:
    pytest.skip("no chromium: apt-get install chromium chromium-driver")
  options = webdriver.ChromeOptions()
  options.binary_location = browser
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  for argument in ARGUMENTS:
    options.add_argument(argument)
  opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
  yield opened
  opened.quit()
