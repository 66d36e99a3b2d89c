"""Music that another program or server writes to a request made from the plan, judged, then fitted like a recording.

The contract is a TOML file (docs/fitting.md), or a folder with MusicGen's weights; none of these programs or their
weights come with OpenVMAS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import AXES, FEELING_AXES, INSTRUMENT_AXES, STYLE_AXES, Condition
from openvmas.errors import InputError, ModelError, OptionError
from openvmas.files import atomic_path, cache_folder
from openvmas.fitting.composer import Recording, fit
from openvmas.fitting.library import asked_axes
from openvmas.fitting.track import Track, digest
from openvmas.fitting.wishes import Wishes
from openvmas.generate.piece import Composer, Piece
from openvmas.media.audio import read_audio, write_wav
from openvmas.music.onsets import onset_strength
from openvmas.planning.schema import ScorePlan
from openvmas.pretrained import Weights, find_weights
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions, option, read_table, read_toml
from openvmas.symbolic.harmony import Key, fit_mode
from openvmas.symbolic.notes import PITCH_NAMES

LONGER = 1.3  # length that is asked, of the picture's
NAMED = 0.4  # value of an axis from which its word is in the caption
TRIALS = 3  # requests, the first included, until something usable comes
CLIPPED = 0.002  # share of samples at full scale that is heard
DYING_DB = 12.0  # fall from the first half to the second, without the last tenth
TEMPO_OFF = 0.06  # share that the tempo may be off the grid's, or its half or double
STUCK = 0.995  # correlation of one second with the next all through, from which music hangs


@dataclass(frozen=True)
class Generator:
    """A program or a server that writes music. Words in braces are filled in from the request."""

    kind: str = option("command", "How music is asked for.", choices=("command", "http", "musicgen"))
    program: tuple[str, ...] = option(tuple, "Command: the program and its arguments.")
    url: str | None = option(None, "Http: where the request is sent.")
    body: str | None = option(None, "Http: the request, as JSON.")
    audio: str = option("response", "Http: where the sound is: `response`, or the dotted name of base64 or a URL.")
    job: str | None = option(None, "Http: dotted name, in the first answer, of the job that is then asked for.")
    poll: str | None = option(None, "Http: where to ask for the job, with {job}, until it is done.")
    poll_body: str | None = option(None, "Http: what is sent there, as JSON with {job}; a GET if left out.")
    status: str = option("status", "Http: dotted name of the job's state in these answers.")
    done: tuple[str, ...] = option(lambda: ("succeeded",), "Http: states in which the sound is there.")
    failed: tuple[str, ...] = option(lambda: ("failed",), "Http: states in which it never will be.")
    every: float = option(2.0, "Http: time between two questions, s.", min=0.05, max=600)
    folder: str | None = option(None, "Musicgen: the folder with its weights, as transformers saves them.")
    guidance: float = option(3.0, "Musicgen: how strongly it follows the caption.", min=0, max=30)
    seconds: float = option(900.0, "Command and http: time limit for one request, s.", min=1, max=86_400)
    retries: int = option(1, "Http: how often a request that failed is sent again.", min=0, max=10)
    name: str = option("another generator", "Name in reports.")
    licence: str = option("not stated", "Licence of what it writes, for reports.")


@dataclass(frozen=True)
class Request:
    """A request: a caption, the length in s, tempo in BPM, key as "A minor", seed, and perhaps a sketch to follow.

    like: a recording that is to be gone on from, with its SHA-256; only MusicGen's folder is given it.
    """

    text: str
    seconds: float
    tempo: float
    key: str
    seed: int
    sketch: str = ""
    like: tuple[str, str] | None = None

    def fill(self, text: str, out: str) -> str:
        """The text with every {word} that is known replaced."""
        words = {
            "text": self.text, "seconds": f"{self.seconds:g}", "tempo": f"{self.tempo:.0f}", "key": self.key,
            "seed": str(self.seed), "sketch": self.sketch, "out": out,
        }  # fmt: skip
        for word, value in words.items():
            text = text.replace("{" + word + "}", value)
        return text


def open_generator(path: Path) -> Generator:
    """The contract in a TOML file. Raises InputError, OptionError."""
    found = read_table(Generator, read_toml(path, "the contract of a generator in TOML"), str(path))
    if found.kind == "command" and not any("{out}" in part for part in found.program):
        raise OptionError(f"{path}: program must be a list of arguments with {{out}}, the file that it writes.")
    if found.kind == "http" and not (found.url and found.url.startswith(("http://", "https://"))):
        raise OptionError(f"{path}: url must begin with http:// or https://, not {found.url!r}.")
    if found.kind == "musicgen" and not found.folder:
        raise OptionError(f"{path}: folder must be the one with MusicGen's weights.")
    if found.kind == "http":
        for name in ("body", "poll_body"):
            try:
                json.loads(getattr(found, name) or "{}")
            except ValueError as error:
                raise OptionError(f"{path}: {name} is not JSON ({error}); correct it.") from error
        if (found.job is None) != (found.poll is None):
            raise OptionError(f"{path}: job and poll belong together; give both, or neither for a server that waits.")
    return found


def write_caption(plan: ScorePlan | None) -> str:
    """A caption in the order that such models were trained on: genre, mood, instruments, tempo."""
    if plan is None:
        return "instrumental music"
    asked = asked_axes(plan)
    value: dict[str, float] = {axis: float(number) for axis, number in zip(AXES, asked, strict=True)}
    words = []
    for axes in (STYLE_AXES, FEELING_AXES, INSTRUMENT_AXES):
        named = sorted((axis for axis in axes if value[axis] >= NAMED), key=lambda axis: -value[axis])[:3]
        words += [axis.replace("_", "-") for axis in named]
    if abs(value["valence"]) >= NAMED:
        words.append("uplifting" if value["valence"] > 0 else "dark")
    if abs(value["arousal"]) >= NAMED:
        words.append("energetic" if value["arousal"] > 0 else "calm")
    own = [text for text in (plan.text, plan.mood) if text]
    words = [*own, *words, "instrumental"]
    if plan.tempo:
        words.append(f"{plan.tempo:.0f} BPM")
    return ", ".join(dict.fromkeys(words))


class GeneratedMusic(Composer):
    """Asks a generator for music and fits it; what came for the same request is kept in the cache."""

    plays_recordings = True

    def __init__(self, path: Path) -> None:
        """path: a contract (TOML), or a folder with MusicGen's weights. Raises InputError, OptionError, ModelError."""
        self.path = path
        is_folder = path.is_dir()
        self.generator = Generator("musicgen", folder=str(path), name=path.name) if is_folder else open_generator(path)
        self._content = (path / "config.json" if is_folder else path).read_bytes()
        sha256 = hashlib.sha256(self._content).hexdigest()
        self.weights = Weights(self.generator.name, "1", self.generator.licence, path.parent, {}, sha256)

    def prepare(self, options: GenerateOptions, plan: ScorePlan | None = None) -> None:
        """Only MusicGen can go on from a recording. Raises InputError, OptionError."""
        if self.generator.kind != "musicgen":
            super().prepare(options, plan)
        elif options.like is not None:
            read_audio(options.like)

    def compose(self, condition: Condition, plan: ScorePlan | None, options: GenerateOptions) -> Piece:
        """A piece from the first answer that is usable. Raises ModelError where none is."""
        wishes = Wishes.of_condition(condition) if plan is None else Wishes.of_plan(plan, condition.speech)
        tempo = plan.tempo if plan is not None else 0.0
        like = (str(options.like), digest(options.like)) if options.like else None
        request = Request(
            write_caption(plan), round(LONGER * float(wishes.duration), 1), tempo, choose_key(plan, options.seed),
            options.seed,
            like=like,
        )  # fmt: skip
        said: list[str] = []
        for trial in range(TRIALS):
            asked = replace(request, seed=(options.seed + 1000 * trial) % 2**31)
            sound = self._sound(asked, condition, plan)
            recording = Recording.open(sound)
            fault = judge(sound, recording.track, asked)
            if not fault:
                piece = fit(recording, wishes)
                piece.report["generator"] = {
                    "name": self.generator.name, "text": asked.text, "key": asked.key, "seed": asked.seed,
                    "asked_again": said,
                }  # fmt: skip
                return piece
            said.append(fault)
        raise ModelError(
            f"{self.generator.name} gave nothing usable in {TRIALS} trials ({'; '.join(said)}); "
            f"change its request in {self.path}, or leave out --music-from."
        )

    def _sound(self, request: Request, condition: Condition, plan: ScorePlan | None) -> Path:
        """The file of an answer, asked for if there is none yet."""
        parts = [self._content.decode("utf-8", "replace"), repr(request)]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
        target = cache_folder() / "generated" / f"{key}.wav"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target, ".wav") as hidden:
                if any("{sketch}" in part for part in (*self.generator.program, self.generator.body or "")):
                    sketch = hidden.with_suffix(".sketch.wav")
                    key = write_sketch(sketch, condition, plan, request.seed)
                    try:
                        self._ask(replace(request, sketch=str(sketch), key=key), hidden)
                    finally:
                        sketch.unlink(missing_ok=True)
                else:
                    self._ask(request, hidden)
        return target

    def _ask(self, request: Request, out: Path) -> None:
        ask: dict[str, Callable[[Generator, Request, Path], None]] = {
            "command": run_program, "http": send_request, "musicgen": run_musicgen
        }  # fmt: skip
        ask[self.generator.kind](self.generator, request, out)


