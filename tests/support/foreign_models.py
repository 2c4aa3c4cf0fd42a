"""Tiny models of transformers with random weights, each in a folder with its family's tokenizer."""

import json

import sentencepiece
import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers, trainers

VOCABULARY = 59
WORDS = [f"w{i}" for i in range(100)]
_SIDES = {
  f"{side}_{name}": value
  for side in ("encoder", "decoder")
  for name, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 48}.items()
}
_BART = {"d_model": 32, "max_position_embeddings": 64, **_SIDES}
_T5 = {"d_model": 32, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_T5["decoder_start_token_id"] = 0
_LLAMA = {
  "hidden_size": 32,
  "intermediate_size": 48,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "max_position_embeddings": 64,
}
_LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
_LLAMA3 = {
  **_LINEAR,
  "rope_type": "llama3",
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 16,
}
_WINDOWS = {"sliding_window": 4, "max_window_layers": 1}
_PLAIN = {"rope_type": "default", "rope_theta": 1e6}

# Class and settings.
KINDS = {
  "marian": (
    "MarianMT",
    _BART | {"activation_function": "swish", "scale_embedding": True}
    | {"pad_token_id": 58, "eos_token_id": 0, "decoder_start_token_id": 58},
  ),
  "bart": ("Bart", _BART | {"forced_bos_token_id": 0}),
  "mbart": ("MBart", _BART | {"scale_embedding": True}),
  "pegasus": ("Pegasus", _BART | {"activation_function": "relu", "scale_embedding": True}),
  "t5": ("T5", _T5),
  "t5v1_1": ("T5", _T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
  "mt5": ("MT5", _T5 | {"tie_word_embeddings": False}),
  "gpt2": (
    "GPT2",
    {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    | {"bos_token_id": 58, "eos_token_id": 58},
  ),
  "llama": ("Llama", _LLAMA | {"rope_parameters": _LINEAR}),
  "mistral": (
    "Mistral", _LLAMA | {"rope_parameters": _PLAIN, "sliding_window": 5},
  ),
  "qwen2": (
    "Qwen2",
    _LLAMA | _WINDOWS
    | {"rope_parameters": _LINEAR, "eos_token_id": 58, "use_sliding_window": True},
  ),
}  # fmt: skip
ALONE = ("gpt2", "llama", "mistral", "qwen2")
# A seed, and what is added to the bias of EOS or multiplies its row: outputs end after some tokens.
ENDINGS = {
  **{"marian": (1, 6), "bart": (6, 3), "mbart": (1, 3), "pegasus": (0, 10)},
  **dict.fromkeys(("bart-uneven", "bart-scaled"), (0, 10)),
  "t5-few-buckets": (2, 3),
  **{"t5": (7, 2), "t5v1_1": (1, -6), "mt5": (1, -6)},
  **{"gpt2": (0, 2), "llama": (0, -6), "mistral": (0, -6), "qwen2": (0, -6)},
}
# Others of a family: biases, heads, the output's table, odd sizes.
VARIANTS = {
  "marian-gelu": ("marian", {"activation_function": "gelu", "scale_embedding": False}),
  "marian-start": ("marian", {}),
  "llama-3": ("llama", {"rope_parameters": _LLAMA3}),
  "bart-uneven": ("bart", {"encoder_layers": 3, "decoder_layers": 1, "vocab_size": 61}),
  "bart-scaled": ("bart", {"scale_embedding": True, "activation_function": "relu"}),
  "mbart-50": ("mbart", {"scale_embedding": False, "vocab_size": 67}),
  "t5-uneven": ("t5", {"num_layers": 3, "num_decoder_layers": 1, "vocab_size": 64}),
  "t5-few-buckets": (
    "t5",
    {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 10},
  ),
  "t5v1_1-tied": ("t5v1_1", {"tie_word_embeddings": True, "feed_forward_proj": "gated-silu"}),
  "mt5-tied": ("mt5", {"tie_word_embeddings": True, "d_kv": 8}),
  "gpt2-wide": ("gpt2", {"n_inner": 80, "activation_function": "relu", "vocab_size": 61}),
  "llama-tied": ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
  "llama-all-heads": (
    "llama",
    {"num_key_value_heads": 4, "head_dim": 6, "rope_parameters": _PLAIN, "vocab_size": 61},
  ),
  "mistral-whole": ("mistral", {"sliding_window": None, "head_dim": 10}),
  "qwen2-tied": ("qwen2", {"tie_word_embeddings": True, "use_sliding_window": False}),
}


def make(kind, folder):
  """Writes a model and its tokenizer into a folder; returns the model."""
  torch.manual_seed(0)
  fifty, zeros = kind == "mbart-50", kind in ("marian", "marian-gelu")
  variant, (kind, changes) = kind, VARIANTS.get(kind, (kind, {}))
  name, settings = KINDS[kind]
  tokenizer = _tokenizer(kind, folder)
  settings = {"vocab_size": VOCABULARY} | settings | changes
  if kind == "mbart":
    # mBART begins with the language, mBART-50 with EOS, and then the language is forced.
    language = tokenizer.convert_tokens_to_ids("de_DE")
    start = {"decoder_start_token_id": language}
    of_50 = {"decoder_start_token_id": 2, "forced_bos_token_id": language}
    settings |= of_50 if fifty else start
  config = getattr(transformers, f"{name.removesuffix('MT')}Config")
  suffix = "MTModel" if name == "MarianMT" else "ForConditionalGeneration"
  suffix = {"GPT2": "LMHeadModel"}.get(name, "ForCausalLM") if kind in ALONE else suffix
  model = getattr(transformers, f"{name.removesuffix('MT')}{suffix}")(
    config(forced_eos_token_id=None, **settings)
  )
  _randomize(ENDINGS.get(variant, ENDINGS[kind]), model, set(tokenizer.all_special_ids))
  if zeros:
    with torch.no_grad():
      model.get_input_embeddings().weight[settings["decoder_start_token_id"]] = 0
  model.save_pretrained(folder)
  if not settings.get("tie_word_embeddings", True) and name == "T5":
    # transformers reads it by this setting, and does not write it.
    _update(folder / "config.json", tie_word_embeddings=False)
  _update(
    folder / "generation_config.json",
    **{name: value for name, value in settings.items() if name.endswith("_token_id")},
  )
  return model.eval()


def read(run, text):
  """What the model reads of an input."""
  return run.layout.prompt(run.tokenizers[0].encode([text])[0])


def _randomize(ending, model, specials):
  """Weights that make outputs differ, end, and hold no other special piece."""
  seed, likely = ending
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      if not parameter.requires_grad:
        continue  # sinusoids
      value = 0.3 * torch.randn(parameter.shape, generator=generator)
      is_norm = parameter.dim() == 1 and name.endswith("weight")
      parameter.copy_(value + is_norm)
    eos = model.config.eos_token_id
    others = sorted(specials - {eos})
    if hasattr(model, "final_logits_bias"):
      model.final_logits_bias.normal_(generator=generator)
      model.final_logits_bias[0, eos] += likely
      model.final_logits_bias[0, others] -= 40
    else:
      table = model.get_output_embeddings().weight
      table[eos] *= likely
      table[others] *= 0.01


def _tokenizer(kind, folder):
  """Writes a tokenizer of 59 pieces, and returns it."""
  end, fairseq = "<|endoftext|>", ["<s>", "<pad>", "</s>", "<unk>"]
  if kind == "marian":
    return _marian(folder)
  if kind in ("t5", "t5v1_1", "mt5"):
    pieces = _pieces(["<pad>", "</s>", "<unk>"])
    tokenizer = transformers.T5Tokenizer(vocab=pieces, extra_ids=0)
  elif kind == "pegasus":
    pieces = _pieces(["<pad>", "</s>", "<mask_1>", "<mask_2>", "<unk>"])
    tokenizer = transformers.PegasusTokenizer(vocab=pieces, offset=2)
  elif kind == "mbart":
    codes = transformers.models.mbart.tokenization_mbart.FAIRSEQ_LANGUAGE_CODES
    pieces = _pieces(fairseq, [*codes, "<mask>"])
    tokenizer = transformers.MBartTokenizer(vocab=pieces, src_lang="en_XX", tgt_lang="de_DE")
  elif kind == "bart":
    tokenizer = transformers.BartTokenizer(**_merges(fairseq, ["<mask>"]))
  elif kind == "gpt2":
    tokenizer = transformers.GPT2Tokenizer(**_merges([], [end]))
  elif kind == "qwen2":
    tokenizer = transformers.Qwen2Tokenizer(**_merges([], [end]))
  else:
    space = pre_tokenizers.Metaspace()
    tokenizer = transformers.LlamaTokenizer(
      **_merges(["<unk>", "<s>", "</s>"], [], space), add_bos_token=True
    )
  assert len(tokenizer) == VOCABULARY
  tokenizer.save_pretrained(folder)
  return tokenizer


def _pieces(first, last=()):
  """Words between special pieces, with scores."""
  words = [f"▁{word}" for word in WORDS[len(first) : VOCABULARY - len(last)]]
  return [*((piece, 0.0) for piece in first), *((word, -1.0) for word in words)] + [
    (piece, 0.0) for piece in last
  ]


def _merges(first, last, spaces=None):
  """Pieces and merges learnt of words, between special pieces."""
  tokenizer = tokenizers.Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = spaces or pre_tokenizers.ByteLevel(add_prefix_space=False)
  size = VOCABULARY - len(first) - len(last)
  trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False)
  tokenizer.train_from_iterator([" ".join(WORDS)], trainer)
  learnt = json.loads(tokenizer.to_str())["model"]
  pieces = [*first, *sorted(learnt["vocab"], key=learnt["vocab"].get), *last]
  assert len(pieces) == VOCABULARY
  vocabulary = {piece: i for i, piece in enumerate(pieces)}
  return {"vocab": vocabulary, "merges": [tuple(merge) for merge in learnt["merges"]]}


def _marian(folder):
  """Sentencepiece models of two kinds of text, which share a list of pieces."""
  folder.mkdir(exist_ok=True)
  found = {}
  for name, words in (("source", WORDS), ("target", WORDS[::-3])):
    with open(folder / f"{name}.spm", "wb") as file:
      sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words)] * 2),
        model_writer=file,
        vocab_size=40 if name == "source" else 25,
        model_type="bpe",
        minloglevel=2,
      )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
    found |= dict.fromkeys(processor.id_to_piece(list(range(3, len(processor)))))
  pieces = ["</s>", "<unk>", *found]
  pieces += [f">>{n}<<" for n in range(VOCABULARY - 1 - len(pieces))]
  vocabulary = {piece: i for i, piece in enumerate([*pieces, "<pad>"])}
  assert len(vocabulary) == VOCABULARY
  (folder / "vocab.json").write_text(json.dumps(vocabulary))
  settings = {"source_lang": "en", "target_lang": "de", "tokenizer_class": "MarianTokenizer"}
  (folder / "tokenizer_config.json").write_text(json.dumps(settings))
  return transformers.MarianTokenizer.from_pretrained(folder)


def _update(path, **settings):
  path.write_text(json.dumps(json.loads(path.read_text()) | settings))
