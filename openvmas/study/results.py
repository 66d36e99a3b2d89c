"""Results of a study: the listeners that count, preferences and ratings, with intervals."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy import stats

from openvmas.errors import InputError
from openvmas.eval.metrics.statistics import Interval, holm, paired_permutation_test
from openvmas.study.listener_statistics import (
    LOSE,
    TIE,
    WIN,
    PreferenceShare,
    Strengths,
    fit_mixed,
    krippendorff_alpha,
    preference_share,
    strengths,
    wilson,
)  # fmt: skip
from openvmas.study.session import KEY, Step, Study, headphones_passed
from openvmas.study.store import ANSWERS, Answer, Store

# Screening: the rules are fixed before any answer is seen.
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

    def passed(self, attempt: int) -> bool | None:
        """Whether an attempt at the headphone check was passed, as `headphones_passed` says."""
        return headphones_passed(self.steps, {i: answer.choice for i, answer in self.answers.items()}, attempt)


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
    trials = listener.trials
    checks = [
        step.right == (answer.choice if step.kind == "pair" else str(answer.quality))
        for i, answer in given.items()
        if (step := steps[i]).is_check
    ]
    sides = Counter(answer.choice for step, answer in trials if step.kind == "pair" and answer.choice != "same")
    numbers = [answer.quality for step, answer in trials if step.kind == "rating"]
    # The time spent or the sound played, whichever is less, against the length of the stimuli.
    heard = [min(answer.seconds, answer.heard) / sum(seconds[name] for name in step.media) for step, answer in trials]
    wants_headphones = must_have_headphones and any(step.kind == "headphones" for step in steps)
    n_sides = sides.total()
    found = {
        "unfinished": len(trials) < LEAST_DONE * sum(is_trial(step) for step in steps),
        "attention": sum(checks) < LEAST_CHECKS * len(checks),
        # Both attempts failed, or one failed and the second was never finished.
        "headphones": wants_headphones and not (listener.passed(1) or listener.passed(2)),
        "one side": n_sides > 0 and float(stats.binomtest(max(sides.values()), n_sides).pvalue) < MAX_SAME_SIDE,
        "one number": len(numbers) >= LEAST_RATINGS and len(set(numbers)) == 1,
        "too fast": bool(heard) and median(heard) < LEAST_HEARD,
    }
    return replace(listener, reasons=tuple(name for name, is_so in found.items() if is_so))


SCALES = ("quality", "fit")


@dataclass(frozen=True)
class Comparisons:
    """One part of comparisons. shares: of each pair, p corrected by Holm within the part. agreement: Krippendorff's
    alpha, nominal. first_side: how often A was preferred among decided answers, whatever it was; 0.5 without bias."""

    shares: tuple[PreferenceShare, ...]
    systems: tuple[str, ...]
    strengths: Strengths
    agreement: float
    first_side: Interval


@dataclass(frozen=True)
class Difference:
    """Mean rating of `second` minus that of `first`, over the listeners who rated both. p: after Holm's correction."""

    first: str
    second: str
    value: Interval
    n_listeners: int
    p: float


@dataclass(frozen=True)
class Ratings:
    """One scale. means: by condition; agreement: Krippendorff's alpha, ordinal. variances: of listeners, clips and
    the rest, on the scale squared."""

    means: dict[str, Interval]
    n: dict[str, int]
    differences: tuple[Difference, ...]
    agreement: float
    variances: dict[str, float]


@dataclass(frozen=True)
class Answered:
    """A question of the questionnaire. counts: how many of the listeners who count chose each answer."""

    text: str
    counts: dict[str, int]


@dataclass(frozen=True)
class StudyResults:
    """All results of a study. n_listeners: who gave consent. dropped: listeners by reason, one may have several.
    n_headphones_failed: both attempts, dropped or not."""

    title: str
    n_listeners: int
    n_kept: int
    dropped: dict[str, int]
    n_headphones_failed: int
    comparisons: dict[str, Comparisons]
    ratings: dict[str, Ratings]
    questions: tuple[Answered, ...] = ()


@dataclass(frozen=True)
class StudyData:
    """The answers of a study with the names of systems. stimuli: clip, condition, mode and seconds by name."""

    title: str
    systems: tuple[str, ...]
    conditions: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    stimuli: dict[str, dict[str, Any]]
    listeners: tuple[Listener, ...]
    questions: tuple[dict[str, Any], ...] = ()

    @property
    def kept(self) -> list[Listener]:
        return [listener for listener in self.listeners if not listener.reasons]


