"""Suites and published lists: which clips are found on disk, what is missing, and how it is built."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction
from pathlib import Path

import pytest
from video_editor import Edit

from openvmas.data.montage.bank import Take
from openvmas.errors import InputError, OpenVMASError
from openvmas.eval.suites.datasets import DATASETS, MediaIndex, Row, read_pickle, youtube_ids
from openvmas.eval.suites.suite import build, describe_coverage, read_suite

ROOT = Path(__file__).resolve().parent.parent.parent
ID, OTHER = "SJOKlqJho8U", "-b_eYbUVZeY"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"media")


def suite_of(tmp_path: Path, source: str, head: str = "") -> Path:
    path = tmp_path / "suites" / "made.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"[suite]\nname = 'made'\n{head}\n[[sources]]\nname = 's'\n{source}\n")
    return path


def published(tmp_path: Path, kind: str, listing: str, text: str, *media: str, more: str = "") -> list:
    """Clips of a suite that has one published list."""
    touch(tmp_path / "corpora" / "media", *media)
    (tmp_path / "corpora" / listing).write_text(text)
    source = f"list = '{kind}'\npath = '{{media}}/{listing}'\nmedia = '{{media}}/media'\n{more}"
    return list(read_suite(suite_of(tmp_path, source)).clips)


def test_a_folder_is_a_suite(tmp_path: Path) -> None:
    touch(tmp_path / "corpora", "b.mp4", "a.mkv", "notes.txt", "song.wav")
    suite = read_suite(suite_of(tmp_path, "media = '{media}'", "seconds = 8"))
    assert [clip.name for clip in suite.clips] == ["s-a", "s-b"]
    first = suite.clips[0]
    assert first.seconds == 8 and first.start == 0 and first.music == first.video
    elsewhere = tmp_path / "elsewhere"
    touch(elsewhere, "c.mp4")
    assert [clip.name for clip in read_suite(suite.path, elsewhere).clips] == ["s-c"]


def test_a_table_names_music_captions_and_spans(tmp_path: Path) -> None:
    rows = (
        'video,music,caption,start,end,split\nx.mp4,x.wav,"calm, slow",3,9.5,test\ny.mp4,,,,,train\ngone.mp4,,,,,test\n'
    )
    clips = published(tmp_path, "table", "list.csv", rows, "x.mp4", "x.wav", "y.mp4", more="split = 'test'\ncount = 5")
    (clip,) = clips
    assert (clip.start, clip.seconds, clip.caption) == (3.0, 6.5, "calm, slow")
    assert clip.music is not None and clip.music.name == "x.wav"
    (covered,) = read_suite(tmp_path / "suites" / "made.toml").coverage
    assert (covered.listed, covered.found, covered.missing) == (5, 1, ("gone",))
    lines = json.dumps({"path": "y.mp4", "name": "why?", "caption": None})
    assert [c.name for c in published(tmp_path, "table", "list.jsonl", lines + "\n", "y.mp4")] == ["s-why-"]


def test_v2m_bench(tmp_path: Path) -> None:
    text = f"{ID}\n{OTHER}\n\nnowhere_000\n"
    clips = published(
        tmp_path, "v2m-bench", "V2M-bench.txt", text, f"video/{ID}.mp4", f"audio/{ID}.wav", f"a/{OTHER}.mp4"
    )
    assert [clip.video.stem for clip in clips] == [ID, OTHER]
    assert [clip.music.suffix for clip in clips] == [".wav", ".mp4"]


def test_symmv(tmp_path: Path) -> None:
    head, url = "index\tyoutube_url\ttonality\tshazam_id\n", "https://www.youtube.com/watch?v="
    text = f"{head}00001\t{url}{ID}\tC major\t555\n00002\t{url}{OTHER}\tC major\n00003\t{url}aaaaaaaaaaa\tc minor\n"
    clips = published(tmp_path, "symmv", "SymMV.csv", text, "00001.mp4", f"A song [{OTHER}].webm")
    assert [clip.video.name for clip in clips] == ["00001.mp4", f"A song [{OTHER}].webm"]
    with pytest.raises(InputError, match="lacks the column youtube_url"):
        published(tmp_path, "symmv", "SymMV.csv", "index\n1\n")


def test_bgm909_reads_the_split_without_running_it(tmp_path: Path) -> None:
    split = tmp_path / "split.pickle"
    split.write_bytes(pickle.dumps((["001.npz"], ["007.npz", "909.npz"])))
    assert [row.name for row in DATASETS["bgm909"](split)] == ["007", "909"]
    split.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match=r"it would call os\.system"):
        read_pickle(split)
    clips = published(tmp_path, "bgm909", "test.txt", "007\n909.npz\n", "007.mp4", "9.mp4")
    assert [clip.video.name for clip in clips] == ["007.mp4"]


def test_disco_mv(tmp_path: Path) -> None:
    clips = published(
        tmp_path, "disco-mv", "ids.txt", f"{ID}\nhttps://youtu.be/{OTHER}\n", f"{ID}.mp4", f"{OTHER}.f137.mp4"
    )
    assert [clip.video.name for clip in clips] == [f"{ID}.mp4", f"{OTHER}.f137.mp4"]
    table = f"video_url_youtube,start,end\nhttps://www.youtube.com/watch?v={ID},10,40\nhttps://youtu.be/{ID},60,90\n"
    twice = published(tmp_path, "disco-mv", "ids.csv", table)
    assert [(clip.name, clip.start, clip.seconds) for clip in twice] == [
        (f"s-{ID}_10_40", 10, 30),
        (f"s-{ID}_60_90", 60, 30),
    ]


def test_musiccaps_takes_excerpts_and_whole_videos(tmp_path: Path) -> None:
    text = (
        "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval\n"
        f'{ID},30,40,/m/1,"[\'pop\']","Low, ""soft"" song",4,False,True\n'
        f"{OTHER},5,15,/m/1,[],Loud,4,False,True\nccccccccccc,0,10,/m/1,[],Third,4,False,False\n"
    )
    media = (f"[{ID}]-[30-40].mp4", f"{OTHER}.mp4", "ccccccccccc.mp4")
    clips = published(tmp_path, "musiccaps", "musiccaps-public.csv", text, *media, more="split = 'eval'")
    assert [(clip.start, clip.seconds) for clip in clips] == [(0, 10), (5, 10)]
    assert clips[0].caption == 'Low, "soft" song'


def test_addresses_and_names() -> None:
    assert youtube_ids("https://youtu.be/" + ID + "?t=3") == youtube_ids(ID) == (ID,)
    assert youtube_ids("not an id") == ()
    assert Row("x").names == () and MediaIndex(Path("/nowhere")).find(["x"], {".mp4"}) is None


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("media = '.'\ncolour = 1", "the key colour"),
        ("media = '.'\nlist = 'other'", "list = 'other'"),
        ("list = 'table'\nmedia = '.'", "needs media, and path"),
        ("media = '.'\n[[sources.build]]\nmakes = 'x'", "needs command"),
    ],
)
def test_what_is_wrong_with_a_suite_is_said(tmp_path: Path, source: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        read_suite(suite_of(tmp_path, source))


def test_a_suite_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read .*give a suite in TOML"):
        read_suite(tmp_path / "missing.toml")
    (tmp_path / "empty.toml").write_text("[suite]\n")
    with pytest.raises(InputError, match="has no"):
        read_suite(tmp_path / "empty.toml")
    touch(tmp_path / "corpora", "a.mp4", "a.mkv")
    with pytest.raises(InputError, match="two clips called s-a"):
        read_suite(suite_of(tmp_path, "media = '{media}'"))
    with pytest.raises(InputError, match="seconds cannot be 0"):
        read_suite(suite_of(tmp_path, "media = '{media}'", "seconds = 0"))
    for head in ("seeds = 0", "seeds = 2.5", "seed_clips = 'all'"):
        with pytest.raises(InputError, match=r"seed\w* cannot be .*; give a whole number from 1 to 100"):
            read_suite(suite_of(tmp_path, "media = '{media}'", head))
    plain = read_suite(suite_of(tmp_path, "media = '{media}'\nlimit = 1"))
    assert (plain.seeds, plain.seed_clips) == (1, 12)
    asked = read_suite(suite_of(tmp_path, "media = '{media}'\nlimit = 1", "seeds = 3\nseed_clips = 4"))
    assert (asked.seeds, asked.seed_clips) == (3, 4)


def test_build_runs_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.parent.mkdir(exist_ok=True); p.write_text(sys.argv[2])"
    )
    step = f"[[sources.build]]\ncommand = ['{{python}}', '-c', '{code}', '{{media}}/a.mp4', '1']\n"
    step += "makes = '{media}/a.mp4'\n"
    path = suite_of(tmp_path, "media = '{media}'\ncount = 1\n" + step)
    suite = read_suite(path)
    lines = describe_coverage(suite)
    assert lines[0] == "s: 0 of 1 found" and "openvmas eval build" in lines[1] and "a.mp4" in lines[2]
    said: list[str] = []
    build(suite, said.append)
    assert len(read_suite(path).clips) == 1 and describe_coverage(read_suite(path)) == ["s: 1 of 1 found"]
    build(read_suite(path), said.append)  # complete: no step is run, none is mentioned
    assert len(said) == 1
    failing = suite_of(
        tmp_path, "media = 'x'\ncount = 1\n[[sources.build]]\ncommand = ['{python}', '-c', 'raise SystemExit(3)']"
    )
    with pytest.raises(OpenVMASError, match="ended with code 3"):
        build(read_suite(failing))


def test_the_shipped_suite_can_be_read_and_says_how_to_build_it(tmp_path: Path) -> None:
    suite = read_suite(ROOT / "suites" / "open.toml", tmp_path)
    assert sum(covered.listed for covered in suite.coverage) >= 40
    assert [clip.name for clip in suite.clips] == ["examples-city", "examples-landscape"]
    assert all(clip.music is None for clip in suite.clips)
    steps = [step for covered in suite.coverage for step in covered.steps]
    scripts = [part for step in steps for part in step.command if part.startswith("../tools/")]
    assert len(scripts) >= 2 and all((ROOT / "suites" / part).is_file() for part in scripts)


def test_the_plans_of_the_montages_are_whole() -> None:
    plans = [json.loads(line) for line in (ROOT / "suites" / "open-montage.jsonl").read_text().splitlines()]
    assert len(plans) == len({plan["name"] for plan in plans}) == 40
    for plan in plans:
        takes = [Take(**take) for take in plan["takes"]]
        edit = Edit(takes, Fraction(plan["fps"]), (480, 270), seed=len(takes))
        assert edit.labels.duration == pytest.approx(plan["seconds"], abs=0.05)
        assert not any(Path(take.path).is_absolute() for take in takes) and plan["start"] >= 0
