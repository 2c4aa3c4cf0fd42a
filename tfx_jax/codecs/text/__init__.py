"""Codecs of texts: the tokenizers."""
