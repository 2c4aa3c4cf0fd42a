"""The models once more: NumPy, float64, one sentence at a time, no mask but causality."""

import functools
import math

import jax
import numpy as np
from support.architectures import FEATURES, HEADS, LAYERS, TOKENS

# Of distances 0, 1, 2 … with 8 buckets and a greatest distance of 16, worked out by hand.
DECODER_BUCKETS = [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7]
ENCODER_BUCKETS = [0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]
ALIBI_SLOPES = [1 / 4, 1 / 16, 1 / 64, 1 / 256]


def logits(settings, params, source, target, attended=None):
  """Of each position of `target`, over the tokens that exist: [T,V]; log P if there is copying.

  The mean weights on the source of each decoder layer, [T,S], are added to the list `attended`.
  """
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  table = p["target_embed"]["embedding"]
  source_table = table if settings.tying == "all" else p["source_embed"]["embedding"]
  memory = stack(settings, p["encoder_stack"], embed(settings, p, "source", source_table, source))
  x = embed(settings, p, "target", table, target)
  x = stack(settings, p["decoder_stack"], x, memory, attended)
  y = vocabulary(settings, p, x, table)
  return np.log(with_copies(p["pointer"], y, x, memory, source)) if settings.copy else y


def decoder_logits(settings, params, text):
  """Of each position of a decoder alone: [T,V]."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  p["target_position"] = p.get("absolute_position")
  table = p["token_embed"]["embedding"]
  x = embed(settings, p, "target", table, text)
  return vocabulary(settings, p, stack(settings, p["decoder_stack"], x, causal=True), table)


def vocabulary(settings, p, x, table):
  kernel = p["output"]["kernel"] if settings.tying == "none" else table
  bias = p["output"]["bias"] if settings.head_bias else 0.0
  return (x @ kernel.T + bias)[:, :TOKENS]


def log_probs(*args):
  return np.log(softmax(logits(*args)))


def softmax(x):
  y = np.exp(x - x.max(-1, keepdims=True))
  return y / y.sum(-1, keepdims=True)


def with_copies(p, y, x, memory, source):
  """The definition: P(w) = p_gen P_vocab(w) + (1 - p_gen) * the weights of the places of w."""
  weights = softmax(x @ (memory @ p["score"]["kernel"]).T / math.sqrt(FEATURES))
  read = weights @ memory
  gate = x @ p["target_gate"]["kernel"] + p["target_gate"]["bias"]
  generated = 1 / (1 + np.exp(-(gate + read @ p["source_gate"]["kernel"])))
  probabilities = generated * softmax(y)
  for place, token in enumerate(source):
    probabilities[:, token] += (1 - generated[:, 0]) * weights[:, place]
  return probabilities


def embed(settings, p, side, table, tokens):
  x = table[tokens] * settings.scale
  if side == "target" and settings.zero_start and "encoder_stack" in p:
    x[0] = 0
  if settings.position == "learned":
    x = x + p[f"{side}_position"]["embedding"][: len(tokens)]
  if settings.position == "sinusoidal":
    half = FEATURES // 2
    for t in range(len(tokens)):
      for i in range(half):
        angle = t / 10_000 ** (2 * i / FEATURES)
        x[t, i] += math.sin(angle)
        x[t, half + i] += math.cos(angle)
  return x


def stack(settings, p, x, memory=None, attended=None, causal=False):
  decodes = causal or memory is not None
  scores = distance_bias(settings, p, len(x), causal=decodes)
  distance = np.arange(len(x))[:, None] - np.arange(len(x))[None]
  cross = functools.partial(attention, settings, memory=memory, attended=attended)
  for index in range(LAYERS):
    layer = jax.tree.map(lambda leaf, index=index: leaf[index], p["layers"]["stacked"])
    window = settings.windows[index] if decodes and settings.windows else 0
    seen = np.where(distance < (window or len(x)), scores, -np.inf)
    own = functools.partial(attention, settings, bias=seen, rotary=settings.position == "rotary")
    sublayers = [("attention_residual", own, "self_attention")]
    if memory is not None:
      sublayers += [("memory_residual", cross, "memory_attention")]
    sublayers += [("mlp_residual", functools.partial(feed_forward, settings), "mlp")]
    for around, sublayer, name in sublayers:
      x = residual(settings, layer[around], x, functools.partial(sublayer, layer[name]))
  return x if settings.placement == "post" else normed(settings, p["norm"], x)


def residual(settings, p, x, sublayer):
  if settings.placement == "post":
    return normed(settings, p["norms_0"], x + sublayer(x))
  y = sublayer(normed(settings, p["norms_0"], x))
  return x + (normed(settings, p["norms_1"], y) if settings.placement == "sandwich" else y)


def normed(settings, p, x):
  if settings.norm == "rms":
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"]
  y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * p["scale"]
  return y + p["bias"] if settings.norm == "layer" else y


def distance_bias(settings, p, length, causal):
  """What is added to the scores [N,T,T], causality included."""
  bias = np.zeros((HEADS, length, length))
  for query in range(length):
    for key in range(length):
      distance = abs(query - key)
      if settings.position == "alibi":
        bias[:, query, key] = [-slope * distance for slope in ALIBI_SLOPES]
      if settings.position == "bucket":
        bucket = (DECODER_BUCKETS if causal else ENCODER_BUCKETS)[distance]
        bucket += 4 if key > query and not causal else 0
        bias[:, query, key] = p["relative_bias"]["embedding"][bucket]
      if causal and key > query:
        bias[:, query, key] = -np.inf
  return bias


def attention(settings, p, x, memory=None, bias=None, rotary=False, attended=None):
  out, memory, mean = np.zeros_like(x), x if memory is None else memory, 0.0
  for head in range(HEADS):
    shared = head * settings.kv_heads // HEADS
    query = project(settings, p["query"], x, head)
    key = project(settings, p["key"], memory, shared)
    value = project(settings, p["value"], memory, shared)
    if rotary:
      query, key = turned(query), turned(key)
    scores = query @ key.T / math.sqrt(settings.head_dim)
    if bias is not None:
      scores = scores + bias[head]
    weights = softmax(scores)
    out = out + weights @ value @ p["out"]["kernel"][head]
    mean = mean + weights / HEADS
  if attended is not None:
    attended.append(mean)
  return out + p["out"]["bias"] if settings.use_bias else out


def project(settings, p, x, head):
  y = x @ p["kernel"][:, head]
  return y + p["bias"][head] if settings.use_bias else y


def turned(x):
  """Position t turns the complex number of features i and i + H/2 by t / 10000^(2i/H)."""
  half = x.shape[1] // 2
  angle = np.arange(len(x))[:, None] / 10_000 ** (np.arange(half) / half)[None]
  z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angle)
  return np.concatenate([z.real, z.imag], axis=1)


def feed_forward(settings, p, x):
  def linear(name, x):
    y = x @ p[name]["kernel"]
    return y + p[name]["bias"] if settings.use_bias else y

  y = activated(settings.activation, linear("gate" if settings.gated else "up", x))
  return linear("down", y * linear("up", x) if settings.gated else y)


def activated(name, x):
  return {
    "relu": lambda: np.maximum(x, 0),
    "gelu": lambda: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "silu": lambda: x / (1 + np.exp(-x)),
  }[name]()