def collect(folder: str | Path) -> StudyData:
    """Read a study with its key and its answers. Raises InputError."""
    folder, study = Path(folder), Study(folder)
    try:
        key = json.loads((folder / KEY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder / KEY} cannot be read, and only it says who is who; copy it from where the study was created."
        ) from error
    if key["study"] != study.facts["id"]:
        raise InputError(f"{folder / KEY} belongs to another study; copy the one that was created with it.")
    if not (folder / ANSWERS).exists():
        raise InputError(f"{folder} holds no answers yet; show it to listeners with `openvmas study serve`.")
    store = Store(folder)
    answers = store.everything()
    # What only the page itself made (the tones of the headphone check) is no part of any trial.
    seconds = {name: facts["seconds"] for name, facts in key["stimuli"].items() if "seconds" in facts}
    needs = study.facts["headphones_policy"] == "required"
    listeners = tuple(
        screen(session.number, study.plan(session.block), answers.get(session.number, []), seconds, needs)
        for session in store.sessions()
    )
    return StudyData(
        study.facts["title"],
        tuple(key["systems"]),
        tuple(key["conditions"]),
        tuple((i, j) for i, j in study.facts["pairs"]),
        key["stimuli"],
        listeners,
        tuple(study.facts.get("questions", ())),
    )


def answer_rows(found: StudyData) -> list[dict[str, Any]]:
    """Every answer that was given, with the clip and the conditions that the listener did not know, for other tools.

    Of a pair, condition and other are what was A and what was B. dropped: why the listener does not count, "" if it
    does. Training and checks are in it and marked.
    """
    rows = []
    for listener in found.listeners:
        for number, answer in sorted(listener.answers.items()):
            step = listener.steps[number]
            facts = [found.stimuli.get(name, {}) for name in step.media]
            condition, other = (*(item.get("condition", "") for item in facts[:2]), "", "")[:2]
            asked = found.questions[step.question] if step.kind == "question" else None
            rows.append(
                {
                    "listener": listener.number, "step": number, "part": step.part, "kind": step.kind,
                    "training": int(step.is_training), "check": int(step.is_check),
                    "clip": facts[0].get("clip", "") if facts else "", "condition": condition, "other": other,
                    "question": asked["text"] if asked else "",
                    "choice": asked["answers"][int(answer.choice or 1) - 1] if asked else answer.choice,
                    "quality": answer.quality, "fit": answer.fit,
                    "seconds": round(answer.seconds, 2), "heard": round(answer.heard, 2),
                    "dropped": " ".join(listener.reasons),
                }
            )  # fmt: skip
    return rows


def explain_nobody(found: StudyData) -> str:
    """Why none of the listeners counts, by how often."""
    counted = Counter(reason for listener in found.listeners for reason in listener.reasons)
    return "; ".join(f"{n}: {REASONS[name]}" for name, n in counted.most_common())


def analyze(folder: str | Path, keep_all: bool = False) -> StudyResults:
    """All results. keep_all: nobody is dropped, to see what screening changes. Raises InputError."""
    found = collect(folder)
    if keep_all:
        found = replace(found, listeners=tuple(replace(listener, reasons=()) for listener in found.listeners))
    if not found.kept:
        why = explain_nobody(found)
        raise InputError(
            f"none of {len(found.listeners)} listeners can be counted{f' ({why})' if why else ''}; "
            "see --keep-all for what there is."
        )
    return StudyResults(
        title=found.title,
        n_listeners=len(found.listeners),
        n_kept=len(found.kept),
        dropped=dict(Counter(reason for listener in found.listeners for reason in listener.reasons)),
        n_headphones_failed=sum(listener.passed(2) is False for listener in found.listeners),
        comparisons={
            part: compared
            for part in ("picture_pairs", "sound_pairs")
            if (compared := compare(found, part)) is not None
        },
        ratings={scale: rated for scale in SCALES if (rated := rate(found, scale)) is not None},
        questions=tuple(count_answers(found, place) for place in range(len(found.questions))),
    )


def count_answers(found: StudyData, place: int) -> Answered:
    """Answers to one question of the questionnaire."""
    chosen = Counter(
        int(answer.choice or 0)
        for listener in found.kept
        for number, answer in listener.answers.items()
        if listener.steps[number].question == place
    )
    asked = found.questions[place]
    return Answered(asked["text"], {text: chosen[i + 1] for i, text in enumerate(asked["answers"])})


