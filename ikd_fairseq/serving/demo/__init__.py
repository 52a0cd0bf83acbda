"""``ikd-demo``: a page to try a model. :mod:`.explorer` needs no gradio, :mod:`.page` does."""
