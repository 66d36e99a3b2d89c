"""Screening of listeners: the reasons for which one does not count. The rules are fixed before any answer is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from scipy import stats

from openvmas.study.session import Step, headphones_passed
from openvmas.study.store import Answer

LEAST_DONE = 0.5  # share of the trials
LEAST_CHECKS = 0.75  # share of attention checks that must be right
LEAST_RATINGS = 5  # before always the same number says anything
MAX_SAME_SIDE = 0.002  # chance of so many answers on one side by somebody who tosses a coin
LEAST_HEARD = 0.8  # of the length of the stimuli

REASONS = {
    "unfinished": "answered less than half of the trials",
    "attention": "failed attention checks",
    "headphones": "failed the headphone check twice",
    "one side": "chose nearly always the same side",
    "one number": "gave every rating the same number",
    "too fast": "answered before the music can have been heard",
}


@dataclass(frozen=True)
class Listener:
    """A listener, numbered by time of consent, and the judgement on them.

    answers: to `steps`, by place. reasons: names of REASONS, none if all is well.
    """

    number: int
    steps: tuple[Step, ...]
    answers: dict[int, Answer]
    reasons: tuple[str, ...]

    @property
    def trials(self) -> list[tuple[Step, Answer]]:
        """The answers that count: no training, no checks."""
        return [(self.steps[i], answer) for i, answer in self.answers.items() if is_trial(self.steps[i])]


def is_trial(step: Step) -> bool:
    return step.kind in ("pair", "rating") and not step.is_training and not step.is_check


def screen(
    number: int,
    steps: tuple[Step, ...],
    answers: Sequence[Answer],
    seconds: dict[str, float],
    must_have_headphones: bool,
) -> Listener:
    """Judge a listener. seconds: length of every stimulus by name."""
    given = {answer.step: answer for answer in answers if answer.step < len(steps)}
    listener = Listener(number, steps, given, ())
    found = {
        "unfinished": _is_unfinished(listener),
        "attention": _fails_checks(listener),
        "headphones": must_have_headphones and _fails_headphones(listener),
        "one side": _is_one_sided(listener),
        "one number": _is_one_number(listener),
        "too fast": _is_too_fast(listener, seconds),
    }
    return Listener(number, steps, given, tuple(name for name, is_so in found.items() if is_so))


def _is_unfinished(listener: Listener) -> bool:
    n_wanted = sum(is_trial(step) for step in listener.steps)
    return len(listener.trials) < LEAST_DONE * n_wanted


def _fails_checks(listener: Listener) -> bool:
    found = [
        step.right == (answer.choice if step.kind == "pair" else str(answer.quality))
        for i, answer in listener.answers.items()
        if (step := listener.steps[i]).is_check
    ]
    return sum(found) < LEAST_CHECKS * len(found)


def _fails_headphones(listener: Listener) -> bool:
    """Whether both attempts failed, or one failed and the second was never finished."""
    choices = {i: answer.choice for i, answer in listener.answers.items()}
    passed = [headphones_passed(listener.steps, choices, attempt) for attempt in (1, 2)]
    return any(step.kind == "headphones" for step in listener.steps) and True not in passed


def _is_one_sided(listener: Listener) -> bool:
    sides = [answer.choice for step, answer in listener.trials if step.kind == "pair" and answer.choice != "same"]
    n, n_most = len(sides), max(sides.count("a"), sides.count("b"))
    return n > 0 and float(stats.binomtest(n_most, n).pvalue) < MAX_SAME_SIDE


def _is_one_number(listener: Listener) -> bool:
    numbers = [answer.quality for step, answer in listener.trials if step.kind == "rating"]
    return len(numbers) >= LEAST_RATINGS and len(set(numbers)) == 1


def _is_too_fast(listener: Listener, seconds: dict[str, float]) -> bool:
    """Whether in most trials less time was spent or less sound played than the stimuli are long."""
    shares = [
        min(answer.seconds, answer.heard) / sum(seconds[name] for name in step.media)
        for step, answer in listener.trials
    ]
    return bool(shares) and median(shares) < LEAST_HEARD
