"""The configuration: every section with its keys, defaults and what they mean.

An experiment is a file with `get_config(argument)` that starts from `base()` and changes what
differs. The keys of a section are the arguments of what it builds; see `build.py`.
"""

from ml_collections import ConfigDict


def base() -> ConfigDict:
  """Returns the defaults of all sections."""
  config = ConfigDict(
    {
      "seed": 0,
      "task": {
        # translate, summarize, dialogue, text, or package.module:Name. Such a name runs code: here
        # and elsewhere it is taken from an experiment or the command line, and from the config.json
        # of a folder only with --trust.
        "name": "translate",
        # The fields of a record that are read and written: file suffixes, columns or keys. Of
        # dialogue there is only the source, of text only the target.
        "source": "en",
        "target": "de",
        # Of summarize: fields that hold the test set's summaries, where it has several of a text.
        "references": (),
        # Of dialogue: whether all turns but the first are answers to be learned, or the last one;
        # how many turns before an answer are read, 0: all; whether spaces around punctuation and
        # apostrophes, as of tokenised English, are taken out.
        "answers": "all",
        "history_turns": 0,
        "detokenize": True,
        # Figures on decoded text: bleu, bleu1, bleu2 (words; words and pairs), chrf, bleu_moses (of
        # lowercased Moses tokens), exact_match, rouge1, rouge2, rougeL, rougeLsum, novelty (n-grams
        # that the source has not, in percent), distinct1, distinct2 (variety of words and pairs),
        # length (in words), length_ratio (to the reference), or package.module:function
        # (predictions, references).
        "metrics": ("bleu", "chrf"),
        # What bleu compares: sacreBLEU's tokenisation; and whether bleu and chrf ignore case.
        "bleu_tokenize": "13a",
        "lowercase": False,
        # Whether ROUGE compares stems of words; and what it makes of several references: the max
        # of their scores, or the mean.
        "rouge_stemmer": True,
        "rouge_references": "max",
      },
      "data": {
        # text (PREFIX.FIELD[.gz]), tsv, jsonl, lines (one field, a record a line), files (a field,
        # a record a file; of a file, folder or pattern, [:90%] and [99.5%:] for parts), tfds
        # (NAME[/CONFIG][:SPLIT] of TensorFlow Datasets, prepared as ArrayRecord),
        # package.module:Name (path, fields), or built in: cldr (SPLIT), docstrings and python
        # (SPLIT[:PACKAGE+PACKAGE], of the Python packages that are installed). Several paths are
        # joined by commas, and each may begin with its own format: jsonl:a.jsonl,lines:b.txt.
        "format": "text",
        "train": "",
        "validation": "",
        "test": "",
        # Where the data is from and where to put it, which is said if a file is missing.
        "origin": "",
        # Whether training records are left out that share something with validation or test: of
        # pairs the source, of text the whole, of dialogue two turns in a row; only letters with
        # their accents and vowel signs, and digits, count.
        "remove_overlap": False,
        # tsv only: names of all columns in order, also of those that are not read; by default the
        # source, then the target. Quotation marks are text.
        "columns": (),
        # Where TensorFlow Datasets keeps its data; by default TFDS_DATA_DIR, or its folder at home.
        "tfds_dir": "",
        # Where tokenised corpora are kept; by default in the user's cache folder.
        "cache_dir": "",
        # Tokens of a training row; in decoder-only models both follow each other in one row. A
        # longer target is dropped and counted, a longer text that has no source is split.
        "source_length": 64,
        "target_length": 64,
        # What is done with a longer source: drop the example, cut_end or cut_start of the source.
        "long_sources": "drop",
        # Whether a mark ends a source; not needed where its text shows that the target comes next.
        # Without it a decoder-only model learns all answers of a dialogue in one sequence.
        "end_sources": True,
        # Texts without sources in one stream, cut into rows anywhere and in every epoch elsewhere;
        # for decoder-only models.
        "stream": False,
        # Training texts are segmented anew in every epoch, by chance: with a BPE model each merge
        # is left out with this probability, with a unigram model segmentations are drawn by this
        # power of their probability. 0: always the best segmentation.
        "source_sampling": 0.0,
        "target_sampling": 0.0,
        # Rows of an update, over all devices.
        "batch_size": 32,
      },
      "tokenizer": {
        # unigram, bpe (SentencePiece), bytes or characters.
        "kind": "unigram",
        "vocab_size": 8000,
        # One for both languages, or one for each.
        "joint": True,
        "character_coverage": 1.0,
        # A rule of sentencepiece (nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf, identity), or lossless.
        "normalization": "nmt_nfkc",
        "byte_fallback": False,
        # Lines it is trained on, at most; a joint one is trained on both languages.
        "max_sentences": 1_000_000,
        # Strings that SentencePiece keeps as one piece each, ("<1>", " <2>"): a space in front of
        # one belongs to it. Of bytes and characters they are spelled.
        "symbols": (),
        # An existing tokenizer (a folder of ours, or a SentencePiece .model) in place of training.
        "path": "",
      },
      "model": {
        # encoder_decoder or decoder_only.
        "architecture": "encoder_decoder",
        "encoder_layers": 6,
        "decoder_layers": 6,
        "features": 512,
        "num_heads": 8,
        # Key/value heads; 0: as many as heads.
        "num_kv_heads": 0,
        # 0: features / num_heads.
        "head_dim": 0,
        "feed_forward": 2048,
        # relu, gelu, gelu_tanh, silu; gated: the activated half multiplies a linear one.
        "activation": "relu",
        "gated": False,
        "use_bias": True,
        # Whether queries, keys and values have biases where nothing else has.
        "qkv_bias": False,
        # Whether attention's scores are divided by sqrt(head_dim); T5's are not.
        "scale_scores": True,
        # layer_norm or rms_norm; pre, post or sandwich.
        "norm": "layer_norm",
        "norm_placement": "pre",
        "norm_epsilon": 1e-5,
        # sinusoidal, learned, rotary, alibi, bucket (T5's) or none.
        "position": "sinusoidal",
        "max_positions": 512,
        # Of rotary: the higher, the slower most dimensions turn.
        "rotary_base": 10_000.0,
        # Slower rotation for longer texts: "linear FACTOR", or "llama3 FACTOR LOW HIGH LENGTH".
        "rotary_scaling": "",
        # How many tokens back a decoder layer's self-attention sees, its own counted: "4096" in all
        # layers, "0 0 4096 4096" in each; 0 or nothing: all.
        "windows": "",
        # Of bucket: how many, and from which distance on there is one for all.
        "num_buckets": 32,
        "max_distance": 128,
        # One table for both embeddings; the output's kernel is the target embedding's table.
        "share_embeddings": True,
        "tie_output": True,
        "scale_embeddings": True,
        # Whether embeddings are normalised, positions added.
        "embedding_norm": False,
        # Whether targets begin with an embedding of zeros in place of BOS's, as Marian's do.
        "zero_start": False,
        "output_bias": False,
        # Whether hidden states are divided by sqrt(features) before the output, as in the first T5.
        "scale_logits": False,
        # Whether tokens of the source may be copied, too, by an attention of their own (See et al.
        # 2017, a pointer-generator); needs a joint tokenizer.
        "copy_head": False,
        # V is rounded up to a multiple of this.
        "vocab_multiple": 8,
        "dropout": 0.1,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        # Rows whose attention is computed at a time, and again in the backward pass: a divisor of
        # the batch, to save memory and, on a CPU with rows of hundreds of tokens, time; 0: all.
        "attention_rows": 0,
        # Layers run by one scanned program (compiles quickly) or unrolled (runs quickly).
        "scan_layers": False,
        # What the backward pass keeps of a layer: none (all of it), dots, full (nothing).
        "remat": "none",
        # float32, bfloat16, or auto: bfloat16 on GPU and TPU. Parameters are float32.
        "dtype": "auto",
        # Whether JAX derives all gradients, none is hand-written: slower, but forward mode works
        # (jax.jvp, jax.linearize, jax.jacfwd).
        "plain_gradients": False,
      },
      "optimizer": {
        # adam, adamw, sgd, lion, adafactor, muon, or any other of Optax's by name.
        "name": "adamw",
        # rsqrt (inverse square root), cosine, linear or constant; all after a linear warm-up.
        "schedule": "rsqrt",
        "learning_rate": 1e-3,
        "warmup_steps": 4000,
        # The last learning rate of cosine and linear, as a share of the highest.
        "final_share": 0.0,
        "b1": 0.9,
        "b2": 0.98,
        "eps": 1e-9,
        "momentum": 0.0,
        # Of matrices; biases and norms do not decay.
        "weight_decay": 0.0,
        # Greatest norm of the gradient; 0: no clipping.
        "clip_norm": 1.0,
        # float32, or bfloat16, rounded at random: half the memory for moments and averages.
        "state_dtype": "float32",
        # More of its arguments, "NAME=NUMBER" each: muon's ("consistent_rms=0.2",).
        "settings": (),
        # Arguments of their own for parameters whose path holds a pattern, the first that does:
        # ("embedding weight_decay=0", "encoder scale=0.5"); scale multiplies the learning rate.
        "groups": (),
      },
      "lora": {
        # Rank of what is learnt for some kernels while all else is fixed (Hu et al. 2021); 0: all
        # is learnt. It is multiplied by alpha / rank.
        "rank": 0,
        "alpha": 16.0,
        # Which kernels: "REGEX", or "REGEX FIRST-LAST" for some layers, counted from 0.
        "targets": ("attention/(query|value)",),
      },
      "train": {
        # A run, or a folder of Hugging Face, whose parameters training begins with; its model and
        # tokenizer are taken, too, but for dropout and the like.
        "init_from": "",
        "num_steps": 100_000,
        "label_smoothing": 0.1,
        "z_loss": 0.0,
        # Weight of the divergence between the predictions under two dropout masks (R-Drop); above
        # 0 every row is read twice.
        "r_drop": 0.0,
        # Decay of a moving average of the parameters, which is then what is validated; 0: none.
        "ema_decay": 0.0,
        # The loss is taken in this many pieces along the target; 0: pieces of about 256 tokens.
        "loss_chunks": 0,
        # Gradients are summed over this many parts of a batch.
        "microbatches": 1,
        "log_every": 100,
        # Validation by loss, and by decoded text.
        "eval_every": 1000,
        "decode_every": 5000,
        # Sentences of the validation set that are decoded; 0: all.
        "decode_examples": 0,
        "checkpoint_every": 1000,
        # Latest checkpoints kept, beside the best one; as many can be averaged. One more is kept,
        # for if the newest is damaged.
        "keep_checkpoints": 1,
        # What makes a checkpoint the best: loss, or a metric of decoded text.
        "best_metric": "loss",
        # Validations without a better one after which training ends; 0: never.
        "patience": 0,
        # Steps that are not finite in loss, gradient or update are skipped; more in a row end it.
        "max_skipped_steps": 10,
      },
      "evaluate": {
        # best, latest, ema (the latest moving average), average (the mean of the last
        # `average_last` checkpoints; 0: of train.keep_checkpoints), or a step.
        "checkpoint": "best",
        "average_last": 0,
        # How trained parameters are held: float32, or int8 with a scale for each output channel, a
        # quarter of the memory.
        "weights": "float32",
        "split": "test",
        "num_samples": 10,
        # How often --baseline draws the examples anew.
        "bootstrap_samples": 1000,
      },
      # docs/decoding.md says exactly what is computed.
      "generate": {
        # beam, sample, or mbr: the sample most like all of them (minimum Bayes risk, by chrF).
        "search": "beam",
        # 1: greedy.
        "beam_size": 4,
        # Groups of beams that avoid each other's words (Vijayakumar et al. 2018), and how much; 1:
        # plain beam search.
        "beam_groups": 1,
        "diversity_penalty": 0.5,
        # Outputs of an input, best first. Beam search has at least so many beams.
        "num_return": 1,
        # gnmt (Wu et al. 2016) or power.
        "length_penalty_form": "gnmt",
        "length_penalty": 0.6,
        # Whether a row's search ends when beam_size hypotheses have ended, as in transformers; else
        # when none could still get better.
        "early_stopping": False,
        # Weight of the penalty on what no token has attended to (Wu et al. 2016); 0: none.
        "coverage_penalty": 0.0,
        # The decoder layer whose attention aligns; -1: the last, -2: the last but one, …
        "alignment_layer": -1,
        # Of sample and mbr: a draw is among the top_k likeliest tokens (0: all), of these among the
        # likeliest that have the probability top_p together (1: all), of these among those at least
        # min_p times as likely as the likeliest (0: all), of these among those of most typical
        # information that have the probability typical_p together (1: all).
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "seed": 0,
        # Of mbr: how many are drawn for an input.
        "num_samples": 32,
        "min_length": 1,
        # Tokens of an output, EOS counted: at most this, and at most ratio * source + 10.
        "max_length": 128,
        "max_length_ratio": 2.0,
        # What every output begins with.
        "prefix": "",
        # Pieces of the target tokenizer that are never generated, such as <unk>.
        "forbidden": (),
        # Texts that outputs never hold, however their pieces spell them.
        "forbidden_phrases": (),
        # No n-gram of so many tokens occurs twice in an output; 0: it may.
        "no_repeat_ngram_size": 0,
        # Logits of tokens of the output so far are divided by this (Keskar et al. 2019).
        "repetition_penalty": 1.0,
        # This is subtracted from them, as OpenAI defines it; -2 to 2.
        "presence_penalty": 0.0,
        # An output ends before the first of these texts. Not with several beams.
        "stop": (),
        # Frames only: an output ends with the first frame that is the last one with more than this
        # probability.
        "stop_threshold": 0.5,
        # Longer inputs are cut, with a warning.
        "max_source_length": 256,
        "batch_size": 32,
        # Other checkpoints whose probabilities are averaged with this one's: WORKDIR,
        # WORKDIR@CHECKPOINT, or @CHECKPOINT of this run.
        "ensemble": (),
        # Each output is shown while it is written. Not with several beams or outputs.
        "stream": False,
        # Lines as TSV: input number, rank, score, log-probability, text. Tabs and line ends in an
        # output become spaces, here and in plain lines.
        "scores": False,
        # The same, and a last column of which word comes from which, as in 0-0 1-2.
        "alignments": False,
      },
      "mesh": {
        # Devices along each axis; -1: all that are left; docs/scale.md says which to choose. The
        # batch is split over data, and over fsdp, which splits parameters too.
        "data": -1,
        "fsdp": 1,
        # Heads, feed-forward layers and vocabulary are split over these.
        "tensor": 1,
        # Rows are split over these along their length.
        "sequence": 1,
        # Groups of devices that are joined by a slower network; the batch is split over them.
        "slices": 1,
      },
    }
  )
  return config.lock()