def choose_key(plan: ScorePlan | None, seed: int) -> str:
    """A key for the plan's mood, major or minor, as "A minor"; another seed may give another one."""
    asked = np.zeros(len(AXES)) if plan is None else asked_axes(plan)
    rng = np.random.default_rng(seed)
    mode = fit_mode({axis: float(value) for axis, value in zip(AXES, asked, strict=True)}, rng)
    return plain_key(Key(int(rng.integers(12)), mode))


def plain_key(key: Key) -> str:
    """A key as generators know it: major or minor, whatever its mode."""
    return f"{PITCH_NAMES[key.tonic]} {'minor' if key.is_minor else 'major'}"


def write_sketch(path: Path, condition: Condition, plan: ScorePlan | None, seed: int) -> str:
    """Write a rendering of the composer by rule, for generators that follow one. Returns its key."""
    from openvmas.symbolic.composer import SymbolicComposer

    piece = SymbolicComposer(find_weights("symbolic")).compose(condition, plan, GenerateOptions(seed=seed))
    write_wav(path, piece, SAMPLE_RATE_OUT)
    tonic, _, mode = str(piece.report["key"]).partition(" ")
    return plain_key(Key(PITCH_NAMES.index(tonic), mode)) if tonic else ""


def run_program(generator: Generator, request: Request, out: Path) -> None:
    """Run a program that writes `out`. Raises ModelError."""
    command = [request.fill(part, str(out)) for part in generator.program]
    try:
        done = subprocess.run(command, capture_output=True, timeout=generator.seconds, check=False)
    except OSError as error:
        raise ModelError(
            f"{command[0]} cannot be run ({error.strerror}); correct `program` of {generator.name}."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{generator.name} took longer than {generator.seconds:g} s; raise `seconds` of its contract."
        ) from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ModelError(
            f"{generator.name} failed with code {done.returncode} ({lines[-1] if lines else 'it said nothing'}); "
            "run its program by hand."
        )
    if not out.is_file() or not out.stat().st_size:
        raise ModelError(f"{generator.name} wrote no sound to {{out}}; correct `program` of its contract.")


