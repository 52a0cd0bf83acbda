"""Jobs of workers: a fairseq trainer that makes updates, and the matrix products in them."""

import math
import sys
import time
from collections import Counter
from typing import Any

import torch
from fairseq import distributed_utils, options, tasks
from fairseq import utils as fairseq_utils
from fairseq.data import iterators
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from torch.utils._python_dispatch import TorchDispatchMode

# What a matrix product is called by the time it runs, forward or backward.
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


class Training:
    """What ``fairseq-train`` builds from its command line, up to the first batch; called, it makes updates.

    Args:
        command: the options behind ``fairseq-train``. Data are loaded in this process (``--num-workers 0``),
            so that its processor time holds all of the work.
    """

    def __init__(self, command: list[str]):
        sys.argv = ["fairseq-train", *command]  # where fairseq looks for --user-dir
        plain = "--user-dir" not in command
        assert not (plain and "ikd_fairseq" in sys.modules), "stock fairseq is measured without the plugin"
        self.cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser()))
        if self.cfg.distributed_training.distributed_world_size > 1:
            distributed_utils.distributed_init(self.cfg)
        fairseq_utils.set_torch_seed(self.cfg.common.seed)
        self.task = tasks.setup_task(self.cfg.task)
        self.model = self.task.build_model(self.cfg.model)
        criterion = self.task.build_criterion(self.cfg.criterion)
        self.trainer = Trainer(self.cfg, self.task, self.model, criterion)
        self.epochs = self.trainer.get_train_iterator(epoch=1, load_dataset=True)
        self.facts = {"batches": len(self.epochs)}
        self.batches = self._batches()

    def _batches(self):
        while True:
            epoch = self.epochs.next_epoch_itr(shuffle=True)
            self.trainer.begin_epoch(self.epochs.epoch)
            yield from iterators.GroupedIterator(epoch, self.cfg.optimization.update_freq[0])

    def __call__(self, updates: int) -> dict[str, Any]:
        """Makes *updates*. Reports the tokens in them, by which two ways show that they saw the same."""
        tokens = 0
        for _ in range(updates):
            samples = next(self.batches)
            self.update(samples)
            tokens += sum(sample["ntokens"] for sample in samples)
        return {"tokens": tokens}

    def update(self, samples: list[dict[str, Any]]) -> None:
        with metrics.aggregate("train_inner"):
            self.trainer.train_step(samples)


class Converging(Training):
    """Training whose loss on the development set can be asked for."""

    def __call__(self, updates: int, validate: bool = False) -> dict[str, Any]:
        """Makes *updates*. With *validate*, reports the loss of the translation, in bits a token."""
        tokens = super().__call__(updates)["tokens"]
        return {"tokens": tokens, "loss": self.loss() if validate else None}

    def loss(self) -> float:
        """Of the development set, without label smoothing."""
        from ikd_fairseq.contracts import inputs_of  # not above: stock fairseq's process has no plugin

        self.task.load_dataset("valid")
        pairs = self.task.dataset("valid")
        self.model.eval()
        nats = tokens = 0.0
        with torch.no_grad():
            for start in range(0, len(pairs), 64):
                rows = range(start, min(start + 64, len(pairs)))
                sample = pairs.collater([pairs[row] for row in rows])
                inputs = inputs_of(sample["net_input"], self.model)
                log_probs = self.model.get_normalized_probs(
                    self.model(**inputs), log_probs=True, sample=sample
                )
                target = sample["target"]
                found = log_probs.gather(-1, target.unsqueeze(-1)).squeeze(-1)[target.ne(1)]  # 1: padding
                nats, tokens = nats - float(found.sum()), tokens + len(found)
        self.model.train()
        return nats / tokens / math.log(2)


class ReadingShare(Training):
    """How much of an update the reading of its images out of their pack takes."""

    def __call__(self, updates: int) -> dict[str, Any]:
        step = reading = 0.0
        for _ in range(updates):
            start = time.process_time()
            samples = next(self.batches)
            self.update(samples)
            step += time.process_time() - start
            images = self.task.dataset("train").images
            start = time.process_time()
            for sample in samples:
                images.take(sample["id"].numpy())
            reading += time.process_time() - start
        return {"step": step, "reading": reading}


class ProductRecorder(TorchDispatchMode):
    """Counts the matrix products that run, by the shapes and strides of their two factors."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__.rstrip("_") in PRODUCTS:
            factors = [arg for arg in args if isinstance(arg, torch.Tensor)][-2:]
            self.products[tuple((tuple(f.shape), tuple(f.stride())) for f in factors)] += 1
        return function(*args, **(kwargs or {}))


class ProductShare(Training):
    """How much of an update its matrix products would take alone: the arithmetic limit.

    Of every batch an update is made whose products are recorded, then one that is timed, then the products
    are repeated on random matrices of the same shapes and strides, with the results' memory at hand, and
    timed. All of it in one process and in turn.
    """

    def __call__(self, updates: int) -> dict[str, Any]:
        step = products = 0.0
        operations = 0
        for _ in range(updates):
            samples = next(self.batches)
            with ProductRecorder() as recorder:
                self.update(samples)
            start = time.process_time()
            self.update(samples)
            step += time.process_time() - start
            for factors, count in recorder.products.items():
                a, b = (torch.empty_strided(*factor).normal_() for factor in factors)
                result = torch.matmul(a, b)
                start = time.process_time()
                for _ in range(count):
                    torch.matmul(a, b, out=result)
                products += time.process_time() - start
                operations += 2 * count * result.numel() * a.shape[-1]
        return {"step": step, "products": products, "operations": operations}


class Decoding(Training):
    """Beam search with a model that has learnt nothing, every hypothesis exactly 15 tokens long.

    The work of a search depends on the lengths of its hypotheses, and these on what a model has learnt. With
    one length for all, two models do the same number of steps with the same number of hypotheses.
    """

    LENGTH = 15

    def __init__(self, command: list[str]):
        super().__init__(command)
        self.task.load_dataset("test")
        self.model.eval()
        self.model.prepare_for_inference_(self.cfg)
        self.sentences = self.task.dataset("test")
        self.next = 0

    def __call__(self, batch: int, beam: int, batches: int, max_tokens: int = 0) -> dict[str, Any]:
        """Translates *batches* of *batch* sentences, or of as many as have *max_tokens*, padding included."""
        search = self.cfg.generation
        search.beam, search.max_len_a, search.max_len_b, search.min_len = beam, 0, self.LENGTH, self.LENGTH
        generator = self.task.build_generator([self.model], search)
        sentences = 0
        for _ in range(batches):
            size = self._fitting(max_tokens) if max_tokens else batch
            rows = [(self.next + row) % len(self.sentences) for row in range(size)]
            self.next = (rows[-1] + 1) % len(self.sentences)
            sample = self.sentences.collater([self.sentences[row] for row in rows])
            hypotheses = self.task.inference_step(generator, [self.model], sample)
            assert all(len(found[0]["tokens"]) == self.LENGTH + 1 for found in hypotheses)
            sentences += size
        return {"sentences": sentences}

    def _fitting(self, max_tokens: int) -> int:
        """How many of the sentences from the next one on make a batch of *max_tokens*."""
        longest = size = 0
        while True:
            longest = max(longest, self.sentences.size((self.next + size) % len(self.sentences))[0])
            if (size + 1) * longest > max_tokens:
                return size
            size += 1
