"""Codecs: from values (texts, images, sounds) to sequences of elements, and back."""