def run_musicgen(generator: Generator, request: Request, out: Path) -> None:
    """Let MusicGen in a folder write `out` through `transformers`. Raises ModelError, InputError."""
    from openvmas.hub.musicgen_writer import MusicGenWriter  # needs PyTorch

    start = read_audio(request.like[0]) if request.like else None
    writer = MusicGenWriter(str(generator.folder))
    made = writer.write(request.text, request.seconds, request.seed, generator.guidance, start)
    write_wav(out, made.wave, made.sample_rate)


def send_request(generator: Generator, request: Request, out: Path) -> None:
    """Send a request to a server and write the sound of its answer to `out`. Raises ModelError."""
    body = json.dumps(_filled(json.loads(generator.body or "{}"), request, str(out))).encode()
    answer = _fetch(generator, str(generator.url), body)
    if generator.poll is not None:
        answer = _wait(generator, str(_named(generator, answer, str(generator.job))))
    if generator.audio != "response":
        value = _named(generator, answer, generator.audio)
        if not isinstance(value, str):
            raise ModelError(f"{generator.audio} of {generator.name} is no text; correct `audio` of its contract.")
        if value.startswith(("http://", "https://", "/")):
            answer = _fetch(generator, urllib.parse.urljoin(str(generator.url), value), None)
        else:
            try:
                answer = base64.b64decode(value.partition("base64,")[2] or value, validate=True)
            except binascii.Error as error:
                raise ModelError(f"{generator.audio} of {generator.name} is neither base64 nor a URL.") from error
    out.write_bytes(answer)


