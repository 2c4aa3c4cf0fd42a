"""Codecs of pictures, uint8 [H,W,C]."""
