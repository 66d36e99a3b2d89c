"""Requests and answers of the API, as the OpenAPI description shows them; among them the options of all groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from openvmas.errors import OptionError
from openvmas.media.envelope import Envelope
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.music_edit import MAX_SECONDS, MusicEdit, MusicJoin
from openvmas.pretrained import list_presets
from openvmas.settings import GROUPS, Options, OutputOptions, value_type
from openvmas.studio.limits import MAX_VARIATIONS
from openvmas.studio.tasks.arrangement import LAST_NUMBER

NAMES = {group: tuple(item.name for item in fields(kind)) for group, kind in GROUPS.items()}
JSON_TYPES = {float: "number", int: "integer", bool: "boolean", str: "text"}


class RequestBody(BaseModel):
    """A body from a client: no field that is not known, and no text where a number is wanted."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


SETTABLE = ("plan", "generate", "music", "mix")  # groups of options that a page may set


class OptionInfo(BaseModel):
    """An option as the page shows it."""

    name: str
    group: Literal["plan", "generate", "music", "mix"]  # SETTABLE
    type: Literal["number", "integer", "boolean", "text", "numbers", "texts"]
    default: float | bool | str | list[float] | list[str] | None
    min: float | None
    max: float | None
    help: str


def whole(value: Any) -> Any:
    """The value, as an int if it is a whole number: in JSON 5.0 is one, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def offered(group: type) -> list[dataclasses.Field[Any]]:
    """The options of a group that a page may set: none that is about a file of this machine."""
    return [item for item in dataclasses.fields(group) if not item.metadata.get("is_local")]


# A point as media.envelope reads it: time, and dB up to its limit or off.
EnvelopePoint = Annotated[
    str,
    Field(
        pattern=r"^(([0-9]{1,3}:)?[0-9]{1,3}:)?[0-9]{1,6}(\.[0-9]{1,9})?="
        r"(off|-[0-9]{1,3}(\.[0-9]{1,9})?|\+?(1?[0-9]|2[0-3])(\.[0-9]{1,9})?|\+?24)$"
    ),
]


def options_body(name: str, *groups: str) -> type[RequestBody]:
    """The fields of some groups of options as a body, all of which may be left out; nothing that names a file."""
    wanted: dict[str, Any] = {}
    for group in groups:
        for item in offered(GROUPS[group]):
            kind, _, is_tuple = value_type(item, GROUPS[group])
            bounds: dict[str, Any] = {"ge": item.metadata.get("min"), "le": item.metadata.get("max")}
            longest: Any = {"max_length": 1000}
            of_one: Any = longest if kind is str else bounds
            of_all: Any = longest if is_tuple else {}
            choices = item.metadata.get("choices")
            one: Any = Literal[tuple(choices)] if choices else Annotated[kind, Field(**of_one)]  # type: ignore[valid-type]
            if kind is int:
                one = Annotated[one, BeforeValidator(whole)]
            if item.name == "envelope":
                one = EnvelopePoint
            field: Any = Field(default=None, description=item.metadata["help"], **of_all)
            wanted[item.name] = (list[one] if is_tuple else one, field)
    if "generate" in groups:
        names = Literal[(OutputOptions().model, *list_presets())]  # type: ignore[valid-type]
        wanted["model"] = (names, Field(default=None, description="Model that writes the music."))
        at: Any = Annotated[float, Field(ge=0)]
        wanted["like"] = (Id, Field(default=None, description="Recording of the project that it should sound like."))
        wanted["like_at"] = (at, Field(default=None, description="Where in that recording, s."))
    if "music" in groups:
        about = "Recording of the project to fit to the picture instead of writing music, or `free`."
        wanted["music"] = (RecordingId, Field(default=None, description=about))
    return create_model(name, __base__=RequestBody, **wanted)


Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
RecordingId = Annotated[str, Field(pattern=r"^(free|[0-9a-f]{32})$")]

if TYPE_CHECKING:
    JobOptions = ProjectSettings = RequestBody
else:
    JobOptions = options_body("JobOptions", "generate", "music", "mix")
    ProjectSettings = options_body("ProjectSettings", *SETTABLE)


def check_options(sent: BaseModel, groups: Collection[str]) -> dict[str, Any]:
    """The options that were sent, in their own types. groups: from which they may be; `model` goes with "generate".

    Raises OptionError.
    """
    given = sent.model_dump(exclude_unset=True)
    allowed = {name for group in groups for name in NAMES[group]} | ({"model"} if "generate" in groups else set())
    for name in given:
        if name not in allowed:
            raise OptionError(f"{name} cannot be set here; the options are {', '.join(sorted(allowed))}.")
    flat = Options.of(**given).flat()
    Envelope(given.get("envelope", ()))
    # `flat` leaves out options that were added later where they have their default.
    return {name: flat.get(name, value) for name, value in given.items()}


def describe_options() -> list[OptionInfo]:
    """All options that can be set for a project or a job, with their ranges."""
    made: list[OptionInfo] = []
    for name in SETTABLE:
        group = GROUPS[name]
        for item in offered(group):
            kind, _, is_tuple = value_type(item, group)
            default = list(item.default_factory()) if is_tuple else item.default  # type: ignore[misc]
            shape: Any = f"{JSON_TYPES[kind]}s" if is_tuple else JSON_TYPES[kind]
            low, high = item.metadata.get("min"), item.metadata.get("max")
            made.append(OptionInfo(
                name=item.name, group=name, type=shape, default=default,  # pyright: ignore
                min=low, max=high, help=item.metadata["help"],
            ))  # fmt: skip
    return made


# The bounds come before the validator, or the description would not have them.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1), BeforeValidator(whole)]
Size = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(whole)]
Number = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(whole)]
Variations = Annotated[int, Field(ge=1, le=MAX_VARIATIONS), BeforeValidator(whole)]
Seconds = float
Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f]*$")]
JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
TakeState = Literal["waiting", "writing", "finishing", "done", "failed", "cancelled"]
Kind = Literal["analyze", "score", "redo", "mix", "arrange", "sketch"]


class Error(BaseModel):
    error: str = Field(description="One sentence that ends with the remedy.")


class SignIn(RequestBody):
    token: str = Field(max_length=1000)


class SessionLimits(BaseModel):
    max_bytes: int
    max_minutes: float
    max_pixels: int
    expire_days: float


class ModelInfo(BaseModel):
    name: str
    about: str = Field(description="The voice in a few words; empty where nothing is known.")
    has_midi: bool
    has_stems: bool
    can_redo: bool


class Session(BaseModel):
    needs_token: bool
    signed_in: bool
    version: str
    limits: SessionLimits
    models: list[ModelInfo]
    default_model: str
    options: list[OptionInfo]
    moods: list[str]
    axes: list[str]


class NewProject(RequestBody):
    name: Name


class ProjectChange(RequestBody):
    name: Name | None = None
    settings: ProjectSettings | None = Field(None, description="Options by name; replaces those that were kept.")


class TakeChange(RequestBody):
    name: Name | None = None
    favourite: bool | None = None
    note: str | None = Field(None, max_length=500)


class NewUpload(RequestBody):
    filename: Name
    size: Size


class Upload(BaseModel):
    filename: str
    size: int
    offset: int
    chunk: int = Field(description="Most bytes that one PATCH may carry.")


class Filmstrip(BaseModel):
    n: int
    ready: int
    columns: int
    width: int
    height: int


class Video(BaseModel):
    filename: str
    duration: Seconds
    fps: float
    frame_interval: Seconds
    n_frames: int
    width: int
    height: int
    codec: str
    container: str
    has_audio: bool
    is_playable: bool
    missing: Seconds = Field(0.0, description="Length that the file announces but does not hold: it was cut off.")
    filmstrip: Filmstrip


class JobTake(BaseModel):
    id: Id
    state: TakeState
    n_blocks: int
    seconds: Seconds = Field(description="Music that is written.")


class Job(BaseModel):
    id: Id
    project: Id
    kind: Kind
    state: JobState
    stage: str
    progress: float
    time_left: Seconds | None
    place: int | None
    created: float
    started: float | None
    finished: float | None
    interruptions: int
    error: str | None
    takes: list[JobTake]
    options: dict[str, Any]


class TimeSpan(BaseModel):
    start: Seconds
    end: Seconds
    spans: list[tuple[Seconds, Seconds]] = Field([], description="The parts within that were written, if several.")


class Voice(BaseModel):
    model: str
    reason: str = Field(description="One sentence.")
    reasons: list[str] = Field(description="What spoke for it, the strongest first.")


class Take(BaseModel):
    id: Id
    project: Id
    job: Id
    kind: Kind
    parent: Id | None
    name: str
    created: float
    state: TakeState
    seed: int
    model: str
    options: dict[str, Any]
    plan_version: int
    duration: Seconds
    n_blocks: int
    n_blocks_total: int
    part: TimeSpan | None
    loudness_lufs: float | None
    match_gain_db: float | None = Field(description="Gain at which it is as loud as is set for the project.")
    sync_z: float | None
    voice: Voice | None = Field(description="The voice that `auto` took, and why; null where a model was named.")
    has_midi: bool
    has_stems: list[str]
    can_redo: bool
    filename: str
    n_bytes: int | None = Field(description="Size of the finished video.")
    tempo: float = Field(description="Of its plan, BPM.")
    text: str | None = Field(description="The words for the whole that it was written for.")
    has_joins: bool = Field(description="Whether it plays a recording, whose joins can be changed.")
    favourite: bool
    note: str


class TakeWithReport(Take):
    report: dict[str, Any] | None


class Project(BaseModel):
    id: Id
    name: str
    created: float
    used: float
    expires: float
    state: Literal["empty", "uploading", "analyzing", "ready", "refused"]
    error: str | None
    upload: Upload | None
    video: Video | None
    analysis_job: Id | None
    plan_version: int
    can_undo: bool
    can_redo: bool
    settings: dict[str, Any]
    jobs: list[Job]
    takes: list[Take]


class Projects(BaseModel):
    projects: list[Project]


class Sound(BaseModel):
    id: Id
    filename: str
    duration: Seconds
    title: str
    artist: str
    licence: str
    source: str
    attribution: str = Field(description="A sentence to paste below a video; empty where the file says nothing.")
    peaks: list[float] = Field(description="Highest sample of stretches of equal length.")


class Sounds(BaseModel):
    sounds: list[Sound]


class Style(BaseModel):
    name: str
    words: str = Field(description="The words for the whole that it stands for.")
    fits: bool = Field(description="Whether it is among those that fit the picture best.")
    is_ready: bool


class Example(BaseModel):
    name: str
    title: str
    about: str


class Examples(BaseModel):
    examples: list[Example]


class UseExample(RequestBody):
    name: Literal["city", "landscape"]


class Styles(BaseModel):
    start: Seconds = Field(description="Where in the video their music lies.")
    model: str
    styles: list[Style]


class Analysis(BaseModel):
    duration: Seconds
    fps: float
    n_frames: int
    shots: list[dict[str, Any]]
    cuts: list[Seconds]
    flashes: list[Seconds]
    visual_beats: list[Seconds]
    visual_beat_strengths: list[float]
    camera_share: float
    is_static: bool
    curves_rate: float
    energy: list[float]
    motion: list[float]
    novelty: list[float]
    speech: list[float] | None
    original_lufs: float | None = None
    original_peaks: list[float] | None = None
    speech_spans: list[list[Seconds]] | None = Field(None, description="Where somebody speaks.")
    ducking: list[float] | None = Field(None, description="Share of the depth by which music is lowered under speech.")


class PlanSection(BaseModel):
    start: Seconds
    end: Seconds
    energy: float = 0.7
    text: str | None = None
    mood: dict[str, float] = {}
    picture: dict[str, float] = {}
    tempo: float | None = None
    locked: bool = False
    like: str | None = None
    like_at: Seconds | None = None


class PlanHit(BaseModel):
    time: Seconds
    strength: float = 1.0
    source: Literal["user", "picture"] = "user"


class PlanFit(BaseModel):
    on_beat: float | None
    on_beat_chance: float | None
    on_downbeat: float | None
    on_downbeat_chance: float | None


class Plan(BaseModel):
    version: int
    can_undo: bool
    can_redo: bool
    own_sections: list[int] = Field(description="Sections that planning again would drop: changed and not locked.")
    duration: Seconds
    seed: int
    text: str | None
    mood: str | None
    beats_per_bar: int
    tempo_map: list[TempoMark]
    sections: list[PlanSection]
    hits: list[PlanHit]
    energy_curve: list[tuple[float, float]]
    tempo: float
    beats: list[Seconds]
    downbeats: list[Seconds]
    heard: str
    unknown_words: list[str]
    fit: PlanFit


class PlanVersion(BaseModel):
    version: int
    made_at: float
    note: str


class PlanHistory(BaseModel):
    versions: list[PlanVersion]
    current: int


class Restore(RequestBody):
    version: Number


class Suggest(RequestBody):
    text: str | None = Field(None, max_length=2000)
    mood: str | None = Field(None, max_length=200)
    tempo: float | None = None
    hit: list[Seconds] = Field(default=[], max_length=1000)
    seed: Seed | None = None
    keep: bool = Field(True, description="Keep locked sections and own hits of the plan that is there.")


Moment = Annotated[float, Field(ge=0, le=MAX_SECONDS)]


class Span(RequestBody):
    """A span of a recording, s."""

    start: Moment
    end: Moment


class Join(RequestBody):
    """A place where a recording leaps, at `time` s of the picture, from one moment of it to another."""

    time: Moment
    source_from: Moment
    source_to: Moment
    state: Literal["free", "locked", "refused"] = "free"


class ArrangementEdit(RequestBody):
    """The limits of an arrangement: everything that its user has decided, and which one within them is meant."""

    kept: list[Span] = Field([], max_length=100, description="Spans of the recording that are played whole.")
    forbidden: list[Span] = Field([], max_length=100, description="Spans of the recording that are not heard.")
    joins: list[Join] = Field([], max_length=500, description="Locked ones are made, refused ones never.")
    begin: Moment | None = Field(None, description="Where the recording begins, s; null is the best place.")
    number: Annotated[int, Field(ge=0, le=LAST_NUMBER), BeforeValidator(whole)] | None = Field(
        None, description="The arrangement in this order, 0 the best; null changes what is there as little as can be."
    )
    held_begin: Moment = Field(0.0, description="Where the recording begins now, s.")

    def edit(self, music: MusicEdit) -> MusicEdit:
        """The edit of a recording in the form of the plan file. music: which recording it is."""
        kept, forbidden = (tuple((span.start, span.end) for span in spans) for spans in (self.kept, self.forbidden))
        joins = tuple(MusicJoin(**dict(join)) for join in sorted(self.joins, key=lambda join: join.time))
        return dataclasses.replace(music, kept=kept, forbidden=forbidden, joins=joins, begin=self.begin)

    def choice(self) -> dict[str, Any]:
        """Arguments of `FittingComposer.rearrange` beside the plan."""
        is_held = self.number is None
        return {"number": self.number or 0, "held_begin": self.held_begin if is_held else None}


class ArrangedPart(BaseModel):
    """A span of the recording, and where in the picture it is heard, s. rate: seconds of it for one of the picture."""

    start: Seconds
    end: Seconds
    source_start: Seconds
    source_end: Seconds
    rate: float


class Arrangement(BaseModel):
    kept: list[Span]
    forbidden: list[Span]
    joins: list[Join] = Field(description="Those that are made, and those that are refused, in order of time.")
    begin: Seconds | None
    parts: list[ArrangedPart]
    missed: list[Join] = Field(description="Locked joins that cannot be made together with the rest.")
    n_hits: int = Field(description="The user's own accents.")
    n_met: int = Field(description="Those of them that something in the music answers.")


class PlayedRecording(BaseModel):
    filename: str
    title: str
    artist: str
    licence: str
    attribution: str
    duration: Seconds
    tempo: float | None = Field(description="BPM; null for music without a steady beat.")
    marks: list[Seconds] = Field(description="Bar lines; without a steady beat, strong onsets. Joins lie on them.")
    beats: list[Seconds]
    beats_per_bar: int
    sung: list[Span]
    levels: list[float] = Field(description="Loudness of stretches of equal length, 0 to 1 for the loudest.")


class TakeArrangement(Arrangement):
    recording: PlayedRecording
    number: int = Field(description="Of the arrangement that the take began with, 0 the best.")


class NewJob(RequestBody):
    kind: Kind
    options: JobOptions = Field(
        default_factory=JobOptions, description="Options of composing and mixing; `mix` takes those of mixing."
    )
    variations: Variations = 1
    take: Id | None = None
    section: Number | None = None
    start: Seconds | None = Field(None, ge=0)
    end: Seconds | None = Field(None, ge=0)
    arrangement: ArrangementEdit | None = None


class Peaks(BaseModel):
    per_second: int
    min: list[float]
    max: list[float]
    shade: list[float] = Field([], description="How bright the music is there, 0 to 1.")
