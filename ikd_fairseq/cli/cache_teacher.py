"""``ikd-cache-teacher``: what frozen teachers answer at every target position of a split, computed once.

A student trained with ``--criterion word_distillation --teacher-cache NAME`` then runs no teacher.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fairseq import utils

from ..data.feature_pack import check_name
from ..distillation.teacher_cache import TeacherCache, TeacherCacheWriter, teacher_files
from ..distillation.teacher_ensemble import TeacherEnsemble
from ..errors import check, command
from ..io.manifests import text_fingerprint
from ..io.progress import progress, set_up_logging
from ..tasks.multimodal_translation import MultimodalTranslationConfig, MultimodalTranslationTask
from .arguments import positive_int

logger = logging.getLogger(__name__)


def cache_teacher(
    data_dir: str,
    split: str,
    teacher_paths: Sequence[str],
    name: str,
    top_k: int = 8,
    max_tokens: int = 4096,
    device: str = "cpu",
    **task_options: Any,
) -> TeacherCache:
    """Runs teachers over a split and writes ``SPLIT.teacher.NAME``, replacing an earlier cache of that name.

    Args:
        data_dir: one folder that fairseq-preprocess wrote.
        split: such as ``train``, or ``train1``.
        teacher_paths: checkpoints, whose probabilities are averaged.
        name: of the cache.
        top_k: words to keep at each position.
        max_tokens: of a batch, padding included.
        device: ``cpu`` or ``cuda``.
        task_options: of :class:`MultimodalTranslationConfig`, such as ``image_features`` for teachers that
            read some.

    Raises:
        IkdError: a teacher, the text or its images cannot be used, or the disk is too full.
    """
    check_name(name)
    check(os.path.isdir(data_dir), f"{data_dir} is no folder: give one; of a path a:b, cache each by itself")
    check(
        device != "cuda" or torch.cuda.is_available(),
        "--device cuda: this machine has no usable GPU, use cpu",
    )
    cfg = MultimodalTranslationConfig(
        # The last three are fairseq's data set options, which only its own command line fills in.
        data=data_dir,
        train_subset="train",
        dataset_impl=None,
        required_seq_len_multiple=1,
        **task_options,
    )
    task = MultimodalTranslationTask.setup_task(cfg)
    words = len(task.target_dictionary)
    check(
        top_k <= words, f"--top-k {top_k}: the target dictionary has {words} words, so give no more than that"
    )
    text = text_fingerprint(data_dir, split)
    teachers = task.load_teachers(teacher_paths)
    task.load_dataset(split)
    dataset = task.dataset(split)

    max_positions = utils.resolve_max_positions(*(teacher.max_positions() for teacher in teachers))
    fitting, too_long = dataset.filter_indices_by_size(dataset.ordered_indices(), max_positions)
    if len(too_long):
        logger.warning(
            "%d sentences (such as %s, from 0) are longer than the %s positions of the teachers and get no "
            "answers",
            len(too_long),
            too_long[0],
            max_positions,
        )
    longest = int(dataset.num_tokens_vec(fitting).max(initial=0))
    check(
        longest <= max_tokens,
        f"--max-tokens {max_tokens}: the longest sentence alone has {longest}, so give at least that",
    )
    lengths = np.array(dataset.tgt.sizes)
    lengths[too_long] = 0
    batches = task.get_batch_iterator(
        dataset, max_tokens=max_tokens, max_positions=max_positions, ignore_invalid_inputs=True
    ).next_epoch_itr(shuffle=False)
    ensemble = TeacherEnsemble(teachers)
    with TeacherCacheWriter(os.path.join(data_dir, split), name, lengths, top_k, words) as writer:
        with progress(None, total=len(fitting), unit=" sentences") as bar:
            for batch in batches:
                _write_answers(writer, ensemble, batch, torch.device(device), task.target_dictionary.pad())
                bar.update(len(batch["id"]))
        return writer.commit({"teachers": teacher_files(teacher_paths), "text": text})


def _write_answers(
    writer: TeacherCacheWriter,
    teachers: TeacherEnsemble,
    batch: dict[str, Any],
    device: torch.device,
    padding: int,
) -> None:
    if device.type == "cuda":
        batch = utils.move_to_cuda(batch, device)
    log_probs = teachers(batch["net_input"], torch.empty(0, device=device))
    best, ids = log_probs.topk(writer.top_k, dim=-1)
    ids, probs = ids.cpu().numpy(), best.exp().cpu().numpy()
    real = batch["target"].ne(padding).cpu().numpy()
    for row, sentence in enumerate(batch["id"].tolist()):
        writer.write(sentence, ids[row, real[row]], probs[row, real[row]])


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of ``ikd-cache-teacher``."""
    parser = argparse.ArgumentParser(
        prog="ikd-cache-teacher",
        description="Write SPLIT.teacher.NAME beside the binarised text: the words that frozen teachers "
        "find most likely at every target position, with their probabilities. Training with --criterion "
        "word_distillation --teacher-cache NAME then runs no teacher, and reads no image for one.",
        epilog="example: ikd-cache-teacher data/en-de --split train --teacher-path a.pt:b.pt --name two",
    )
    parser.add_argument("data", metavar="DATA", help="folder that fairseq-preprocess wrote")
    parser.add_argument("--split", default="train", help="train, valid, train1, ... (default: %(default)s)")
    parser.add_argument(
        "--teacher-path",
        required=True,
        metavar="A[:B...]",
        help="checkpoints of the teachers, separated by ':'; their probabilities are averaged",
    )
    parser.add_argument("--name", required=True, help="name of the cache, which --teacher-cache takes")
    parser.add_argument(
        "--top-k",
        type=positive_int,
        default=8,
        metavar="K",
        help="words to keep at each position; K times 4 bytes a token (default: %(default)s)",
    )
    parser.add_argument(
        "--max-tokens",
        type=positive_int,
        default=4096,
        metavar="N",
        help="tokens of a batch, padding included (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="where the teachers run (default: the GPU if there is one)",
    )
    parser.add_argument(
        "--image-features", metavar="NAME", help="for teachers that were trained on SPLIT.features.NAME"
    )
    parser.add_argument(
        "--image-free", action="store_true", help="let image-must teachers answer by their text path alone"
    )
    parser.add_argument("--source-lang", metavar="SRC", help="source language (default: the folder's)")
    parser.add_argument("--target-lang", metavar="TGT", help="target language (default: the folder's)")
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ikd-cache-teacher``."""
    args = build_parser().parse_args(argv)
    set_up_logging()
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    cache = cache_teacher(
        args.data,
        args.split,
        utils.split_paths(args.teacher_path),
        args.name,
        top_k=args.top_k,
        max_tokens=args.max_tokens,
        device=device,
        image_features=args.image_features,
        image_free=args.image_free,
        source_lang=args.source_lang,
        target_lang=args.target_lang,
    )
    logger.info(
        "%s: teacher cache %r, %d sentences, %d tokens; the top %d words have %.2f %% of the probability; "
        "%.1f MB",
        cache.prefix,
        cache.name,
        len(cache),
        cache.manifest["tokens"],
        cache.top_k,
        100 * cache.manifest["covered_mass"],
        cache.nbytes / 1e6,
    )
