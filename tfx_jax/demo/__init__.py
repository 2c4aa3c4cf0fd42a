"""A web page to use a run with, made with Gradio: one file for each kind of page."""
