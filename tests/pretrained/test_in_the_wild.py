"""Folders of Hugging Face as people save them: several EOS, null, ids that there are not."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import tfx_jax
from tfx_jax.errors import UserError
from tfx_jax.pretrained.folder import FolderTensors

LETTERS = [chr(ord("a") + n) for n in range(16)]
PIECES = ["<s>", "</s>", "<|eot|>", *LETTERS]
CONFIG = {
  **{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(PIECES)},
  **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "hidden_act": "silu"},
  **{"num_attention_heads": 4, "max_position_embeddings": 64, "eos_token_id": [1, 2]},
  **{"max_new_tokens": 12},
}


def write(folder, more_pieces=(), **changes):
  """A Llama with random weights; its tokenizer has a piece for each letter."""
  folder.mkdir()
  vocabulary = {piece: i for i, piece in enumerate([*PIECES, *more_pieces])}
  tokenizer = Tokenizer(models.BPE(vocabulary, []))
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  tokenizer.save(str(folder / "tokenizer.json"))
  (folder / "config.json").write_text(json.dumps(CONFIG | changes))
  rng = np.random.default_rng(1)
  layer = {f"self_attn.{name}_proj": (16, 16) for name in "qkvo"}
  layer |= {"mlp.gate_proj": (24, 16), "mlp.up_proj": (24, 16), "mlp.down_proj": (16, 24)}
  layer |= {"input_layernorm": (16,), "post_attention_layernorm": (16,)}
  shapes = {f"model.layers.0.{name}.weight": shape for name, shape in layer.items()}
  shapes |= {"model.embed_tokens.weight": (len(PIECES), 16), "model.norm.weight": (16,)}
  shapes |= {"lm_head.weight": (len(PIECES), 16)}
  tensors = {
    name: np.ones(shape, np.float32)
    if len(shape) == 1
    else rng.normal(scale=0.4, size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }
  save_file(tensors, folder / "model.safetensors")
  return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return tfx_jax.load(write(tmp_path_factory.mktemp("llama") / "model"))


def test_each_of_several_ends_an_output(run):
  special_tokens = run.tokenizers[1].special_tokens
  assert special_tokens.eos_ids == (1, 2) and {1, 2} <= special_tokens.ids
  texts = [f"{a}{b}" for a in LETTERS[:6] for b in LETTERS[:3]]
  sampled = run.generate(texts, search="sample", num_return=2, min_length=3)
  found = [hypothesis for own in sampled for hypothesis in own]
  assert {hypothesis.tokens[-1] for hypothesis in found} == {1, 2}
  for hypothesis in found:
    assert 3 <= len(hypothesis.tokens) and not {1, 2} & {*hypothesis.tokens[:-1]}
    assert hypothesis.text == "".join(run.tokenizers[1].pieces(hypothesis.tokens[:-1]))
  flat = [text for text in texts for _ in range(2)]
  scores = run.score(flat, [hypothesis.tokens for hypothesis in found])
  np.testing.assert_allclose(scores, [h.log_prob for h in found], atol=1e-4)
  with pytest.raises(UserError, match="holds 2: use ids below"):
    run.generate(["a"], [[2]])
  assert run.generator.settings.replace(forbidden=("</s>",))
  with pytest.raises(UserError, match="no output could end"):
    run.generate(["a"], forbidden=("</s>", "<|eot|>"))


def test_several_are_given_back(run, tmp_path):
  run.export(str(tmp_path / "out"))
  for name in ("config.json", "generation_config.json"):
    assert json.loads((tmp_path / "out" / name).read_text())["eos_token_id"] == [1, 2]
  again = tfx_jax.load(str(tmp_path / "out"))
  assert again.tokenizers[1].special_tokens == run.tokenizers[1].special_tokens
  assert again.tokenizers[1].fingerprint == run.tokenizers[1].fingerprint


NULLS = (
  *("head_dim", "num_key_value_heads", "rms_norm_eps", "attention_bias", "mlp_bias"),
  *("rope_theta", "rope_scaling", "rope_parameters", "tie_word_embeddings", "attention_dropout"),
  *("pad_token_id", "bos_token_id", "sliding_window", "forced_bos_token_id"),
)


def test_null_is_the_default(run, tmp_path):
  nulls = dict.fromkeys(NULLS) | {"pad_token_id": -1}
  config = tfx_jax.run.loading.read_config(write(tmp_path / "model", **nulls))
  assert config.to_dict() == run.config.to_dict()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"eos_token_id": 99}, "eos_token_id=99: use ids below the model's 19 tokens"),
    ({"eos_token_id": [1, 19]}, "eos_token_id=[1, 19]: use ids below"),
    ({"eos_token_id": -1}, "eos_token_id=-1: use ids below"),
    ({"eos_token_id": "1"}, "eos_token_id='1': use ids below"),
    ({"eos_token_id": []}, "has an eos_token_id"),
    ({"pad_token_id": 19}, "pad_token_id=19: use ids below"),
    ({"bos_token_id": 19}, "bos_token_id=19: use ids below"),
    ({"decoder_start_token_id": 19}, "decoder_start_token_id=19: use ids below"),
    ({"forced_bos_token_id": 19}, "forced_bos_token_id=19: use ids below"),
    ({"rope_scaling": {"type": "linear", "factor": None}}, "lacks 'factor'"),
  ],
)
def test_a_token_that_the_model_does_not_have_is_one_line(changes, message, tmp_path):
  with pytest.raises(UserError, match=re.escape(message)) as info:
    tfx_jax.run.loading.read_config(write(tmp_path / "model", **changes))
  assert "\n" not in str(info.value)


def test_a_piece_beyond_the_vocabulary_of_the_model_is_reported(run, tmp_path):
  folder = write(tmp_path / "model", more_pieces=["z"])
  more = tfx_jax.load(folder)
  assert more.score(["ab"], ["c"]) == pytest.approx(run.score(["ab"], ["c"]), rel=1e-6)
  with pytest.raises(
    UserError, match=r"a text contains the piece 'z', whose id 19 is beyond the mod"
  ):
    more.generate(["az"])
  assert len(FolderTensors(folder))
