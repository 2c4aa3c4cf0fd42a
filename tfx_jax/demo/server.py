"""Serves a page from this machine alone: browsers are told to load nothing from elsewhere."""

import errno
import os
import socket
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.themes import Default

from tfx_jax.errors import UserError

# Enforced by the browser, whichever addresses the files of Gradio contain: scripts, styles, fonts,
# pictures and requests are for this server alone. Gradio's page has scripts inside of it.
_POLICY = (
  "default-src 'self' 'unsafe-inline' data: blob:; object-src 'none'; base-uri 'self'; "
  "form-action 'self'"
)
# Bytes of a request or of a file: a text and the settings, or a picture, many times over.
_MOST_BYTES = 2**20
# Seconds that requests in progress have when the server ends.
_PATIENCE = 1


def bind(host: str, port: int) -> socket.socket:
  """Returns a socket at an address.

  Args:
    host: address or name of this machine; "0.0.0.0" for all its networks.
    port: number of the port; 0 for a free one.

  Raises:
    UserError: if the address is not of this machine, or the port is taken.
  """
  try:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address, family=family)
  except OSError as error:
    number = error.errno or 0
    reason = os.strerror(number) if number in errno.errorcode else error.strerror
    raise UserError(
      f"--host={host} --port={port}: {reason}; use an address of this machine and a free port, "
      "such as --port=0"
    ) from error


def url(bound: socket.socket) -> str:
  """Returns the URL of a server at a socket."""
  host, port, *_ = bound.getsockname()
  return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(page: gr.Blocks) -> uvicorn.Server:
  """Returns a server of a page, whose `serve(sockets=[…])` ends by Ctrl-C, or by `should_exit`."""
  # Fonts that the system has; those of the default theme come with Gradio, or from Google.
  theme = Default(
    primary_hue="blue",
    font=("Segoe UI", "Helvetica Neue", "Arial", "sans-serif"),
    font_mono=("Menlo", "Consolas", "monospace"),
  )
  app = gr.mount_gradio_app(
    FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
    page,
    path="",
    footer_links=[],
    run_history=False,
    show_error=False,
    max_file_size=_MOST_BYTES,
    ssr_mode=False,
    enable_monitoring=False,
    pwa=False,
    mcp_server=False,
    theme=theme,
    css="#alignment img { max-height: 640px; width: auto; margin: auto }",
  )
  config = uvicorn.Config(
    _Guard(app),
    # By default all handlers of the process are closed, and with them streams that others write to.
    log_config=None,
    log_level="warning",
    timeout_graceful_shutdown=_PATIENCE,
    server_header=False,
  )
  return uvicorn.Server(config)


class _Guard:
  """An application that refuses long requests, and those that do not tell their length.

  It adds the policy to the answers of another application.
  """

  def __init__(self, app: Any):
    self._app = app

  async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
    headers = dict(scope.get("headers", ()))
    refusal = None
    if int(headers.get(b"content-length", 0)) > _MOST_BYTES:
      refusal = 413, b"the request is too long"
    elif b"transfer-encoding" in headers:
      refusal = 411, b"the request does not tell its length"
    if refusal is not None:
      await send({"type": "http.response.start", "status": refusal[0], "headers": []})
      await send({"type": "http.response.body", "body": refusal[1]})
      return

    async def send_with_policy(message: Any) -> None:
      if message["type"] == "http.response.start":
        policy = (b"content-security-policy", _POLICY.encode())
        message = message | {"headers": [*message["headers"], policy]}
      await send(message)

    await self._app(scope, receive, send_with_policy)