def _named(generator: Generator, answer: bytes, path: str) -> Any:
    """The value with a dotted name in an answer; a text that is JSON itself is looked into."""
    try:
        value: Any = json.loads(answer)
        for name in path.split("."):
            value = json.loads(value) if isinstance(value, str) else value
            value = value[int(name)] if isinstance(value, list) else value[name]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError(f"the answer of {generator.name} has no {path}; correct its contract.") from error
    return value


def _wait(generator: Generator, job: str) -> bytes:
    """Ask for a job until it is done, and return the last answer. Raises ModelError."""
    url = str(generator.poll).replace("{job}", urllib.parse.quote(job, safe=""))
    body = generator.poll_body and generator.poll_body.replace("{job}", json.dumps(job)[1:-1]).encode()
    end = time.monotonic() + generator.seconds
    while time.monotonic() < end:
        answer = _fetch(generator, url, body or None)
        status = str(_named(generator, answer, generator.status))
        if status in generator.done:
            return answer
        if status in generator.failed:
            raise ModelError(f"{generator.name} says of its work: {status}; see what its server printed.")
        time.sleep(generator.every)
    raise ModelError(f"{generator.name} took longer than {generator.seconds:g} s; raise `seconds` of its contract.")


def _filled(value: Any, request: Request, out: str) -> Any:
    """A JSON value with its texts filled; a text that was nothing but a number's place becomes the number."""
    if isinstance(value, dict):
        return {key: _filled(part, request, out) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, request, out) for part in value]
    if value in ("{seconds}", "{tempo}", "{seed}"):
        return json.loads(request.fill(value, out))
    return request.fill(value, out) if isinstance(value, str) else value


def _fetch(generator: Generator, url: str, body: bytes | None) -> bytes:
    last = ""
    for _ in range(generator.retries + 1):
        sent = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body is not None else {})
        try:
            with urllib.request.urlopen(sent, timeout=generator.seconds) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            last = f"it answered {error.code} {error.reason}"
        except (OSError, ValueError) as error:
            last = str(getattr(error, "reason", error))
    raise ModelError(f"{generator.name} at {url} gave nothing ({last}); see whether its server runs.")


def judge(path: Path, track: Track, request: Request) -> str:
    """The fault that makes a sound unusable, or "": silence is refused when it is heard."""
    wave = read_audio(path, 24_000).wave
    if float((np.abs(wave) >= 0.999).mean()) > CLIPPED:
        return "it was clipped"
    if track.end - track.start < 0.5 * request.seconds:
        return f"only {track.end - track.start:.0f} of {request.seconds:.0f} s had sound"
    level = track.energy[: max(2, int(len(track.energy) * 0.9))]
    half = len(level) // 2
    if level[:half].mean() - level[half:].mean() > DYING_DB:
        return "it died away"
    strength = onset_strength(wave, 24_000)
    seconds = strength[: len(strength) // 100 * 100].reshape(-1, 100)
    if len(seconds) > 4:
        pairs = [np.corrcoef(a, b)[0, 1] for a, b in itertools.pairwise(seconds) if a.std() and b.std()]
        if pairs and float(np.median(pairs)) > STUCK:
            return "it hung in a loop of a second"
    if request.tempo and not track.is_free and track.tempo:
        octaves = np.log2(track.tempo / request.tempo)
        if abs(octaves - np.rint(octaves)) > np.log2(1 + TEMPO_OFF):
            return f"its tempo was {track.tempo:.0f} instead of {request.tempo:.0f} BPM"
    return ""


def check_musicgen(folder: Path) -> None:
    """Raises InputError for a folder that is not MusicGen's."""
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = "no kind that is known"
    if kind != "musicgen":
        raise InputError(
            f"{folder} holds a model of {kind}; --music-from takes a folder of MusicGen, or a generator's TOML file."
        )


def open_contract(name: str) -> GeneratedMusic:
    """The generator of a TOML file, or of a folder with MusicGen's weights. Raises InputError."""
    path = Path(name)
    if not path.exists():
        raise InputError(f"{name} is not there; give --music-from the TOML file of a generator (docs/fitting.md).")
    if path.is_dir():
        check_musicgen(path)
    return GeneratedMusic(path)
