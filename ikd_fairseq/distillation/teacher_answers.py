"""What frozen teachers answer at every target position of a split, computed once and kept in a cache."""

import logging
import os
from collections.abc import Sequence

import numpy as np
import torch
from fairseq import utils
from fairseq.tasks.translation import TranslationTask

from ..data.feature_pack import check_name
from ..errors import check
from ..io.checksums import sha256_of_words
from ..io.manifests import text_fingerprint
from ..io.progress import progress
from ..modules.search import batches
from ..vision.device import check_device
from .teacher_cache import TeacherCache, TeacherCacheWriter, teacher_files
from .teacher_models import TeacherEnsemble

logger = logging.getLogger(__name__)


def cache_teacher(
    task: TranslationTask,
    split: str,
    teacher_paths: Sequence[str],
    name: str,
    top_k: int = 8,
    max_tokens: int = 4096,
    device: str = "cpu",
) -> TeacherCache:
    """Runs teachers over a split and writes ``SPLIT.teacher.NAME``, replacing an earlier cache of that name.

    Args:
        task: of one data folder, such as :func:`ikd_fairseq.tasks.open_task.open_task` returns.
        teacher_paths: checkpoints, whose probabilities are averaged.
        top_k: words to keep at each position.
        max_tokens: of a batch, padding included.
        device: ``cpu`` or ``cuda``.

    Raises:
        IkdError: a teacher, the text or its images cannot be used, or the disk is too full.
    """
    check_name(name)
    check_device(device)
    data_dir, words, symbols = task.cfg.data, len(task.target_dictionary), task.target_dictionary.symbols
    few = f"the target dictionary has {words} words, so give no more than that"
    check(top_k <= words, f"--top-k {top_k}: {few}")
    text = text_fingerprint(data_dir, split)
    teachers = task.load_teachers(teacher_paths)
    task.load_dataset(split)
    dataset = task.dataset(split)

    max_positions = utils.resolve_max_positions(*(teacher.max_positions() for teacher in teachers))
    fitting, too_long = dataset.filter_indices_by_size(np.arange(len(dataset)), max_positions)
    if len(too_long):
        warning = (
            "%d sentences (such as %s, from 0) are longer than the teachers' %s positions and get no answers"
        )
        logger.warning(warning, len(too_long), too_long[0], max_positions)
    lengths = np.array(dataset.tgt.sizes)
    lengths[too_long] = 0
    ensemble = TeacherEnsemble(teachers)
    with TeacherCacheWriter(os.path.join(data_dir, split), name, lengths, top_k, words) as writer:
        with progress(None, total=len(fitting), unit=" sentences") as bar:
            for batch in batches(dataset, fitting, max_tokens, max(max_positions)):
                if device == "cuda":
                    batch = utils.move_to_cuda(batch)
                log_probs = ensemble(batch["net_input"], torch.empty(0, device=device))
                best, ids = log_probs.topk(top_k, dim=-1)
                ids, probs = ids.cpu().numpy(), best.exp().cpu().numpy()
                real = batch["target"].ne(task.target_dictionary.pad()).cpu().numpy()
                for row, sentence in enumerate(batch["id"].tolist()):
                    writer.write(sentence, ids[row, real[row]], probs[row, real[row]])
                bar.update(len(batch["id"]))
        made_of = {"teachers": teacher_files(teacher_paths), "text": text}
        return writer.commit({**made_of, "dictionary": sha256_of_words(symbols)})
