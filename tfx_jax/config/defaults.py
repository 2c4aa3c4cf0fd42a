"""The configuration: every section with its keys, their defaults and their meaning.

An experiment is a file with `get_config(argument)` that starts from `base()` and changes what
differs. Where one class reads a section, its docstring documents the keys: those of `generate` are
in `generation/settings.py`. `common/ranges.py` has the range of every number.
"""

import dataclasses

from ml_collections import ConfigDict

from tfx_jax.generation.settings import CommandSettings, GenerateSettings

# Keys whose values are Python literals: tuples of numbers or pairs, and dicts. All other tuples are
# of strings.
STRUCTURED = (
  "image.size",
  "image.patch",
  "image.block",
  "model.levels",
  "model.rotary_scaling",
  "model.windows",
  "optimizer.settings",
  "optimizer.groups",
  "lora.targets",
)


def base() -> ConfigDict:
  """Returns the defaults of all sections."""
  config = ConfigDict(
    {
      # Seed of everything random in training: parameters, dropout, order of the data.
      "seed": 0,
      "task": {
        # translate, summarize, dialogue, text, draw (a picture from a text), describe (the text of
        # a picture), reconstruct (a picture from itself, for model.architecture=autoencoder), or
        # package.module:Name for a class of your own. Such a name runs code: here and elsewhere it
        # is accepted from an experiment or the command line, and from the config.json of a folder
        # only with --trust.
        "name": "translate",
        # Fields of a record that hold the source and the target: file suffixes, columns or keys.
        # dialogue has only a source, text only a target.
        "source": "en",
        "target": "de",
        # summarize only: fields with the reference summaries, if a test text has several.
        "references": (),
        # dialogue only: "all", to learn every turn but the first as an answer, or "last".
        "answers": "all",
        # dialogue only: number of turns before an answer that are its source; 0: all.
        "history_turns": 0,
        # dialogue only: whether to remove the spaces around punctuation that tokenized English has.
        "detokenize": True,
        # Metrics of decoded text: bleu, bleu1, bleu2 (words; words and pairs), chrf, bleu_moses (on
        # lowercased Moses tokens), exact_match, rouge1, rouge2, rougeL, rougeLsum, novelty (percent
        # of n-grams that are not in the source), distinct1, distinct2 (variety of words and pairs),
        # length (in words), length_ratio (to the reference). Of pictures: exact_match, scene_match,
        # psnr (in dB). Or package.module:function for a function of your own, called with
        # (predictions, references).
        "metrics": ("bleu", "chrf"),
        # Tokenization that sacreBLEU applies before it counts n-grams, such as 13a, zh or char.
        "bleu_tokenize": "13a",
        # Whether bleu and chrf ignore case.
        "lowercase": False,
        # Whether ROUGE compares stems of words.
        "rouge_stemmer": True,
        # How ROUGE combines its scores for several references: max or mean.
        "rouge_references": "max",
      },
      "data": {
        # Format of the files: text (PREFIX.FIELD[.gz], aligned lines), tsv, jsonl, lines (one
        # field, a record a line), files (one field, a record a file; a file, folder or pattern),
        # tfds (NAME[/CONFIG][:SPLIT] of TensorFlow Datasets, prepared as ArrayRecord),
        # pictures (FOLDER, with metadata.jsonl or folders of classes), idx (PREFIX of the files of
        # pictures and labels of MNIST), cldr and scenes (SPLIT), docstrings and python
        # (SPLIT[:PACKAGE+PACKAGE], from the installed Python packages), or package.module:Name for
        # a class of your own, called with (path, fields).
        "format": "text",
        # Path of each split. Several are joined by commas, and each may begin with a format of its
        # own: jsonl:a.jsonl,lines:b.txt. [:90%], [90%:95%] or [99.5%:] behind a path is a part of
        # its records in their order; for files, a part of the list of files, or of the text if
        # there is one file.
        "train": "",
        # If they are empty, held out from train.
        "validation": "",
        "test": "",
        # Share of train that is held out for validation, and as much for test, if they are empty:
        # records chosen by a hash of their content, or the end of a single file of text.
        "held_out": 0.05,
        # Where to get the data and where to put it; shown if a file is missing.
        "origin": "",
        # Whether to leave out training records that share text with validation or test: the source
        # of a pair, a whole text, or two successive turns of a dialogue. Only letters, accents,
        # vowel signs and digits are compared.
        "remove_overlap": False,
        # tsv only: names of all columns in order, unused ones too; by default the source and the
        # target. Quotation marks are ordinary text.
        "columns": (),
        # Folder of TensorFlow Datasets; by default TFDS_DATA_DIR, or its folder at home.
        "tfds_dir": "",
        # Folder for tokenized corpora; by default in the user's cache folder.
        "cache_dir": "",
        # Tokens of a row of sources and of a row of targets; a decoder-only model has one row for
        # both, one after the other. Longer targets are dropped and counted; longer texts without a
        # source are split.
        "source_length": 64,
        "target_length": 64,
        # What to do with a longer source: drop the example, or cut_end or cut_start of the source.
        "long_sources": "drop",
        # Whether a source ends with an end token. It is not needed where the text itself marks
        # where the target begins. Without it, a decoder-only model learns all answers of a dialogue
        # from one sequence.
        "end_sources": True,
        # Probability with which a source is empty in training, a new draw in every epoch: for
        # generate.guidance, which compares a source with an empty one.
        "source_dropout": 0.0,
        # Decoder-only models of texts: whether to join all texts and cut rows from them at any
        # place, a different one in every epoch.
        "stream": False,
        # Random segmentation of training texts, a new one in every epoch: for BPE the probability
        # that a merge is left out, for unigram the exponent of a segmentation's probability.
        # 0: always the best segmentation.
        "source_sampling": 0.0,
        "target_sampling": 0.0,
        # Rows of one update, over all devices.
        "batch_size": 32,
      },
      "tokenizer": {
        # unigram or bpe (SentencePiece), bytes or characters.
        "kind": "unigram",
        # Number of pieces, special tokens included.
        "vocab_size": 8000,
        # True: one tokenizer for source and target; False: one each.
        "joint": True,
        # Share of all characters of the text that get a piece of their own.
        "character_coverage": 1.0,
        # A rule of SentencePiece (nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf, identity), or lossless.
        "normalization": "nmt_nfkc",
        # Whether characters without a piece become bytes; otherwise they become <unk>.
        "byte_fallback": False,
        # Most lines to train on; a joint tokenizer is trained on lines of both sides.
        "max_sentences": 1_000_000,
        # Strings that are always one piece, as in ("<1>", " <2>"): a space in front belongs to the
        # piece. Tokenizers of kind bytes and characters split them.
        "symbols": (),
        # An existing tokenizer to use: a folder of ours, or a SentencePiece .model.
        "path": "",
      },
      # draw and describe only: how a picture becomes tokens, see `codecs/image/patches.py`.
      "image": {
        # Height and width of pictures, in pixels.
        "size": (16, 16),
        # 1 (grey), 3 (colours) or 4 (with alpha); others are converted.
        "channels": 3,
        # Treatment of pictures of another size: exact (refused), crop (scaled and cut) or pad
        # (scaled, with a white border).
        "fit": "exact",
        # Height and width of a patch, in pixels: each patch is one token.
        "patch": (2, 2),
        # Most patches of the codebook. If training pictures have more, it is found by k-means.
        # 0: no tokens; patches are frames, which an encoder reads without loss.
        "codes": 256,
        # Height and width of blocks, in patches: blocks are read row by row, and the patches of a
        # block one after the other. (1, 1): patches are read row by row.
        "block": (1, 1),
        # Workdir of an autoencoder (experiments/image_codes.py), whose codes are the tokens in
        # place of a codebook.
        "path": "",
      },
      "model": {
        # encoder_decoder, decoder_only, masked (an encoder-decoder that predicts all tokens of an
        # output together, in a few steps), or autoencoder (which learns codes of pictures).
        "architecture": "encoder_decoder",
        "encoder_layers": 6,
        "decoder_layers": 6,
        # Width D of embeddings and hidden states.
        "features": 512,
        # Heads of attention.
        "num_heads": 8,
        # Heads of keys and values; 0: as many as num_heads.
        "num_kv_heads": 0,
        # Width of a head; 0: features / num_heads.
        "head_dim": 0,
        # Width of the hidden layer of the feed-forward network.
        "feed_forward": 2048,
        # Activation of the feed-forward network: relu, gelu, gelu_tanh or silu.
        "activation": "relu",
        # Whether the activation multiplies a second linear layer (GLU).
        "gated": False,
        # Whether linear layers and layer norms have biases.
        "use_bias": True,
        # Whether queries, keys and values have biases although use_bias=False.
        "qkv_bias": False,
        # Whether attention scores are divided by sqrt(head_dim); T5 does not.
        "scale_scores": True,
        # layer_norm or rms_norm.
        "norm": "layer_norm",
        # Place of the norms in a layer: pre, post or sandwich (both).
        "norm_placement": "pre",
        # Number added to the variance in a norm.
        "norm_epsilon": 1e-5,
        # Positions: sinusoidal, learned, rotary, alibi, bucket (T5's relative biases) or none; of
        # pictures also learned_2d and rotary_2d, by row and column. Texts are then as in learned
        # and rotary, but learned where a decoder-only model reads both.
        "position": "sinusoidal",
        # learned only: number of positions; of texts, if pictures have theirs by row and column.
        "max_positions": 512,
        # rotary only: base of the wavelengths; a higher value lets most dimensions rotate slower.
        "rotary_base": 10_000.0,
        # rotary only: slower rotation for longer texts, ("linear", FACTOR) or ("llama3", FACTOR,
        # LOW, HIGH, LENGTH).
        "rotary_scaling": (),
        # Number of tokens back that self-attention of the decoder sees, its own counted: (4096,)
        # for all layers, (0, 0, 4096, 4096) for each; 0 or (): all.
        "windows": (),
        # encoder_decoder only: successive target tokens that share a position of the decoder, in
        # which a small network predicts them one after the other. The decoder then reads shorter
        # sequences; likelihoods stay exact. Of pictures, the patches of image.block.
        "group_size": 1,
        # Width of that network.
        "group_features": 128,
        # autoencoder only: numbers of levels that a code's numbers are rounded to; their product is
        # the number of codes (Mentzer et al. 2023).
        "levels": (8, 5, 5, 5),
        # bucket only: number of distances with a bias of their own.
        "num_buckets": 32,
        # bucket only: distance from which on all share one bias.
        "max_distance": 128,
        # Whether source and target have one embedding table.
        "share_embeddings": True,
        # Whether the output layer uses the table of target embeddings.
        "tie_output": True,
        # Whether embeddings are multiplied by sqrt(features).
        "scale_embeddings": True,
        # Whether the sum of embedding and position is normalized.
        "embedding_norm": False,
        # Whether targets begin with an embedding of zeros instead of BOS, as in Marian.
        "zero_start": False,
        # Whether the output layer has a bias.
        "output_bias": False,
        # Whether hidden states are divided by sqrt(features) before the output layer, as in T5 1.0.
        "scale_logits": False,
        # Whether the output may also copy tokens of the source, by an attention of its own (See et
        # al. 2017, pointer-generator); needs a joint tokenizer.
        "copy_head": False,
        # The vocabulary is padded to a multiple of this.
        "vocab_multiple": 8,
        # Probability of dropout on the outputs of sublayers and on embeddings.
        "dropout": 0.1,
        # Probability of dropout on attention weights.
        "attention_dropout": 0.0,
        # Probability of dropout inside the feed-forward network.
        "activation_dropout": 0.0,
        # Rows whose attention is computed at a time, and recomputed in the backward pass; must
        # divide the batch. It saves memory and, on a CPU with rows of hundreds of tokens, time.
        # 0: all rows at once.
        "attention_rows": 0,
        # Whether layers run as one scanned program (compiles faster) or unrolled (runs faster).
        "scan_layers": False,
        # What the backward pass recomputes: none (keeps all), dots (keeps matrix products), full
        # (keeps only the inputs of layers).
        "remat": "none",
        # dtype of the computation: float32, bfloat16, or auto, which is bfloat16 on GPU and TPU.
        # Parameters are float32.
        "dtype": "auto",
        # Whether JAX derives all gradients, instead of the faster hand-written ones. Forward mode
        # needs it (jax.jvp, Hessian-vector products).
        "plain_gradients": False,
      },
      "optimizer": {
        # adam, adamw, sgd, lion, adafactor, muon, or the name of any other optimizer in Optax.
        "name": "adamw",
        # rsqrt (inverse square root), cosine, linear or constant; each after a linear warm-up.
        "schedule": "rsqrt",
        # Highest learning rate, reached at the end of the warm-up.
        "learning_rate": 1e-3,
        # Steps of the warm-up.
        "warmup_steps": 4000,
        # cosine and linear only: last learning rate as a share of the highest.
        "final_share": 0.0,
        # Decay of the moments of Adam and its relatives.
        "b1": 0.9,
        "b2": 0.98,
        # Number added to the denominator of the update.
        "eps": 1e-9,
        # sgd only.
        "momentum": 0.0,
        # Decay of kernels and embeddings; biases and norms do not decay.
        "weight_decay": 0.0,
        # Largest norm of the gradient; 0: no clipping.
        "clip_norm": 1.0,
        # dtype of the optimizer's state: float32, or bfloat16 with random rounding, which halves
        # the memory of moments and averages.
        "state_dtype": "float32",
        # More arguments of the optimizer. Set the whole dict, for muon for example
        # config.optimizer.settings = {"consistent_rms": 0.2}.
        "settings": {},
        # Other arguments for parameters whose path matches a pattern; the first match counts:
        # (("embedding", {"weight_decay": 0.0}), ("encoder", {"scale": 0.5})). scale multiplies the
        # learning rate.
        "groups": (),
      },
      # Training of low-rank adapters while all other parameters are fixed (Hu et al. 2021).
      "lora": {
        # Rank of the adapters; 0: no adapters, all parameters are trained.
        "rank": 0,
        # An adapter is multiplied by alpha / rank.
        "alpha": 16.0,
        # Kernels with adapters: "REGEX", or ("REGEX", (FIRST, LAST)) for some layers, counted
        # from 0.
        "targets": ("attention/(query|value)",),
      },
      "train": {
        # A run, or a folder of Hugging Face, whose parameters training starts from. Its model and
        # tokenizer are used too; dropout and the like may differ.
        "init_from": "",
        # Updates in all.
        "num_steps": 100_000,
        # Probability that the loss spreads over all tokens.
        "label_smoothing": 0.1,
        # Weight of log(Z)^2 in the loss; 0: none.
        "z_loss": 0.0,
        # Weight of the divergence between predictions under two dropout masks (R-Drop). Above 0,
        # each row is computed twice.
        "r_drop": 0.0,
        # Probability with which a token is masked for the predictions after it, so that they
        # depend more on the source (word dropout).
        "token_dropout": 0.0,
        # Decay of a moving average of the parameters, which validation then uses; 0: no average.
        "ema_decay": 0.0,
        # Chunks of a row's targets in which the loss is computed, to save memory; 0: chunks of
        # about 256 tokens.
        "loss_chunks": 0,
        # Parts of a batch whose gradients are computed one after the other and summed.
        "microbatches": 1,
        # Steps between two lines of training metrics.
        "log_every": 100,
        # Steps between two validations by loss; 0: only at the end.
        "eval_every": 1000,
        # Steps between two validations by decoded text; 0: only at the end.
        "decode_every": 5000,
        # Validation examples to decode; 0: all.
        "decode_examples": 0,
        # Steps between two checkpoints; 0: only at the end.
        "checkpoint_every": 1000,
        # Latest checkpoints to keep, beside the best one; as many can be averaged. One more is kept
        # in case that the newest is damaged.
        "keep_checkpoints": 1,
        # Metric that chooses the best checkpoint: loss, or a metric of decoded text.
        "best_metric": "loss",
        # Validations without a new best one after which training ends; 0: never.
        "patience": 0,
        # Steps in a row that may be skipped because loss, gradient or update is not finite; one
        # more ends training.
        "max_skipped_steps": 10,
      },
      "evaluate": {
        # best, latest, ema (the latest moving average), average (mean of the latest `average_last`
        # checkpoints), or the number of a step.
        "checkpoint": "best",
        # Checkpoints to average; 0: train.keep_checkpoints.
        "average_last": 0,
        # Parameters in memory: float32, or int8 with a scale for each output channel, a quarter of
        # the size.
        "weights": "float32",
        # train, validation or test.
        "split": "test",
        # Examples to print and to write into samples/.
        "num_samples": 10,
        # Bootstrap resamples of the comparison with --baseline.
        "bootstrap_samples": 1000,
      },
      "generate": {
        **dataclasses.asdict(GenerateSettings()),
        **dataclasses.asdict(CommandSettings()),
      },
      # Devices along each axis of the mesh; -1 for one of them: all that are left. docs/scale.md
      # says which to choose.
      "mesh": {
        # Data parallelism: the batch is split.
        "data": -1,
        # The batch is split, and parameters too.
        "fsdp": 1,
        # Heads, feed-forward layers and vocabulary are split.
        "tensor": 1,
        # Rows are split along their length.
        "sequence": 1,
        # Groups of devices that a slower network connects; the batch is split over them.
        "slices": 1,
      },
    }
  )
  return config.lock()
