import dataclasses
import threading
from fractions import Fraction

import numpy as np
import pytest
import torch

from openvmas.codec.stream import CodecStream
from openvmas.errors import ModelError, OptionError
from openvmas.generate.batch_decoder import CONDITION_CHUNK, Ring, plan_branches, sample
from openvmas.generate.composer import ModelComposer, Widener, finish
from openvmas.generate.steering import FIRST, LONGEST, SETTLED, SHORTEST, Measures, is_stuck, judge, plan_choices
from openvmas.pretrained import find_weights
from openvmas.processes.threads import ThreadPool
from openvmas.settings import GenerateOptions
from tests.generate.made import export_debug, make_condition, make_models


@pytest.fixture(scope="module")
def composer(tmp_path_factory) -> ModelComposer:
    return ModelComposer(find_weights(export_debug(tmp_path_factory.mktemp("debug"))))


def join(blocks) -> np.ndarray:
    return np.concatenate(list(blocks), axis=-1)


def test_music_is_as_long_as_the_condition_and_ends_in_silence(composer):
    wave = join(composer.compose(make_condition(230), None, GenerateOptions(candidates=1)))
    assert wave.shape == (2, 230 * 960) and wave.dtype == np.float32
    levels = np.sqrt(np.mean(wave.reshape(2, -1, 4800) ** 2, axis=(0, 2)))
    assert levels[-1] < 0.02 * levels[: len(levels) // 2].mean()  # the last tenth of a second
    assert levels[-12] > 0.1 * levels[: len(levels) // 2].mean()  # but it does not stop early


def test_first_blocks_come_before_the_rest_is_written(composer):
    blocks = composer.compose(make_condition(100_000), None, GenerateOptions(candidates=1))
    assert 0.2 < next(blocks).shape[1] / 48_000 < 2


def test_same_seed_same_music_and_another_seed_another(composer):
    condition = make_condition(120)
    first, again, other = (
        join(composer.compose(condition, None, GenerateOptions(candidates=1, seed=seed))) for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_codes_come_once_each_whatever_the_number_of_candidates(composer):
    condition = make_condition(420)
    for candidates in (1, 3):
        codes = join(segment.codes for segment in composer.write(condition, GenerateOptions(candidates=candidates)))
        assert codes.shape == (4, 420) and codes.min() >= 0 and codes.max() < 64


def test_the_best_continuation_is_kept_and_the_report_says_so(composer):
    piece = composer.compose(make_condition(420), None, GenerateOptions(candidates=3))
    wave, report = join(piece), piece.report
    assert wave.shape[1] == 420 * 960
    assert report["candidates"] == 3 and len(report["choices"]) >= 3
    for choice in report["choices"]:
        assert choice["values"][choice["chosen"]] == max(choice["values"])
    assert f"{len(report['choices'])} times the best of 3" in report["reason"]


def test_all_candidates_go_on_from_the_winner():
    ring = Ring([0, 1], batch=6, groups=1, head_width=2, window=4)
    ring.keys[:] = np.arange(6)[None, :, None, None, None]
    ring.mask[1] = 0
    taken = ring.take([2, 2, 5])
    assert taken.keys[0, :, 0, 0, 0].tolist() == [2, 2, 5] and taken.mask.tolist() == ring.mask.tolist()
    taken.write(0, np.ones((2, 3, 1, 2)), np.ones((2, 3, 1, 2)))
    assert ring.keys[0, :, 0, 0, 0].tolist() == [*range(6)] and ring.mask[0] < 0, "what it was taken from is left alone"


def test_music_does_not_depend_on_how_many_threads_write_it(composer):
    options = GenerateOptions(candidates=3, guidance=2.0, event_guidance=3.0)  # three branches
    written = []
    for n in (1, 2, 3):
        composer.threads = ThreadPool(n)
        written.append(join(segment.codes for segment in composer.write(make_condition(300), options)))
    assert np.array_equal(written[0], written[1]) and np.array_equal(written[0], written[2])


def test_work_is_shared_out_in_order(monkeypatch):
    together = threading.Barrier(3)

    def work(x: int) -> int:
        together.wait(timeout=30)
        return -x

    assert ThreadPool(3).map(work, range(3)) == [0, -1, -2]
    monkeypatch.setenv("OPENVMAS_THREADS", "5")
    assert ThreadPool().n == 5
    monkeypatch.setenv("OPENVMAS_THREADS", "many")
    with pytest.raises(OptionError, match="OPENVMAS_THREADS is 'many'; set it to a whole number"):
        ThreadPool()


def test_choices_keep_away_from_accents():
    condition = make_condition(2000)
    accents = np.flatnonzero(condition.events.accents)
    choices = plan_choices(condition)
    gaps = np.diff([0, *choices])
    bounds = [*FIRST, *[(SHORTEST, LONGEST)] * (len(gaps) - len(FIRST))]
    assert all(low <= gap <= high for gap, (low, high) in zip(gaps, bounds, strict=True))
    since = [c - accents[accents <= c].max() for c in choices]
    assert min(since) >= SETTLED


def test_judgement_prefers_onsets_on_time_and_the_level_asked():
    condition = make_condition(300)  # accents every 0.8 s
    rate = 32_000
    time = np.arange(4 * rate) / rate
    tone = 0.05 * np.sin(2 * np.pi * 300 * time)

    def clicks(offset: float) -> np.ndarray:
        wave = tone.copy()
        for start in np.arange(offset, 3.9, 0.8):
            at = round(start * rate)
            wave[at : at + 1500] += 0.5 * np.random.default_rng(1).standard_normal(min(1500, len(wave) - at))
        return wave.astype(np.float32)

    codes = np.arange(100)
    level = 20 * np.log10(np.std(clicks(0.0)[rate:]))
    level -= 22 * (0.6 - 0.73)  # what the mean level is when this energy of 0.6 sounds as loud as that
    on_time, late = (judge(clicks(o), codes, rate, 1.0, 0.0, condition, level) for o in (0.0, 0.33))
    assert on_time.accents > late.accents + 1
    assert abs(on_time.level_error) < 2 and on_time.failures == ()
    quiet = judge(0.03 * clicks(0.0), codes, rate, 1.0, 0.0, condition, level)
    assert quiet.value < on_time.value and quiet.level_error < -20
    assert judge(0 * clicks(0.0), codes, rate, 1.0, 0.0, condition, level).failures == ("silent",)
    assert judge(clicks(0.0), 0 * codes, rate, 1.0, 0.0, condition, level).failures == ("stuck",)


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_codec_stream_equals_decoding_at_once(composer, chunk):
    codes = np.random.default_rng(0).integers(0, 64, (4, 133))
    stream = CodecStream(composer.engine)
    parts = [stream.push(codes[:, i : i + chunk]) for i in range(0, 133, chunk)]
    parts.append(stream.push(codes[:, :0], is_last=True))
    whole = CodecStream(composer.engine).push(codes, is_last=True)
    assert np.allclose(np.concatenate(parts), whole, atol=1e-5 * np.abs(whole).max())
    codec, _ = make_models()
    with torch.no_grad():
        expected = codec.decode(torch.from_numpy(codes[None]))[0].numpy()
    assert np.abs(whole - expected).max() < 0.03 * np.abs(expected).max()  # 8-bit weights


def test_engine_and_pytorch_give_the_same_logits(composer):
    _, decoder = make_models()
    engine = composer.engine
    condition = make_condition(80)
    vectors = np.concatenate(list(engine.encode_condition(condition, True, True)))
    curves, semantics = (torch.from_numpy(x[None]) for x in (condition.encode_curves(), condition.encode_semantics()))
    with torch.no_grad():
        expected = decoder.condition(curves, semantics, torch.ones(1), torch.ones(1))
    assert np.allclose(vectors, expected[0].numpy(), atol=1e-4)
    tokens = torch.randint(0, 64, (1, 4, 80))
    with torch.no_grad():
        whole = decoder(tokens, expected).numpy()
    state, last = engine.start(1), np.full((1, 4), 64, np.int64)
    for step in range(80):
        logits = engine.step(state, last, vectors[step : step + 1])
        assert np.abs(logits[0] - whole[0, :, step]).max() < 0.08 * np.abs(whole).max()  # 8-bit weights
        last = tokens[:, :, step].numpy()


def test_condition_is_encoded_in_chunks_without_seams(composer):
    condition = make_condition(CONDITION_CHUNK + 300)
    chunks = np.concatenate(list(composer.engine.encode_condition(condition, True, True)))
    _, decoder = make_models()
    curves, semantics = (torch.from_numpy(x[None]) for x in (condition.encode_curves(), condition.encode_semantics()))
    with torch.no_grad():
        whole = decoder.condition(curves, semantics, torch.ones(1), torch.ones(1))[0].numpy()
    assert np.allclose(chunks, whole, atol=1e-4)


def test_a_condition_on_another_clock_is_refused(composer):
    condition = make_condition(50)
    slow = dataclasses.replace(condition, events=dataclasses.replace(condition.events, rate=Fraction(25)))
    with pytest.raises(ModelError, match="50 steps per second"):
        next(composer.compose(slow, None, GenerateOptions()))


@pytest.mark.parametrize(
    ("event_guidance", "guidance", "names"),
    [
        (1, 1, ["full"]),
        (2, 1, ["full", "no events"]),
        (0, 1, ["no events"]),
        (2, 3, ["full", "no events", "no meaning"]),
        (3, 3, ["full", "neither"]),
    ],
)
def test_guidance_runs_no_branch_in_vain(event_guidance, guidance, names):
    branches = plan_branches(GenerateOptions(event_guidance=event_guidance, guidance=guidance))
    names_of = {
        (True, True): "full",
        (False, True): "no events",
        (True, False): "no meaning",
        (False, False): "neither",
    }
    found = [names_of[b.use_events, b.use_meaning] for b in branches]
    assert found == names
    assert sum(b.weight for b in branches) == pytest.approx(1)


def test_sampling_follows_the_distribution_and_its_limits():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))[None, None].repeat(4000, axis=1)
    generators = [np.random.default_rng(0)]
    free = sample(logits, GenerateOptions(temperature=1, top_k=0, top_p=1), generators)[0]
    assert np.bincount(free, minlength=4) / 4000 == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    two = sample(logits, GenerateOptions(temperature=1, top_k=2, top_p=1), generators)[0]
    assert np.bincount(two, minlength=4) / 4000 == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    nucleus = sample(logits, GenerateOptions(temperature=1, top_k=0, top_p=0.75), generators)[0]
    assert set(nucleus) == {0, 1}  # the smallest set with at least 0.75
    cold = sample(logits, GenerateOptions(temperature=0.1, top_k=0, top_p=1), generators)[0]
    assert np.mean(cold == 0) > 0.98


def test_widening_keeps_the_mono_sum_and_the_bass_in_the_middle():
    mono = np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    widener = Widener()
    stereo = np.concatenate([widener.push(part) for part in np.split(mono, [7, 5000, 5001])], axis=1)
    assert np.allclose(stereo.sum(0) / 2, mono, atol=1e-5)
    assert np.allclose(stereo, Widener().push(mono), atol=1e-5)
    assert 0.05 < np.std(stereo[0] - stereo[1]) / np.std(stereo.sum(0)) < 1
    side = np.abs(np.fft.rfft(stereo[0] - stereo[1])) / np.abs(np.fft.rfft(stereo.sum(0)))
    assert side[20:100].mean() < 0.1 * side[1000:10000].mean()


def test_finish_resamples_and_dies_away():
    time = np.arange(32_000 * 4) / 32_000
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    stereo = join(finish(iter(np.split(tone, 8)), make_condition(200), 32_000))
    assert stereo.shape == (2, 4 * 48_000)
    middle = stereo.sum(0)[48_000:96_000] / 2
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440
    assert np.abs(stereo[:, -100:]).max() < 1e-3
    condition = dataclasses.replace(make_condition(200), time_left=np.full(200, np.inf))
    straight = join(finish(iter([tone]), condition, 32_000))
    assert np.abs(straight[:, -4800:]).max() > 0.5


def test_gates_name_what_is_wrong():
    assert Measures(-18, 0.9, 0.0, 0.0, 3.0, 0.5).failures == []
    assert Measures(-60, 0.9, 0.9, 0.0, 9.0, 0.5).failures == ["silent"]
    assert Measures(-18, 0.9, 0.0, 0.8, 9.0, 0.5).failures == ["stuck"]
    assert is_stuck(np.zeros(60)) and not is_stuck(np.arange(60))
