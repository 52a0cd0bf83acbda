"""Names that several parts must agree on: batch keys, output keys and the files beside the binarised text."""

# Keys of a batch's ``net_input`` (design: only sentences that have an image carry one).
IMAGES = "images"  # uint8, K x H x W x 3 (RGB)
FEATURES = "features"  # float16, K x P x C, a frozen CNN's last convolutional map
IMAGE_POSITIONS = "image_positions"  # int64, K: the batch row that each image or feature map belongs to

# Key of a batch: True where its loss is dropped (fairseq repeats one on a worker that has run out of them).
IGNORED = "ignored"

# Keys of a model's second output ("extra").
STUDENT = "student"  # vision.inverse_cnn.InverseOutput of the sentences asked for
AUXILIARY = "auxiliary"  # contracts.Entry by name, where a criterion asks for them
LOGGED = "logged"  # contracts.Term by name, means for the training and validation log

# Key of the task's state in a checkpoint: what the training process said of itself, see tasks.run_facts.
PROCESS = "process"

# Keys of it too: fingerprints of dictionaries and merges, with the languages ("en-de") among them, see
# tasks.vocabulary, and, in memory alone, the file that they are from and its --image-features.
DICTIONARIES = "dictionaries"
LANGUAGES = "languages"
CHECKPOINT = "checkpoint"
IMAGE_FEATURES = "image_features"
EARLY_STOPPING = "early_stopping"  # what has been counted for --patience, see tasks.early_stopping

# Key of an exported checkpoint: what its text went through, see serving.text.
TEXT = "text"

# Files beside the binarised text: DATA/SPLIT + suffix.
IMAGES_SUFFIX = ".images.npy"  # uint8, N x H x W x 3
INDEX_SUFFIX = ".images.index.npy"  # int32, a row of the array above for every sentence, or NO_IMAGE
MANIFEST_SUFFIX = ".images.json"
FEATURES_SUFFIX = ".features.{name}.npy"  # float16, N x P x C
FEATURES_MANIFEST_SUFFIX = ".features.{name}.json"

MERGES = "code"  # DATA/code, the BPE merges of subword-nmt, where prepare.sh leaves them

NO_IMAGE = -1

# Inputs of a model that a text-only one must not be handed.
IMAGE_INPUTS = (IMAGES, FEATURES, IMAGE_POSITIONS)

# Keys of a batch that comes with the answers of its teachers, from a cache.
# int64, B x J x k: the words most likely at every target position, most likely first.
TEACHER_IDS = "teacher_ids"
TEACHER_PROBS = "teacher_probs"  # float16, B x J x k: their probabilities, zeros where the target is padding

# Files of such a cache, beside the binarised text: DATA/SPLIT + suffix.
TEACHER_IDS_SUFFIX = ".teacher.{name}.ids.npy"  # uint16 or int32, tokens x k
TEACHER_PROBS_SUFFIX = ".teacher.{name}.probs.npy"  # float16, tokens x k
TEACHER_OFFSETS_SUFFIX = ".teacher.{name}.offsets.npy"  # int64, sentences + 1: where each one's tokens begin
TEACHER_MANIFEST_SUFFIX = ".teacher.{name}.json"
