"""Names that several parts must agree on: batch keys, output keys and the files beside the binarised text."""

# Keys of a batch's ``net_input`` (design: only sentences that have an image carry one).
IMAGES = "images"  # uint8, K x H x W x 3 (RGB)
FEATURES = "features"  # float16, K x P x C, a frozen CNN's last convolutional map
IMAGE_POSITIONS = "image_positions"  # int64, K: the batch row that each image or feature map belongs to

# Key of a batch: True where its loss is dropped (fairseq repeats a batch on a worker that has run out of them).
IGNORED = "ignored"

# Keys of a model's second output ("extra").
STUDENT = "student"  # vision.student_cnn.StudentOutput of the sentences asked for

# Files beside the binarised text: DATA/SPLIT + suffix.
IMAGES_SUFFIX = ".images.npy"  # uint8, N x H x W x 3
INDEX_SUFFIX = ".images.index.npy"  # int32, a row of the array above for every sentence, or NO_IMAGE
MANIFEST_SUFFIX = ".images.json"
FEATURES_SUFFIX = ".features.{name}.npy"  # float16, N x P x C
FEATURES_MANIFEST_SUFFIX = ".features.{name}.json"

NO_IMAGE = -1
