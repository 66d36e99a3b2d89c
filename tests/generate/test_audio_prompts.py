"""Audio prompts: what is read first stays in view, what fits is chosen, and a recording of one's own is taken."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from openvmas.condition import AXES
from openvmas.errors import InputError, ModelError, OptionError, PlanError
from openvmas.files import write_npz
from openvmas.generate.audio_prompts import STEPS, AudioPrompt, Cue, PromptBank, condition_of, follow
from openvmas.generate.batch_decoder import HIDDEN, TURN_EVERY, Ring
from openvmas.generate.composer import ModelComposer
from openvmas.generate.recordings import pack, read_recording
from openvmas.generate.scorer import open_plan
from openvmas.media.audio import write_wav
from openvmas.planning.conditioning import build_condition
from openvmas.planning.plan_yaml import write_plan
from openvmas.planning.planner import make_plan
from openvmas.planning.schema import Section
from openvmas.pretrained import find_weights
from openvmas.settings import CONTROL_RATE, GenerateOptions, PlanOptions
from openvmas.studio.api.plan_routes import from_json
from openvmas.studio.api.schemas import JobOptions, check_options, describe_options
from openvmas.symbolic.composer import SymbolicComposer
from openvmas.timeline import Events
from tests.cli.test_cli import main
from tests.generate.made import export_debug, make_condition
from tests.planning.made import make_analysis

RATE = 32_000


def make_prompt(index: int, size: int = 64, n: int = 60, tempo: float = 120.0, axis: str = "rock") -> AudioPrompt:
    rng = np.random.default_rng(index)
    events = Events(CONTROL_RATE, *(rng.random((3, n)).astype(np.float32)))
    axes = np.zeros(len(AXES))
    axes[AXES.index(axis)] = 2.0
    beats = np.arange(0, n / 50, 60 / tempo) if tempo else np.zeros(0)
    codes = rng.integers(0, size, (4, n))
    return AudioPrompt(f"p{index}", codes, condition_of(events, beats, beats[::4], axes), tempo, axes, 0.5, "t", "CC0")


def write_bank(path: Path, prompts: list[AudioPrompt]) -> Path:
    rows = [
        {"name": p.name, "track": "t", "start": 1.0, "licence": p.licence, "tempo": p.tempo,
         "beats": list(p.condition.beats), "downbeats": list(p.condition.downbeats)}
        for p in prompts
    ]  # fmt: skip
    write_npz(path, pack(prompts, rows))
    return path


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> ModelComposer:
    return ModelComposer(find_weights(export_debug(tmp_path_factory.mktemp("debug"))))


def codes_of(
    composer: ModelComposer, audio: AudioPrompt | None, n: int = 120, later: tuple[Cue, ...] = (), **options: int
) -> np.ndarray:
    given = GenerateOptions(**{"candidates": 1, **options})
    cues = [] if audio is None else [Cue(0, audio), *later]
    return np.concatenate([part.codes for part in composer.write(make_condition(n), given, cues)], axis=1)


def rotated(keys: np.ndarray, position: int, frequency: np.ndarray) -> np.ndarray:
    a, b = np.split(keys, 2)
    cosine, sine = np.cos(position * frequency), np.sin(position * frequency)
    return np.concatenate([a * cosine - b * sine, a * sine + b * cosine])


def test_pinned_keys_travel_along_at_distances_of_the_window() -> None:
    rng, size, n, last = np.random.default_rng(0), 24, 8, 30
    frequency = 10_000.0 ** (-np.arange(2) / 2)
    keys, values = rng.normal(size=(200, 4)), rng.normal(size=(200, 4))
    ring = Ring([0], batch=1, groups=1, head_width=4, window=size + 1)

    def write(position: int) -> None:
        ring.write(
            position, rotated(keys[position], position, frequency)[None, None, None], values[position][None, None, None]
        )
        ring.turn(frequency)

    for position in range(last):
        write(position)
    ring.pin(n, last)
    assert np.allclose(ring.values[0, 0, 0, :n], values[last - n : last], atol=1e-6)
    for position in range(last, 150):
        write(position)
        if position - last < size - n:
            continue
        recent = {tuple(np.round(v, 4)) for v in ring.values[0, 0, 0, n:]}
        assert recent == {
            tuple(np.round(v.astype(np.float32), 4)) for v in values[position - (size - n) + 1 : position + 1]
        }
        assert np.allclose(ring.values[0, 0, 0, :n], values[last - n : last], atol=1e-6)
        # A pinned key is as if its step were `lag` steps later: right behind the others, or up to a turn farther away.
        lags = [
            lag for lag in range(200)
            if np.allclose(ring.keys[0, 0, 0, :, n - 1], rotated(keys[last - 1], last - 1 + lag, frequency), atol=1e-3)
        ]  # fmt: skip
        assert any(0 <= (position - (size - n)) - (last - 1 + lag) < TURN_EVERY for lag in lags)


def test_another_prompt_takes_the_place_of_the_first_in_every_piece() -> None:
    rng, size, n = np.random.default_rng(0), 24, 8
    frequency = 10_000.0 ** (-np.arange(2) / 2)
    keys, values = rng.normal(size=(2, 100, 4)), rng.normal(size=(2, 100, 4))

    def read(which: int, end: int, batch: int) -> Ring:
        ring = Ring([0], batch=batch, groups=1, head_width=4, window=size + 1)
        for position in range(end):
            key = rotated(keys[which, position], position, frequency)
            ring.write(position, np.tile(key, (1, batch, 1, 1)), np.tile(values[which, position], (1, batch, 1, 1)))
        ring.pin(n, end)
        return ring

    ring, other = read(0, 30, 4), read(1, 50, 2)
    for position in range(30, 77):
        ring.write(position, np.zeros((1, 4, 1, 4)), np.zeros((1, 4, 1, 4)))
        ring.turn(frequency)
    lag = ring._turned
    assert lag >= TURN_EVERY and np.allclose(ring.keys[0, 0, 0, :, n - 1], rotated(keys[0, 29], 29 + lag, frequency))
    ring.replace_pinned(other, 77, 50, frequency)
    for row in range(4):
        assert np.allclose(ring.keys[0, row, 0, :, n - 1], rotated(keys[1, 49], 29 + lag, frequency), atol=1e-3)
        assert np.allclose(ring.values[0, row, 0, :n], values[1, 42:50], atol=1e-6)


def test_sections_that_ask_for_something_else_have_another_prompt(composer: ModelComposer, tmp_path: Path) -> None:
    prompts = [make_prompt(i, axis=axis) for i, axis in enumerate(("rock", "rock", "ambient", "piano"))]
    for prompt, pitch in zip(prompts, (0, 7, 6, 0), strict=True):
        prompt.chroma[pitch] = 1.0
    bank = PromptBank(write_bank(tmp_path / "prompts.npz", prompts))
    words = ("rock", "rock", "piano", "rock", "piano")
    sections = tuple(Section(6.0 * i, 6.0 * i + 6, text=word) for i, word in enumerate(words))
    plan = dataclasses.replace(make_plan(make_analysis(30), PlanOptions()), sections=sections)
    found = bank.cues(plan, make_condition(1500), seed=0)
    assert [cue.step for cue in found] == [0, 600, 900, 1200]
    assert [cue.prompt.axes.argmax() for cue in found] == [AXES.index(words[i]) for i in (0, 2, 3, 4)]
    assert found[0].prompt is found[2].prompt and found[1].prompt is found[3].prompt, (
        "they come back with their sections"
    )
    tied = PromptBank(write_bank(tmp_path / "tied.npz", [prompts[0], *prompts[:2]]))
    chosen = [tied.choose({"rock": 2.0}, 120, 0.5, seed, before=prompts[1]).chroma.argmax() for seed in range(20)]
    assert set(chosen) == {7}, "in the key of what was there before"
    one, two = (
        codes_of(composer, prompts[0], n=500),
        codes_of(composer, prompts[0], n=500, later=(Cue(250, prompts[3]),)),
    )
    assert np.array_equal(one[:, :200], two[:, :200]) and not np.array_equal(one[:, 300:], two[:, 300:])


def test_pins_before_the_window_is_full() -> None:
    ring = Ring([0], batch=1, groups=1, head_width=2, window=11)
    for position in range(4):
        ring.write(position, np.full((1, 1, 1, 2), position + 1.0), np.full((1, 1, 1, 2), position + 1.0))
    ring.pin(3, 4)
    assert ring.values[0, 0, 0, :3, 0].tolist() == [2, 3, 4]
    assert (ring.mask[:3] == 0).all() and (ring.mask[3:] == HIDDEN).sum() == 6


def test_music_goes_on_from_its_prompt(composer: ModelComposer) -> None:
    audio, other = make_prompt(1), make_prompt(2)
    written = codes_of(composer, audio)
    assert written.shape == (4, 120)
    assert np.array_equal(written, codes_of(composer, audio))
    assert not np.array_equal(written, codes_of(composer, other))
    assert not np.array_equal(written, codes_of(composer, None))
    assert codes_of(composer, audio, candidates=3).shape == (4, 120)


def test_a_long_piece_still_knows_its_prompt(composer: ModelComposer) -> None:
    """With equal codes since, music after many windows differs by what is pinned alone."""
    one, two = (codes_of(composer, make_prompt(i), n=400) for i in (1, 2))
    assert not np.array_equal(one[:, -50:], two[:, -50:])


def test_the_bank_gives_back_what_was_packed(tmp_path: Path) -> None:
    prompts = [make_prompt(i, tempo=tempo) for i, tempo in enumerate((90.0, 0.0))]
    bank = PromptBank(write_bank(tmp_path / "prompts.npz", prompts))
    assert len(bank) == 2
    for found, packed in zip((bank[0], bank[1]), prompts, strict=True):
        assert np.array_equal(found.codes, packed.codes) and found.tempo == packed.tempo
        assert np.allclose(found.axes, packed.axes, atol=0.02)
        assert np.allclose(found.condition.events.accents, packed.condition.events.accents, atol=0.003)
        assert np.allclose(found.condition.beats, packed.condition.beats)
        assert np.isinf(found.condition.time_left).all()
    (tmp_path / "other.npz").write_bytes(b"no bank")
    with pytest.raises(ModelError, match="no bank of audio prompts"):
        PromptBank(tmp_path / "other.npz")


def test_what_was_asked_for_is_chosen(tmp_path: Path) -> None:
    kinds = ("rock", "ambient", "piano", "drums")
    prompts = [make_prompt(i, axis=kind, tempo=t) for i, (kind, t) in enumerate(itertools.product(kinds, (90, 127)))]
    bank = PromptBank(write_bank(tmp_path / "prompts.npz", prompts))
    for kind in kinds:
        best = bank[int(np.argmin(bank.distances({kind: 2.0}, 127, 0.5)))]
        assert best.axes[AXES.index(kind)] > 1.9 and best.tempo == 127
    half = bank[int(np.argmin(bank.distances({"rock": 2.0}, 45, 0.5)))]
    assert half.tempo == 90, "half the tempo is the same beat"
    condition = make_condition(200)
    assert bank.of(condition, 3).name == bank.of(condition, 3).name
    assert len({bank.of(condition, seed).name for seed in range(40)}) > 1


def test_the_bank_that_ships() -> None:
    weights = find_weights("mini")
    bank = PromptBank(weights.file("prompts"))
    assert len(bank) >= 300 and weights.file("prompts").stat().st_size < 3e6
    licences = {bank[i].licence for i in range(len(bank))}
    assert "" not in licences and not any("NC" in licence or "non" in licence.lower() for licence in licences)
    strongest = [float(np.sort(bank.axes[:, i])[-5]) for i in range(len(AXES))]
    assert min(strongest) > 1.0, "every axis has prompts for it"
    assert all(bank[i].codes.shape == (4, STEPS) and bank[i].codes.max() < 1024 for i in range(0, len(bank), 50))


def beating(seconds: float, bpm: float = 120.0) -> np.ndarray:
    """Drums and a chord, louder in the second half: [n] float32."""
    t = np.arange(int(seconds * RATE)) / RATE
    beat = np.exp(-20 * (t % (60 / bpm))) * np.sin(2 * np.pi * 90 * t)
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220, 277, 330)) / 6
    return ((0.4 * beat + 0.2 * chord) * np.where(t > seconds / 2, 1.0, 0.2)).astype(np.float32)


def test_a_recording_of_ones_own(tmp_path: Path) -> None:
    weights = find_weights("mini")
    write_wav(tmp_path / "mine.wav", beating(24.0)[None], RATE)
    whole = read_recording(tmp_path / "mine.wav", None, weights)
    assert whole.codes.shape[0] == 4 and whole.n_steps == STEPS
    assert float(whole.source.split(" at ")[1].split()[0]) > 8, "the fuller half"
    there = read_recording(tmp_path / "mine.wav", 3.0, weights)
    assert there.source == "mine.wav at 3.0 s" and 100 <= there.n_steps <= STEPS
    assert there.condition.n_steps == there.n_steps
    write_wav(tmp_path / "short.wav", beating(1.0)[None], RATE)
    write_wav(tmp_path / "silent.wav", np.zeros((1, 10 * RATE), np.float32), RATE)
    for name, at, sentence in (
        ("short.wav", None, "less than 2 s of sound"),
        ("mine.wav", 23.5, "less than 2 s of sound after 23.5 s"),
        ("silent.wav", None, "silent there"),
        ("missing.wav", None, "missing.wav"),
    ):
        with pytest.raises(InputError, match=sentence):
            read_recording(tmp_path / name, at, weights)


def test_no_music_is_copied_from_the_recording(tmp_path: Path) -> None:
    write_wav(tmp_path / "mine.wav", beating(24.0)[None], RATE)
    composer = ModelComposer(find_weights("mini"))
    options = GenerateOptions(candidates=1, like=str(tmp_path / "mine.wav"))
    condition = make_condition(500)
    (cue,) = composer.cues_for(condition, None, options)
    audio = cue.prompt
    codes = np.concatenate([part.codes for part in composer.write(condition, options, [cue])], axis=1)
    longest = 0
    for shift in range(-audio.n_steps + 1, codes.shape[1]):
        low, high = max(0, shift), min(codes.shape[1], shift + audio.n_steps)
        same = (codes[:, low:high] == audio.codes[:, low - shift : high - shift]).all(axis=0)
        runs = np.diff(np.flatnonzero(np.concatenate([[True], ~same, [True]])))
        longest = max(longest, int(runs.max()) - 1)
    assert longest <= 25, f"{longest / 50} s are the recording's own"


def test_the_report_names_the_prompt(tmp_path: Path, composer: ModelComposer) -> None:
    bank = write_bank(tmp_path / "prompts.npz", [make_prompt(i) for i in range(3)])
    weights = dataclasses.replace(composer.weights, files={**composer.weights.files, "prompts": bank})
    prompted = ModelComposer(weights)
    piece = prompted.compose(make_condition(100), None, GenerateOptions(candidates=1))
    for _ in piece:
        pass
    assert [cue["licence"] for cue in piece.report["audio_prompts"]] == ["CC0"]
    plain = prompted.compose(make_condition(100), None, GenerateOptions(candidates=1, no_prompt=True))
    for _ in plain:
        pass
    assert plain.report["audio_prompts"] == []


def test_a_section_of_a_plan_file_sounds_like_a_recording_beside_it(tmp_path: Path) -> None:
    write_wav(tmp_path / "mine.wav", beating(24.0)[None], RATE)
    plan = make_plan(make_analysis(30), PlanOptions())
    first, own = Section(0.0, 12.0), Section(12.0, 30.0, like="mine.wav", like_at=3.0)
    path = tmp_path / "clip.plan.yaml"
    path.write_text(write_plan(dataclasses.replace(plan, sections=(first, own))))
    read, condition = open_plan(path), make_condition(1500)
    assert read.sections[1].like == str(tmp_path / "mine.wav")
    mini, like = ModelComposer(find_weights("mini")), GenerateOptions(like=str(tmp_path / "mine.wav"))
    assert [(cue.step, cue.prompt.source) for cue in mini.cues_for(condition, read, GenerateOptions())][1:] == [
        (600, "mine.wav at 3.0 s")
    ]
    assert len(mini.cues_for(condition, read, like)) == 2, "one for the whole, another for the section"
    with pytest.raises(OptionError, match="cannot sound like a recording"):
        SymbolicComposer(find_weights("symbolic")).prepare(GenerateOptions(), read)
    sections = [{"start": s.start, "end": s.end, "like": s.like, "like_at": s.like_at} for s in read.sections]
    with pytest.raises(PlanError, match="there is no such recording here"):
        from_json({"sections": sections}, plan)  # a page may not name files of the server
    assert from_json({"sections": sections}, read).sections == read.sections


def test_the_decoder_is_told_what_the_prompt_is_unless_words_say_otherwise(tmp_path: Path) -> None:
    axes = np.linspace(-1, 1, len(AXES)).astype(np.float32)
    prompt = dataclasses.replace(make_prompt(0), axes=axes)
    words = ("", "happy")
    sections = tuple(Section(6.0 * i, 6.0 * i + 6, text=word or None) for i, word in enumerate(words))
    sections = (dataclasses.replace(sections[0], picture={"rock": 2.0}), sections[1])
    plan = dataclasses.replace(make_plan(make_analysis(12), PlanOptions()), sections=sections)
    condition = build_condition(plan)
    followed = follow(condition, plan, [Cue(0, prompt)]).semantics
    assert np.array_equal(followed[100], axes), "what the picture says has chosen the prompt and is said by it"
    named = list(plan.said(sections[1]))
    assert "happy" in named
    for i, axis in enumerate(AXES):
        assert followed[500, i] == (condition.semantics[500, i] if axis in named else axes[i]), axis
    unknown = dataclasses.replace(prompt, axes=np.full(len(AXES), np.nan))
    assert np.array_equal(follow(condition, plan, [Cue(0, unknown)]).semantics, condition.semantics, equal_nan=True)
    assert follow(condition, plan, []) is condition


def test_what_is_near_to_every_picture_is_not_chosen_for_all(tmp_path: Path) -> None:
    prompts = [make_prompt(i) for i in range(3)]
    bank = PromptBank(write_bank(tmp_path / "prompts.npz", prompts))
    plain = bank.nearness({}, 0, 0.5)
    bank.__dict__["popularity"] = np.array([0.0, 0.3, 0.0], np.float32)
    assert np.allclose(bank.nearness({}, 0, 0.5), plain - [0.0, 0.21, 0.0])
    shipped = ModelComposer(find_weights("mini")).bank
    assert shipped is not None
    assert shipped.popularity.std() > 0.1, "measured by tools/balance_prompts.py"


def test_who_cannot_sound_like_a_recording_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OptionError, match="cannot sound like a recording; give --model mini"):
        SymbolicComposer(find_weights("symbolic")).prepare(GenerateOptions(like="song.mp3"))
    assert main(["score", "examples/city.mp4", "--like", "missing.mp3", "--quiet"]) == 2
    assert "missing.mp3" in capsys.readouterr().err


@pytest.mark.parametrize("value", [True, False])
def test_a_page_may_leave_the_prompt_out_and_take_that_back(value: bool) -> None:
    assert check_options(JobOptions(no_prompt=value), ("generate",)) == {"no_prompt": value}


def test_a_page_cannot_name_files_of_the_server() -> None:
    names = {item.name for item in describe_options()}
    assert not {"like", "like_at"} & names and {"no_prompt", "temperature"} <= names
