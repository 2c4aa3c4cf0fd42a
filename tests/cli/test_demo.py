"""The command that serves a page: it names what is missing, and the address."""

import sys

import pytest

from tfx_jax.main import main


def test_without_gradio_one_line_says_how_to_install_it(trained, monkeypatch, capsys):
  for name in [name for name in sys.modules if name.startswith("tfx_jax.demo")]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.setitem(sys.modules, "gradio", None)
  assert main(["demo", f"--workdir={trained[1]}"]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: --mode=demo: ")
  assert line.endswith("run pip install 'tfx_jax[demo]'")


def test_the_page_is_served_at_the_address_until_an_interrupt(trained, monkeypatch, capsys):
  pytest.importorskip("gradio")
  import uvicorn

  served = []

  async def interrupted(self, sockets):
    served.extend(socket.getsockname() for socket in sockets)
    raise KeyboardInterrupt

  monkeypatch.setattr(uvicorn.Server, "serve", interrupted)
  assert main(["demo", f"--workdir={trained[1]}", "--port=0"]) == 0
  ((host, port),) = served
  assert host == "127.0.0.1"
  assert f"the page of {trained[1]}: http://127.0.0.1:{port}/ " in capsys.readouterr().err
