"""Translation loss plus word-level knowledge distillation (Kim & Rush 2016, section 3.1)."""

import logging
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

import torch
from fairseq import utils
from fairseq.criterions import register_criterion
from torch import Tensor

from ..constants import TEACHER_IDS, TEACHER_PROBS
from ..contracts import TaskContract
from ..distillation.teacher_models import TeacherEnsemble
from ..errors import check
from ..modules.options import option
from ..modules.vocabulary_loss import Objective
from .translation_criterion import TranslationCriterion, TranslationCriterionConfig, log_mean

logger = logging.getLogger(__name__)

# Stands for a probability of zero in float16, where a logarithm is taken of it.
_TINY = 1e-12
_ANSWERS = "answers"  # key of a batch: the :class:`Answers` at all of its positions, B J


class Answers(NamedTuple):
    """The teachers' distribution at N positions.

    Attributes:
        log_probs: float32, ``N x V``, or ``N x k`` where only the k likeliest words are known.
        ids: int64 ``N x k``, those words, likeliest first; None for all V.
    """

    log_probs: Tensor
    ids: Optional[Tensor] = None

    @property
    def likeliest(self) -> Tensor:
        """The teachers' first choice: int64 ``N``."""
        return self.log_probs.argmax(dim=-1) if self.ids is None else self.ids[:, 0]

    def at(self, positions: Tensor) -> "Answers":
        """Those at some of the N *positions*, int64."""
        return Answers(*(None if part is None else part.index_select(0, positions) for part in self))


