"""Translation from Python: fairseq's hub interface, with paths as they are given and scores of pairs."""

import os
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import torch
from fairseq import hub_utils, utils
from fairseq.data import LanguagePairDataset

from ..constants import MERGES
from ..errors import check


class Translator(hub_utils.GeneratorHubInterface):
    """fairseq's interface; the merges of its BPE are held against those of the checkpoint.

    Raises:
        IkdError: the checkpoint was trained with other merges.
    """

    def __init__(self, cfg, task, models):
        task.build_bpe(cfg.bpe)
        super().__init__(cfg, task, models)

    def score(self, sentences: str | Sequence[str], targets: str | Sequence[str]) -> Any:
        """How likely each target is as the translation of its sentence.

        Returns:
            For every pair a dictionary as fairseq's ``SequenceScorer`` gives: ``positional_scores`` (the
            logarithm of the probability of every subword, end of sentence included) and ``score``, their
            mean. One of them for one pair of strings.

        Raises:
            IkdError: there are not as many targets as sentences, or a sentence is too long.
        """
        if isinstance(sentences, str) and isinstance(targets, str):
            return self.score([sentences], [targets])[0]
        check(
            not isinstance(sentences, str) and len(sentences) == len(targets),
            "score: give as many targets as sentences, two strings or two lists",
        )
        if not sentences:
            return []
        sources = [self.encode(sentence) for sentence in sentences]
        lengths = torch.tensor([len(tokens) for tokens in sources])
        self.task.build_dataset_for_inference(sources, lengths)  # refuses a model that needs images
        translated = [
            self.tgt_dict.encode_line(self.apply_bpe(self.tokenize(target)), add_if_not_exist=False).long()
            for target in targets
        ]
        target_lengths = torch.tensor([len(tokens) for tokens in translated])
        pairs = LanguagePairDataset(
            sources, lengths, self.src_dict, translated, target_lengths, self.tgt_dict, shuffle=False
        )
        longest = max([*lengths.tolist(), *target_lengths.tolist()])
        check(
            longest <= min(self.max_positions),
            f"score: a sentence has {longest} subwords, too many for the model",
        )
        scorer = self.task.build_generator(self.models, Namespace(score_reference=True))
        found: dict[int, Any] = {}
        batches = self.task.get_batch_iterator(
            pairs,
            max_tokens=self.cfg.dataset.max_tokens,
            max_sentences=self.cfg.dataset.batch_size,
            disable_iterator_cache=True,
        ).next_epoch_itr(shuffle=False)
        for batch in batches:
            batch = utils.apply_to_sample(lambda tensor: tensor.to(self.device), batch)
            scores = self.task.inference_step(scorer, self.models, batch)
            found.update((number, hypotheses[0]) for number, hypotheses in zip(batch["id"].tolist(), scores))
        return [found[number] for number in range(len(sources))]


def load_translator(folder: str, checkpoint_file: str, data: str, **options: Any) -> Translator:
    """Loads the checkpoints *checkpoint_file* (several as ``a.pt:b.pt``) of *folder*.

    Args:
        data: data folder with the dictionaries. A relative one is looked for in the current folder, then
            beside the checkpoint; ``.`` is the checkpoint's own.
        options: of the checkpoint, to be changed. Merges for ``bpe`` are found beside the checkpoint, or in
            the data folder, as ``code``.

    Raises:
        IkdError: a folder or file is missing, or cannot be used.
    """
    if "://" not in folder:
        check(os.path.isdir(folder), f"from_pretrained: {folder} is no folder: give that of the checkpoint")
        for name in checkpoint_file.split(os.pathsep):
            check(os.path.isfile(os.path.join(folder, name)), f"from_pretrained: {folder} holds no {name}")
        if "://" not in data:
            here = data != "." and os.path.isdir(data)
            data = os.path.abspath(data if here else os.path.join(folder, data))
            missing = f"from_pretrained: {data} is no folder, and the current folder holds none of that name"
            check(os.path.isdir(data), f"{missing}: give data_name_or_path, the folder of the dictionaries")
            merges = os.path.join(data, MERGES)
            if options.get("bpe") and os.path.isfile(merges):
                options.setdefault("bpe_codes", merges)  # those beside the checkpoint come first
    loaded = hub_utils.from_pretrained(folder, checkpoint_file, data, **options)
    return Translator(loaded["args"], loaded["task"], loaded["models"])
