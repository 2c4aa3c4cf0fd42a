"""Training steps in PyTorch: `nn.Transformer`, and Hugging Face's Marian."""

import os
from collections.abc import Callable

from sentences import read_batches

from systems.marian import make_marian

POSITIONS = 512


def make(
  folder: str,
  per_round: int,
  model: str,
  size: tuple[int, int, int, int],
  vocab_size: int,
  dropout: float,
  threads: int,
) -> tuple[Callable, dict]:
  """Makes rounds of steps on padded batches: fused AdamW, label smoothing 0.1, no clipping.

  Args:
    folder: folder of `padded.npz`.
    per_round: steps per round.
    model: "torch" or "marian".
    size: layers of each stack, D, N, F.
    vocab_size: V.
    dropout: dropout rate, everywhere the same.
    threads: number of threads of a matrix product.
  """
  import torch
  import torch.nn.functional as F

  from tfx_jax.codecs.special_tokens import BOS, PAD

  torch.set_num_threads(threads)
  torch.manual_seed(0)
  made = {"torch": _transformer, "marian": _marian}[model](size, vocab_size, dropout)
  made.train()
  optimizer = torch.optim.AdamW(
    made.parameters(), lr=3e-4, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0, fused=True
  )
  batches = read_batches(os.path.join(folder, "padded.npz"))

  def step(batch: dict) -> float:
    inputs, targets = (torch.from_numpy(batch[name]).long() for name in ("sources", "targets"))
    shifted = F.pad(targets[:, :-1], (1, 0), value=BOS)
    logits = made(inputs, shifted, inputs != PAD)
    loss = F.cross_entropy(
      logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, label_smoothing=0.1
    )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()

  def run(number: int) -> dict:
    part = batches[number * per_round : (number + 1) * per_round]
    losses = [step(batch) for batch in part]
    tokens = [float((batch["targets"] != PAD).sum()) for batch in part]
    return {
      "target_tokens": sum(tokens),
      "update_tokens": tokens,
      "loss": losses[-1],
      "target_places": sum(batch["targets"].size for batch in part),
    }

  count = sum(parameter.numel() for parameter in made.parameters() if parameter.requires_grad)
  facts = {"torch": torch.__version__, "platform": "cpu", "parameters": count}
  return run, facts | {"malloc": os.environ.get("MALLOC_MMAP_MAX_") == "0"}


def _marian(size: tuple, vocab_size: int, dropout: float) -> Callable:
  import torch

  class Logits(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.model = make_marian(size, vocab_size, dropout)

    def forward(self, inputs, shifted, real):
      output = self.model(
        input_ids=inputs, attention_mask=real.long(), decoder_input_ids=shifted, use_cache=False
      )
      return output.logits

  return Logits()


def _transformer(size: tuple, vocab_size: int, dropout: float) -> Callable:
  """Returns `nn.Transformer` with one shared table and sinusoidal positions; pre-norm, as ours."""
  import torch
  from torch import nn

  layers, features, heads, feed_forward = size

  class Logits(nn.Module):
    def __init__(self):
      super().__init__()
      self.table = nn.Embedding(vocab_size, features)
      nn.init.normal_(self.table.weight, std=features**-0.5)
      rates = 10000.0 ** (-torch.arange(0, features, 2) / features)
      angles = torch.arange(POSITIONS)[:, None] * rates
      self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], dim=1))
      self.dropout = nn.Dropout(dropout)
      self.stacks = nn.Transformer(
        d_model=features,
        nhead=heads,
        num_encoder_layers=layers,
        num_decoder_layers=layers,
        dim_feedforward=feed_forward,
        dropout=dropout,
        batch_first=True,
        norm_first=True,
      )

    def embed(self, tokens):
      x = self.table(tokens) * self.table.embedding_dim**0.5
      return self.dropout(x + self.positions[: tokens.shape[1]])

    def forward(self, inputs, shifted, real):
      length = shifted.shape[1]
      future = torch.ones(length, length, dtype=torch.bool).triu(1)
      hidden = self.stacks(
        self.embed(inputs),
        self.embed(shifted),
        tgt_mask=future,
        tgt_is_causal=True,
        src_key_padding_mask=~real,
        memory_key_padding_mask=~real,
      )
      return hidden @ self.table.weight.T

  return Logits()
