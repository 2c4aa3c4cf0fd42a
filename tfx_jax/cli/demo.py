"""Serves a web page to use a run with."""

import asyncio
import os

from ml_collections import ConfigDict

from tfx_jax import builders
from tfx_jax.cli.console import say
from tfx_jax.errors import UserError
from tfx_jax.run.loading import load


def demo(config: ConfigDict, workdir: str, host: str, port: int) -> int:
  """Serves the page of a run until Ctrl-C.

  Args:
    config: the run's configuration, with the changes of the command line.
    workdir: the run.
    host: address that the server listens on.
    port: port that it listens on; 0 for a free one.

  Raises:
    UserError: if Gradio is not installed, or the address cannot be used.
  """
  try:
    from tfx_jax.demo import page, server
  except ImportError as error:
    raise UserError(f"--mode=demo: {error}; run pip install 'tfx_jax[demo]'") from error
  with server.bind(host, port) as bound:
    # A page asks for one output at a time, and itself for streams.
    config.generate.update(batch_size=1, stream=False)
    run = load(workdir, config=config)
    task, name = builders.make_task(config), os.path.basename(os.path.abspath(workdir))

    async def serve() -> None:
      # Without an event loop that runs, Gradio would make several, and close none.
      made = page.make_page(run, task, name)
      say(f"the page of {workdir}: {server.url(bound)} (Ctrl-C ends)")
      await server.make_server(made).serve(sockets=[bound])

    try:
      asyncio.run(serve())
    except KeyboardInterrupt:
      say("")
  return 0
