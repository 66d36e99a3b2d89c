"""Settings of a study, each with its sentence; read from TOML or from options."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from openvmas.errors import InputError, OptionError
from openvmas.settings import option, read_table, read_toml
from openvmas.study.texts import LANGUAGES

HEADPHONES = ("required", "asked", "off")
MAX_QUESTIONS, MAX_CHOICES = 20, 12


@dataclass(frozen=True)
class StudySettings:
    """Settings of a study."""

    title: str = option("Listening study", "Title at the top of the listeners' page.")
    seed: int = option(0, "The same seed, settings and files give the same study.", min=0, max=2**32 - 1)
    seconds: float = option(12.0, "Longest stimulus; all of one clip are cut to the same length, s.", min=2, max=120)
    loudness: float = option(-23.0, "Loudness of every stimulus, LUFS; lower where a peak would clip.", min=-40, max=-9)
    picture_pairs: int = option(6, "Comparisons with picture for each listener.", min=0, max=100)
    sound_pairs: int = option(6, "Comparisons without picture for each listener.", min=0, max=100)
    rounds: int = option(1, "Number of times each listener rates every system and anchor (MOS).", min=0, max=20)
    checks: int = option(1, "Attention checks in each of these three parts.", min=0, max=5)
    headphones: str = option(
        "required", "Headphone check: required (who fails is left out), asked (it is only reported) or off."
    )
    focus: str | None = option(None, "Compare this system with every other, and no two others with each other.")
    contact: str = option("", "Name or address of whom listeners may ask; stands in the consent.")
    completion_code: str = option("", "Code that is shown when all is done, for services that pay listeners.")
    return_link: str = option("", "Address that leads back to such a service when all is done.")
    language: str = option("en", "Language of the page.", choices=LANGUAGES)
    consent: str = option(
        "", "Text that listeners agree to, instead of the one that comes with the language; {minutes} stands for the "
        "time needed, {contact} for whom to ask."
    )  # fmt: skip

    @classmethod
    def of(cls, **values: Any) -> StudySettings:
        """Check names, types and ranges. Raises OptionError."""
        names = [item.name for item in fields(cls)]
        for name in values.keys() - set(names):
            raise OptionError(f"there is no study setting called {name}; choose from {', '.join(names)}.")
        made = read_table(cls, values)
        if made.headphones not in HEADPHONES:
            raise OptionError(f"headphones cannot be {made.headphones}; choose from {', '.join(HEADPHONES)}.")
        if made.return_link and not made.return_link.startswith(("https://", "http://")):
            raise OptionError(f"return-link cannot be {made.return_link}; give an address that begins with https://.")
        if not (made.picture_pairs or made.sound_pairs or made.rounds):
            raise OptionError("a study needs something to ask; give --picture-pairs, --sound-pairs or --rounds.")
        return made


@dataclass(frozen=True)
class Question:
    """A question of the questionnaire at the end, with the answers of which one is chosen."""

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class StudyPlan:
    """The material and settings of a study. systems: name to folder; reference: folder of the true music, or None.

    questions: about the listener, asked at the end.
    """

    systems: dict[str, Path]
    reference: Path | None
    settings: StudySettings
    questions: tuple[Question, ...] = ()


def read_study_plan(path: str | Path) -> StudyPlan:
    """A STUDY.toml: settings at the top, `reference`, and a table [systems]; folders count from where it lies.

    Raises InputError, OptionError.
    """
    path = Path(path)
    values = read_toml(path, "a study in TOML as in docs/study.md")
    systems, reference = values.pop("systems", {}), values.pop("reference", None)
    questions = read_questions(values.pop("questions", []), path)
    is_table = isinstance(systems, dict) and all(isinstance(folder, str) for folder in systems.values())
    if not is_table or not isinstance(reference, str | None):
        raise InputError(f'{path}: systems and reference are folders, e.g. ours = "videos/ours"; see docs/study.md.')
    return StudyPlan(
        systems={name: path.parent / folder for name, folder in systems.items()},
        reference=None if reference is None else path.parent / reference,
        settings=StudySettings.of(**values),
        questions=questions,
    )


def read_questions(found: Any, path: Path) -> tuple[Question, ...]:
    """The tables [[questions]] of a STUDY.toml. Raises InputError."""
    rows = found if isinstance(found, list) else [found]
    for row in rows:
        is_row = isinstance(row, dict) and row.keys() == {"text", "answers"} and isinstance(row["text"], str)
        answers = row["answers"] if is_row and isinstance(row["answers"], list) else []
        if not 2 <= len(answers) <= MAX_CHOICES or not all(isinstance(answer, str) for answer in answers):
            raise InputError(
                f"{path}: a question has a text and 2 to {MAX_CHOICES} answers, e.g. "
                'text = "Do you play an instrument?" and answers = ["yes", "no"]; see docs/study.md.'
            )
    if len(rows) > MAX_QUESTIONS:
        raise InputError(f"{path} asks {len(rows)} questions; ask {MAX_QUESTIONS} at most.")
    return tuple(Question(row["text"], tuple(row["answers"])) for row in rows)
