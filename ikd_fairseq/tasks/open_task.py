"""The task of a data folder, for programs: fairseq's own command line fills in what is missing here."""

from typing import Any

from .multimodal_translation import MultimodalTranslationConfig, MultimodalTranslationTask


def open_task(data: str, **options: Any) -> MultimodalTranslationTask:
    """Loads the dictionaries of the folder *data*; *options* are of :class:`MultimodalTranslationConfig`.

    Raises:
        IkdError: the folder or a dictionary is missing.
    """
    # These are fairseq's data set options.
    defaults = {"train_subset": "train", "dataset_impl": None, "required_seq_len_multiple": 1}
    return MultimodalTranslationTask.setup_task(
        MultimodalTranslationConfig(data=data, **{**defaults, **options})
    )
