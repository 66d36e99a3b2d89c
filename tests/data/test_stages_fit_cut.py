"""Agreement of events, the door for a contrastive model, and cutting into clips."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import SAMPLE_RATE, Media
from openvmas.data.stages.cut import Cut, choose_borders, find_borders
from openvmas.data.stages.fit import Fit, load_similarity
from openvmas.data.stages.sound import Sounds
from openvmas.errors import ModelError
from openvmas.music.analysis import MusicAnalysis
from openvmas.timeline import Clock, Events
from tests.data.made_media import make_media, make_record, make_seen


def clicks(times: np.ndarray, duration: float) -> np.ndarray:
    """Short bursts over a soft tone: [L] float32."""
    wave = 0.02 * np.sin(2 * np.pi * 220 * np.arange(round(duration * SAMPLE_RATE)) / SAMPLE_RATE)
    decay = np.exp(-np.arange(2000) / 400) * np.random.default_rng(0).standard_normal(2000)
    for time in times:
        first = round(time * SAMPLE_RATE)
        wave[first : first + 2000] += 0.4 * decay[: len(wave) - first]
    return wave.astype(np.float32)


@pytest.fixture(scope="module")
def paired() -> Media:
    """20 s cut on irregular accents of its sound."""
    times = np.cumsum(np.random.default_rng(5).uniform(0.5, 1.6, 17))
    return pair(clicks(times, 20.0), times)


def pair(wave: np.ndarray, beats: np.ndarray) -> Media:
    return make_media(make_record(), 20.0, audio=wave, video=make_seen(20.0, cuts=tuple(beats)))


def z_of(media: Media) -> float:
    result = Fit(min_sync_z=-100)(media.record, media)
    assert isinstance(result, Record)
    return result.facts["fit.z"]


def test_a_picture_cut_on_its_sound_passes_and_under_other_sound_does_not(paired: Media) -> None:
    result = Fit(is_refused=True)(paired.record, paired)
    assert isinstance(result, Record) and result.facts["fit.z"] > 3 and result.facts["fit.n_beats"] == 17
    refused = 0
    for seed in range(10):
        times = np.cumsum(np.random.default_rng(100 + seed).uniform(0.5, 1.6, 17))
        media = pair(clicks(times, 20.0), paired.video().visual_beats)
        refused += isinstance(Fit(is_refused=True)(media.record, media), Drop)
        marked = Fit()(media.record, media)  # what is refused by a measure cannot be judged by it: by default it stays
        assert isinstance(marked, Record) and marked.facts["fit.agrees"] == (marked.facts["fit.z"] >= 1.45)
    assert refused >= 8  # bare clicks agree by chance more often than music does


def test_shifted_sound_does_not_agree(paired: Media) -> None:
    shifted = pair(np.roll(paired.audio(), round(0.35 * SAMPLE_RATE)), paired.video().visual_beats)
    assert z_of(shifted) < 1.45 < z_of(paired)


def test_pictures_with_few_events_are_undecided() -> None:
    media = pair(clicks(np.arange(1.0, 19.0), 20.0), np.array([3.3, 9.1]))
    assert isinstance(Fit()(media.record, media), Record)
    result = Fit(keep_undecided=False)(media.record, media)
    assert isinstance(result, Drop) and result.reason == "too few events"


def loud_is_alike(features: np.ndarray, times: np.ndarray, wave: np.ndarray, sample_rate: int) -> float:
    """Stands for a contrastive model: the share of loud samples."""
    assert features.dtype == np.float32 and features.shape == (len(times), 1280) and sample_rate == SAMPLE_RATE
    return float((np.abs(wave) > 0.1).mean())


def test_a_model_from_python_decides(paired: Media) -> None:
    name = f"{__name__}:loud_is_alike"
    found = Fit(model=name)(paired.record, paired)
    assert isinstance(found, Record)
    assert found.facts["fit.similarity"] == pytest.approx((np.abs(paired.audio()) > 0.1).mean(), abs=1e-4)
    refused = Fit(model=name, min_similarity=0.9)(paired.record, paired)
    assert isinstance(refused, Drop) and refused.reason == "does not fit"


def save_graph(path: Path, inputs: tuple[str, str]) -> Path:
    """A graph that gives the mean of the features plus the mean of the wave."""
    shapes = [[1, "F", 1280], [1, "L"]]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(inputs, shapes, strict=True)
    ]
    nodes = [helper.make_node("ReduceMean", [name], [f"mean_{name}"], keepdims=0) for name in inputs]
    nodes.append(helper.make_node("Add", [f"mean_{name}" for name in inputs], ["similarity"]))
    output = helper.make_tensor_value_info("similarity", TensorProto.FLOAT, [])
    graph = helper.make_graph(nodes, "fit", values, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_model_from_onnx_decides(tmp_path: Path, paired: Media) -> None:
    model = str(save_graph(tmp_path / "fit.onnx", ("features", "wave")))
    found = Fit(model=model, min_similarity=-1)(paired.record, paired)
    assert isinstance(found, Record)
    expected = paired.video().features.astype(np.float32).mean() + paired.audio().mean()
    assert found.facts["fit.similarity"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("model", "message"),
    [("nowhere.onnx", "there is no model"), ("no.such.module:fit", "cannot be imported"), ("json:nothing", "imported")],
)
def test_a_missing_model_says_so(model: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_similarity(model)


def test_a_graph_of_another_kind_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='takes "features" and "wave"'):
        load_similarity(str(save_graph(tmp_path / "other.onnx", ("a", "b"))))
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="export it again"):
        load_similarity(str(tmp_path / "broken.onnx"))


def heard(duration: float, downbeats: np.ndarray, confidence: float = 0.9) -> MusicAnalysis:
    n_steps = Clock(50).count(duration)  # type: ignore[arg-type]
    curve = np.zeros(n_steps, np.float32)
    return MusicAnalysis(
        make_seen(duration).duration, Events(make_seen(1.0).events.rate, curve, curve, curve), downbeats,
        np.ones(len(downbeats)), downbeats, downbeats, 120.0, 4, confidence, -14.0,
    )  # fmt: skip


def everywhere(duration: float, talk: tuple[float, float] = (0, 0)) -> Sounds:
    times = np.arange(round(10 * duration)) / 10
    talking = ((times >= talk[0]) & (times < talk[1])).astype(np.float32)
    return Sounds(talking, 0 * talking, np.ones(len(times), np.float32))


def cut(stage: Cut, duration: float, cuts: np.ndarray, bars: np.ndarray, sounds: Sounds) -> list[Record]:
    media = make_media(
        make_record(), duration, video=make_seen(duration, cuts=tuple(cuts)), music=heard(duration, bars), sounds=sounds
    )
    result = stage(media.record, media)
    assert isinstance(result, list)
    for part in result:
        media.part(part)  # raises where a clip is not inside
    return result


def test_clips_begin_and_end_where_shot_and_bar_meet() -> None:
    bars = np.arange(0.5, 400, 2.0)
    meeting = bars[20::20]  # every 40 s a cut falls on a bar
    cuts = np.sort(np.concatenate([meeting + 0.05, np.arange(3.1, 400, 7.3)]))
    clips = cut(Cut(), 400.0, cuts, bars, everywhere(400))
    inner = np.array([clip.end for clip in clips[:-1]])
    assert len(inner) >= 3
    assert all(np.abs(meeting + 0.05 - end).min() < 2e-3 for end in inner)
    assert all(a.end == b.start for a, b in itertools.pairwise(clips))
    lengths = [clip.end - clip.start for clip in clips]
    assert np.mean(lengths) == pytest.approx(77, rel=0.15)
    assert len({clip.id for clip in clips}) == len(clips)


def test_windows_lie_inside_and_avoid_talk() -> None:
    cuts = np.arange(2.0, 120, 2.0)
    clips = cut(Cut(), 120.0, cuts, np.zeros(0), everywhere(120, talk=(30.0, 50.0)))
    starts = np.concatenate([np.array(clip.facts["cut.windows"]) + clip.start for clip in clips])
    ends = [(w + 10.0 <= clip.end - clip.start + 1e-6) for clip in clips for w in clip.facts["cut.windows"]]
    assert all(ends) and len(starts) >= 12
    overlap = np.minimum(starts + 10, 50.0) - np.maximum(starts, 30.0)
    assert overlap.max() <= 1.0 + 1e-6
    assert any(starts < 20) and any(starts >= 49)
    assert np.diff(np.sort(starts)).min() >= 5.0 - 1e-6


def test_a_record_without_a_good_window_is_refused_and_short_ones_stay_whole() -> None:
    media = make_media(
        make_record(), 15.0, video=make_seen(15.0), music=heard(15, np.zeros(0)), sounds=everywhere(15, (0, 15))
    )
    result = Cut()(media.record, media)
    assert isinstance(result, Drop) and result.reason == "no window"
    (clip,) = cut(Cut(), 15.0, np.array([4.0, 9.0]), np.zeros(0), everywhere(15))
    assert (clip.start, clip.end) == (0.0, 15.0)


def test_without_cuts_and_bars_there_still_are_borders() -> None:
    times, costs = find_borders(np.zeros(0), np.zeros(0), 300.0)
    assert np.diff(times).max() <= 5.0 and costs[0] == 0
    lengths = np.diff(choose_borders(times, costs, 77.0, 20.0, 150.0))
    assert len(lengths) == 4 and lengths.sum() == pytest.approx(300.0)


@pytest.mark.parametrize("seed", range(5))
def test_borders_are_the_cheapest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.sort(np.concatenate([[0, 100], rng.uniform(1, 99, 8)]))
    costs = rng.uniform(0, 1, 10)

    def price(chosen: np.ndarray) -> float:
        lengths = np.diff(times[chosen])
        is_bad = (lengths < 10) | (lengths > 60)
        return float((2 * ((lengths - 30) / 30) ** 2 + 100 * is_bad).sum() + costs[chosen[1:]].sum())

    every = [np.flatnonzero([1, *(bits >> np.arange(8) & 1), 1]) for bits in range(256)]
    best = min(price(chosen) for chosen in every)
    found = choose_borders(times, costs, 30.0, 10.0, 60.0)
    assert price(np.searchsorted(times, found)) == pytest.approx(best)
