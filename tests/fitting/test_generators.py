"""Other generators, by a program and a small server that behave like them."""

import base64
import json
import sys
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from openvmas.errors import ModelError, OptionError
from openvmas.fitting.generators import GeneratedMusic, open_generator, write_caption
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.conditioning import build_condition
from openvmas.planning.schema import ScorePlan, Section
from openvmas.settings import GenerateOptions
from tests.fitting.made import RATE, Answering, make_song

pytestmark = pytest.mark.slow
PLAN = ScorePlan(Fraction(8), (Section(0, 8.0),), (TempoMark(0.0, 120.0),), text="calm piano")
PROGRAM = """\
import shutil, sys
text, seconds, seed, out, log, songs = sys.argv[1:]
open(log, "a").write(f"{text}|{seconds}|{seed}\\n")
number = open(log).read().count("\\n")
shutil.copy(f"{songs}/{min(number, 2)}.wav", out)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    loud = make_song(6, 120)
    (tmp_path / "clipped.wav").touch()
    type(loud)(np.clip(loud.wave * 9, -1, 1), loud.bars, loud.beats, loud.end).save(tmp_path / "1.wav")
    make_song(6, 120).save(tmp_path / "2.wav")
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def contract(folder, **changes):
    program = [sys.executable, str(folder / "program.py"), "{text}", "{seconds}", "{seed}", "{out}",
               str(folder / "log.txt"), str(folder)]  # fmt: skip
    table = {"program": program, "name": "stand-in", **changes}
    path = folder / "generator.toml"
    path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items()))
    return path


def compose(path, seed=3):
    piece = GeneratedMusic(path).compose(build_condition(PLAN), PLAN, GenerateOptions(seed=seed))
    return np.concatenate(list(piece), axis=1), piece.report


def test_a_program_is_asked_again_when_what_came_is_unusable(folder):
    wave, report = compose(contract(folder))
    assert wave.shape == (2, 8 * RATE)
    assert report["generator"]["asked_again"] == ["it was clipped"]
    asked = (folder / "log.txt").read_text().splitlines()
    assert [line.split("|")[1:] for line in asked] == [["10.4", "3"], ["10.4", "1003"]]
    assert asked[0].startswith("calm piano") and "120 BPM" in asked[0]
    compose(contract(folder))  # the answers are kept
    assert len((folder / "log.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"program": ["no-such-program", "{out}"]}, "cannot be run"),
        ({"program": [sys.executable, "-c", "import sys; sys.exit('out of memory')", "{out}"]}, "out of memory"),
        ({"program": [sys.executable, "-c", "import time; time.sleep(60)", "{out}"], "seconds": 1}, "longer than 1 s"),
        ({"program": [sys.executable, "-c", "pass", "{out}"]}, "wrote no sound"),
    ],
)
def test_what_fails_is_said_in_a_sentence(folder, changes, sentence):
    with pytest.raises(ModelError, match=sentence):
        compose(contract(folder, **changes))


def test_contracts_are_checked(folder):
    with pytest.raises(OptionError, match=r"with \{out\}"):
        open_generator(contract(folder, program=["x"]))
    with pytest.raises(OptionError, match="no key progam"):
        open_generator(contract(folder, progam=["x"]))
    with pytest.raises(OptionError, match="url must begin"):
        open_generator(contract(folder, kind="http"))


@pytest.mark.parametrize("audio", ["response", "result.0.audio", "link"])
def test_a_server_answers_with_sound_base64_or_a_link(folder, audio):
    sound, seen = (folder / "2.wav").read_bytes(), []

    class Server(Answering, BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if len(seen) == 1:
                self.send_error(503)
                return
            named = {"result": [{"audio": base64.b64encode(sound).decode()}], "link": "/sound.wav"}
            self.answer(sound if audio == "response" else json.dumps(named).encode())

        def do_GET(self):
            self.answer(sound)

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        body = json.dumps({"prompt": "{text}", "duration": "{seconds}", "nested": [{"seed": "{seed}"}]})
        url = f"http://127.0.0.1:{server.server_port}/generate"
        wave, _ = compose(contract(folder, kind="http", url=url, body=body, audio=audio))
        server.shutdown()
    assert wave.shape == (2, 8 * RATE)
    assert seen[1]["duration"] == 10.4 and seen[1]["nested"] == [{"seed": 3}] and "piano" in seen[1]["prompt"]


def test_a_caption_names_genre_mood_instruments_and_tempo():
    assert write_caption(PLAN).startswith("calm piano") and write_caption(PLAN).endswith("120 BPM")
    assert write_caption(None) == "instrumental music"
