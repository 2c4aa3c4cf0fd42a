"""Numbers of steps between the actions of the training loop."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Intervals:
  """Numbers of steps between actions of the loop; 0 for never.

  The last step is validated and saved in any case.

  Attributes:
    num_steps: number of steps of the run.
    log_every: steps between lines of training metrics.
    eval_every: steps between validations by loss.
    decode_every: steps between validations by loss and by generated outputs.
    checkpoint_every: steps between checkpoints; a best validation saves one as well.
    best_metric: validation metric by which validations are compared.
    patience: number of validations without a better one after which training ends; 0 for never.
    max_skipped_steps: number of steps skipped in a row that one more of ends training.
  """

  num_steps: int
  log_every: int
  eval_every: int
  decode_every: int
  checkpoint_every: int
  best_metric: str
  patience: int
  max_skipped_steps: int

  def due(self, every: int, step: int) -> bool:
    """Returns whether an action that is taken `every` so many steps is due at `step`."""
    return step > 0 and (step == self.num_steps or (every > 0 and step % every == 0))