def word_distillation(lprobs: Tensor, answers: Answers, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the student against its teachers, and what of it the student could avoid.

    Args:
        lprobs: the student's log-probabilities, ``N x V``.
        answers: the teachers' at the same positions. Known for k words alone, they are scaled to a sum of 1.
        temperature: both distributions are taken at it.

    Returns:
        - cross-entropy ``-sum_w q(w) log p(w)``, float ``N``, in nats;
        - Kullback-Leibler divergence of the student from its teachers, ``N``, without gradient: the
          cross-entropy less the teachers' entropy. Zero if the two agree; of k words alone, since only the
          teachers' are scaled, minus the logarithm of what they sum to unscaled.
    """
    log_q, ids = answers
    if temperature != 1:
        lprobs = torch.log_softmax(lprobs / temperature, dim=-1)
    if ids is not None:
        lprobs = lprobs.gather(-1, ids)
    if ids is not None or temperature != 1:
        log_q = torch.log_softmax(log_q / temperature, dim=-1)
    q = log_q.exp()
    # Sums of products without the N x V products themselves, in memory or kept for the way back.
    cross_entropy = -torch.einsum("nv,nv->n", q, lprobs)
    return cross_entropy, cross_entropy.detach() + torch.einsum("nv,nv->n", q, log_q)


class Taught:
    """``(1 - alpha) * objective + alpha * temperature^2 * cross-entropy against the teachers``.

    Adds the sums ``word_kd``, the divergence of the student from its teachers at the temperature, and
    ``teacher_matches``, at how many positions both like the same word best. Of several passes the means.

    Args:
        objective: the translation loss.
        answers: the teachers', at the N positions among others.
        positions: int64 ``N``, where in *answers*.
        alpha, temperature: see :class:`WordDistillationCriterion`.
    """

    def __init__(
        self, objective: Objective, answers: Answers, positions: Tensor, alpha: float, temperature: float
    ):
        self.objective, self.answers, self.positions = objective, answers, positions
        self.alpha, self.temperature = alpha, temperature
        self.names = (*objective.names, "word_kd", "teacher_matches")

    def __call__(self, logits: Tensor, rows: slice) -> tuple[list[Tensor], Tensor]:
        answers, share = self.answers.at(self.positions[rows]), self.alpha * self.temperature**2 / len(logits)
        cross_entropy = divergence = matches = logits.new_zeros(())
        pulls = []
        for one in logits:  # of each pass
            with torch.enable_grad():
                one = one.detach().requires_grad_()
                each, apart = word_distillation(torch.log_softmax(one, dim=-1), answers, self.temperature)
                total = each.sum()
            pulls += torch.autograd.grad(total, one)
            cross_entropy, divergence = cross_entropy + total.detach(), divergence + apart.sum()
            matches = matches + one.argmax(dim=-1).eq(answers.likeliest).sum()
        (loss, *others), gradient = self.objective(logits, rows)
        gradient *= 1 - self.alpha
        for own, pull in zip(gradient, pulls):
            own.add_(pull, alpha=share)
        loss = (1 - self.alpha) * loss + share * cross_entropy
        return [loss, *others, divergence / len(logits), matches / len(logits)], gradient


@dataclass
class WordDistillationConfig(TranslationCriterionConfig):
    """The translation loss's options, and who teaches how much."""

    teacher_path: Optional[str] = option(
        None,
        "checkpoints of the teachers, separated by ':'; their probabilities are averaged. Not needed where "
        "--teacher-cache holds their answers",
    )
    distillation_alpha: float = option(
        0.5,
        "weight of the cross-entropy against the teachers, 0 to 1; that of the label-smoothed loss is "
        "1 - alpha. With 0 no teacher is needed nor loaded",
    )
    distillation_temperature: float = option(
        1.0,
        "temperature of both the student's and the teachers' (averaged) distribution in their cross-entropy, "
        "which is multiplied by its square, so that the gradient keeps its size; with --teacher-cache, the "
        "cached words' probabilities are re-tempered",
    )
    teacher_cache: Optional[str] = option(
        None,
        "take the teachers' answers from SPLIT.teacher.NAME (written by ikd-cache-teacher), by NAME. A "
        "validation split without such a cache is shown to the teachers of --teacher-path; without these "
        "either, its loss is the label-smoothed one alone",
    )


@register_criterion("word_distillation", dataclass=WordDistillationConfig)
class WordDistillationCriterion(TranslationCriterion):
    """``(1 - alpha) * label-smoothed NLL + alpha * temperature^2 * cross-entropy against the teachers``.

    Both are sums over the target's tokens, padding excluded, which fairseq divides by the number of tokens.
    The teachers read the reference as the student does, in eval mode and without label smoothing. Of several
    teachers the probabilities are averaged, then taken at the temperature, so that a cache of averages serves
    any temperature.

    Differences from the paper: the translation loss may be smoothed, and there is a temperature, multiplied
    by its square as in Hinton et al. 2015. At the defaults (no smoothing, temperature 1) the loss is the
    paper's.

    Logged beside fairseq's values: ``word_kd``, the Kullback-Leibler divergence of the student from its
    teachers in bits a token at the temperature (not the cross-entropy, whose lowest value is the teachers'
    entropy; their gradients are the same), and ``teacher_match``, the share of tokens at which both like the
    same word best. The words of a cache are scaled to a sum of 1: a student equal to its teachers has not 0
    then, but minus the logarithm of the probability that these words have together.

    With alpha 0 this is the criterion ``translation`` to the last bit.

    The teachers are no part of this module (see :class:`TeacherEnsemble`).

    Raises:
        IkdError: an option is out of its range, there is neither teacher nor cache, or a teacher does not
            fit.
    """

    def __init__(self, cfg: WordDistillationConfig, task):
        super().__init__(cfg, task)
        self.alpha, self.temperature = cfg.distillation_alpha, cfg.distillation_temperature
        check(
            0 <= self.alpha <= 1,
            f"--distillation-alpha {self.alpha}: give a number from 0 (no teacher) to 1 (the teachers alone)",
        )
        check(
            0 < self.temperature < math.inf,
            f"--distillation-temperature {self.temperature}: give a number above 0",
        )
        self.teachers: Optional[TeacherEnsemble] = None
        # What the task asks for when it loads a split.
        self.teacher_paths = utils.split_paths(cfg.teacher_path) if cfg.teacher_path and self.alpha else []
        self.teacher_cache = cfg.teacher_cache if self.alpha else None
        if not self.alpha:
            logger.info("--distillation-alpha 0: no teacher is used")
            return
        check(
            bool(self.teacher_paths or self.teacher_cache),
            "--criterion word_distillation learns from a teacher: name its checkpoint with --teacher-path, "
            "or a cache of its answers with --teacher-cache",
        )
        check(
            isinstance(task, TaskContract),
            "--criterion word_distillation loads its teachers through --task multimodal_translation (which "
            "reads text without images too): add that option",
        )
        if self.teacher_paths:
            self.teachers = TeacherEnsemble(task.load_teachers(self.teacher_paths))

    def forward(self, model, sample, reduce=True):
        """Loss of a batch, as fairseq's criterions: (loss, sample size, values to log)."""
        answers = self._answers(model, sample)
        return super().forward(model, sample if answers is None else {**sample, _ANSWERS: answers}, reduce)

    def translation(self, model, net_output, sample, reduce=True):
        loss, log = super().translation(model, net_output, sample, reduce)
        if not (reduce and self.alpha):
            return loss, log
        # Of every batch the same entries in the same order, by which workers add them up.
        answered, nothing = _ANSWERS in sample, loss.new_zeros(())
        log |= {name: log.pop(name, nothing) for name in ("word_kd", "teacher_matches")}
        return loss, {**log, "kd_tokens": self.counted(sample).numel() if answered else 0}

    def objective(self, sample, counted: Tensor) -> Objective:
        objective = super().objective(sample, counted)
        if _ANSWERS not in sample:
            return objective
        return Taught(objective, sample[_ANSWERS], counted, self.alpha, self.temperature)

    def compute_loss(self, model, net_output, sample, reduce=True):
        """As fairseq's: of every position a loss unless *reduce*."""
        loss, nll_loss = super().compute_loss(model, net_output, sample, reduce=reduce)
        if _ANSWERS not in sample:
            return loss, nll_loss
        lprobs, target = self.get_lprobs_and_target(model, net_output, sample)
        every = torch.arange(sample["target"].numel(), device=target.device).view_as(sample["target"])
        answers = sample[_ANSWERS].at(every[:, self.ignore_prefix_size :].flatten())
        kd_loss, _ = word_distillation(lprobs, answers, self.temperature)
        kd_loss = kd_loss.masked_fill(target.eq(self.padding_idx), 0)
        kd_loss = kd_loss.sum() if reduce else kd_loss.view_as(loss)
        return (1 - self.alpha) * loss + self.alpha * self.temperature**2 * kd_loss, nll_loss

    def _answers(self, model, sample: dict[str, Any]) -> Optional[Answers]:
        """From the batch if it carries some, else from the teachers; None if there are none or alpha is 0."""
        if TEACHER_IDS in sample:
            log_probs = sample[TEACHER_PROBS].float().clamp(min=_TINY).log()
            return Answers(log_probs.flatten(0, 1), sample[TEACHER_IDS].flatten(0, 1))
        if self.teachers is not None:
            return Answers(self.teachers(sample["net_input"], next(model.parameters())).flatten(0, 1))
        return None

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs the translation loss as fairseq does, and how far the student is from its teachers."""
        super().reduce_metrics(logging_outputs)
        log_mean("word_kd", logging_outputs, "word_kd", "kd_tokens", unit=math.log(2))
        log_mean("teacher_match", logging_outputs, "teacher_matches", "kd_tokens")
