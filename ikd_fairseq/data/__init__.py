"""Images and image features beside binarised text: files and readers; their batches in :mod:`.pairs`."""