def compare(found: StudyData, part: str) -> Comparisons | None:
    """The comparisons of a part; None if there are none."""
    place = {pair: row for row, pair in enumerate(found.pairs)}
    counts = np.zeros((len(found.kept), len(found.pairs), 3))
    units: list[str] = []
    values: list[int] = []
    sides: Counter[str | None] = Counter()
    for row, listener in enumerate(found.kept):
        for step, answer in listener.trials:
            if step.kind != "pair" or step.part != part:
                continue
            facts = [found.stimuli[name] for name in step.media]
            a, b = (found.systems.index(item["condition"]) for item in facts)
            pair = (min(a, b), max(a, b))
            chosen = {"a": a, "b": b}.get(answer.choice or "")
            outcome = TIE if chosen is None else WIN if chosen == pair[0] else LOSE
            counts[row, place[pair], outcome] += 1
            # Twice, once with the systems exchanged: alpha must not depend on which of a pair is called the first.
            units += [f"{facts[0]['clip']} {pair}", f"{facts[0]['clip']} {pair[::-1]}"]
            values += [outcome, {WIN: LOSE, LOSE: WIN, TIE: TIE}[outcome]]
            sides[answer.choice] += 1
    if not values:
        return None
    names = found.systems
    shares = [preference_share(names[i], names[j], counts[:, row]) for row, (i, j) in enumerate(found.pairs)]
    shares = [share for share in shares if share.n]
    corrected = holm(np.array([share.p for share in shares]))
    n_decided = sides["a"] + sides["b"]
    first_side = sides["a"] / n_decided if n_decided else math.nan
    return Comparisons(
        tuple(replace(share, p=float(p)) for share, p in zip(shares, corrected, strict=True)),
        names,
        strengths(counts, found.pairs, len(names)),
        krippendorff_alpha(np.array(units), np.array(values), "nominal"),
        Interval(first_side, *wilson(first_side, n_decided)),
    )


def rate(found: StudyData, scale: str) -> Ratings | None:
    """The ratings on one scale; None if there are none."""
    rows = [
        (row, found.stimuli[step.media[0]], step.media[0], getattr(answer, scale))
        for row, listener in enumerate(found.kept)
        for step, answer in listener.trials
        if step.kind == "rating" and getattr(answer, scale) is not None
    ]
    if not rows:
        return None
    rated = sorted({facts["condition"] for _, facts, _, _ in rows}, key=found.conditions.index)
    columns = np.array([rated.index(facts["condition"]) for _, facts, _, _ in rows])
    listeners = np.unique([row for row, _, _, _ in rows], return_inverse=True)[1]
    clips = np.unique([facts["clip"] for _, facts, _, _ in rows], return_inverse=True)[1]
    values = np.array([value for _, _, _, value in rows], dtype=np.float64)
    means, variances = _means(values, columns, listeners, clips, rated)
    return Ratings(
        means=means,
        n={name: int(np.sum(columns == i)) for i, name in enumerate(rated)},
        differences=differences(values, columns, listeners, [name for name in rated if name in found.systems], rated),
        agreement=krippendorff_alpha(np.array([name for _, _, name, _ in rows]), values, "ordinal"),
        variances=variances,
    )


def _means(
    values: np.ndarray, columns: np.ndarray, listeners: np.ndarray, clips: np.ndarray, rated: Sequence[str]
) -> tuple[dict[str, Interval], dict[str, float]]:
    """Means of all conditions by the mixed model; without intervals where one listener or too few answers are all."""
    fixed = np.eye(len(rated))[columns]
    groups = {name: group for name, group in (("listeners", listeners), ("clips", clips)) if group.max() > 0}
    if "listeners" not in groups or len(values) <= len(rated) + 1 or np.ptp(values) == 0:
        averages = (float(values[columns == i].mean()) for i in range(len(rated)))
        return {name: Interval(v, math.nan, math.nan) for name, v in zip(rated, averages, strict=True)}, {}
    fit = fit_mixed(values, fixed, list(groups.values()))
    means = {name: fit.contrast(row) for name, row in zip(rated, np.eye(len(rated)), strict=True)}
    return means, dict(zip([*groups, "rest"], fit.variances.tolist(), strict=True))


def differences(
    values: np.ndarray, columns: np.ndarray, listeners: np.ndarray, systems: Sequence[str], rated: Sequence[str]
) -> tuple[Difference, ...]:
    """Differences of every two systems: means over listeners with Student's t, p by flipped signs and Holm."""
    own = {
        name: {
            int(who): float(values[(columns == rated.index(name)) & (listeners == who)].mean())
            for who in np.unique(listeners[columns == rated.index(name)])
        }
        for name in systems
    }
    made: list[Difference] = []
    for i, first in enumerate(systems):
        for second in systems[i + 1 :]:
            both = sorted(own[first].keys() & own[second].keys())
            if len(both) < 2:
                continue
            gaps = np.array([own[second][who] - own[first][who] for who in both])
            mean, half_width = float(gaps.mean()), float(stats.t.ppf(0.975, len(gaps) - 1) * stats.sem(gaps))
            interval = Interval(mean, mean - half_width, mean + half_width)
            p = paired_permutation_test(np.zeros(len(gaps)), gaps)
            made.append(Difference(first, second, interval, len(gaps), p))
    if not made:
        return ()
    corrected = holm(np.array([item.p for item in made]))
    return tuple(replace(item, p=float(p)) for item, p in zip(made, corrected, strict=True))
