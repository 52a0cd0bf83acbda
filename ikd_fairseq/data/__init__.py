"""Images and image features beside binarised text: files, readers and the dataset that batches them."""
