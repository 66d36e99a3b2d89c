"""The ready files for other generators: servers that are polled, scripts with tiny checkpoints of the real classes."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from openvmas.errors import ModelError, OptionError
from openvmas.fitting.generators import GeneratedMusic, choose_key, open_generator
from openvmas.media.audio import read_audio
from openvmas.planning.conditioning import build_condition
from openvmas.settings import GenerateOptions
from tests.fitting.made import RATE, Answering, make_song
from tests.fitting.test_generators import PLAN

READY = Path(__file__).resolve().parents[2] / "examples" / "generators"
pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    make_song(6, 120).save(tmp_path / "song.wav")
    return tmp_path


@pytest.mark.parametrize("path", sorted(READY.glob("*.toml")), ids=lambda path: path.stem)
def test_ready_files_are_read_and_their_scripts_are_there(path):
    generator = open_generator(path)
    assert generator.licence != "not stated" and generator.name != "another generator"
    for word in generator.program[1:2]:
        assert (READY.parents[1] / word).is_file()
        assert len((READY.parents[1] / word).read_text().splitlines()) <= 60


class AceStep(Answering, BaseHTTPRequestHandler):
    """As the server of ACE-Step 1.5 answers: a job, its state, and a result that is JSON in a text."""

    sound, asked, polls, states = b"", [], [], [0, 0, 1]

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/release_task":
            self.asked.append(body)
            self.answer(json.dumps({"data": {"task_id": 'job "1"'}, "code": 200}).encode())
            return
        self.polls.append(body)
        status = self.states[min(len(self.polls), len(self.states)) - 1]
        result = json.dumps([{"file": "/v1/audio?path=x.wav"}]) if status == 1 else ""
        self.answer(json.dumps({"data": [{"status": status, "result": result}]}).encode())

    def do_GET(self):
        self.answer(self.sound if self.path == "/v1/audio?path=x.wav" else b"?")


def ask_ace_step(folder, states, **changes):
    kind = type("Server", (AceStep,), {"sound": (folder / "song.wav").read_bytes(), "asked": [], "polls": []})
    kind.states = states
    with HTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = (READY / "acestep.toml").read_text().replace("127.0.0.1:8001", f"127.0.0.1:{server.server_port}")
        text = text.replace("seconds = 1800", f"seconds = {changes.get('seconds', 1800)}\nevery = 0.05")
        (folder / "acestep.toml").write_text(text)
        try:
            composer = GeneratedMusic(folder / "acestep.toml")
            piece = composer.compose(build_condition(PLAN), PLAN, GenerateOptions(seed=3))
            return np.concatenate(list(piece), axis=1), piece.report, kind
        finally:
            server.shutdown()


def test_a_server_with_jobs_is_asked_until_the_sound_is_there(folder):
    wave, report, server = ask_ace_step(folder, [0, 0, 1])
    assert wave.shape == (2, 8 * RATE)
    assert len(server.asked) == 1 and len(server.polls) == 3
    asked = server.asked[0]
    assert (asked["audio_duration"], asked["bpm"], asked["seed"]) == (10.4, 120, 3)
    assert asked["key_scale"] == report["generator"]["key"] and asked["key_scale"].split()[1] in ("major", "minor")
    assert server.polls[0] == {"task_id_list": ['job "1"']}


@pytest.mark.parametrize(
    ("states", "changes", "sentence"), [([0, 2], {}, "says of its work: 2"), ([0], {"seconds": 1}, "longer than 1 s")]
)
def test_jobs_that_fail_or_last_are_given_up(folder, states, changes, sentence):
    with pytest.raises(ModelError, match=sentence):
        ask_ace_step(folder, states, **changes)


def test_a_key_follows_the_mood_and_the_seed():
    keys = {choose_key(PLAN, seed) for seed in range(20)}
    assert len(keys) > 5 and all(key.split()[1] in ("major", "minor") for key in keys)
    assert choose_key(PLAN, 4) == choose_key(PLAN, 4)


def test_half_a_poll_is_refused(folder):
    (folder / "half.toml").write_text('kind = "http"\nurl = "http://x/"\njob = "id"\n')
    with pytest.raises(OptionError, match="belong together"):
        open_generator(folder / "half.toml")


def run_script(name, *arguments, path=()):
    command = [sys.executable, str(READY / name), *map(str, arguments)]
    environment = {"PYTHONPATH": ":".join(map(str, path)), "HF_HUB_OFFLINE": "1", "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


FAKE_MAGENTA = {
    "__init__.py": "",
    "audio.py": "import numpy as np\nfrom types import SimpleNamespace\n"
    "def concatenate(chunks, crossfade_time=0.0, style='eqpower'):\n"
    "    return SimpleNamespace(samples=np.concatenate([chunk.samples for chunk in chunks]))\n",
    "system.py": "import numpy as np\nfrom types import SimpleNamespace\n"
    "class MagentaRT:\n"
    "    config, sample_rate = SimpleNamespace(chunk_length=2.0, crossfade_length=0.04), 48000\n"
    "    def embed_style(self, text):\n        return len(text)\n"
    "    def generate_chunk(self, state=None, style=None, seed=None):\n"
    "        noise = np.random.default_rng(seed).normal(0, 0.1, (96000, 2))\n"
    "        return SimpleNamespace(samples=noise), (state or 0) + style\n",
}


def test_the_script_for_magenta_realtime(tmp_path):
    pytest.importorskip("scipy")
    (tmp_path / "magenta_rt").mkdir()
    for name, text in FAKE_MAGENTA.items():
        (tmp_path / "magenta_rt" / name).write_text(text)
    run_script("magenta_realtime.py", "calm", 5.0, 3, tmp_path / "out.wav", path=[tmp_path])
    assert read_audio(tmp_path / "out.wav").wave.shape == (2, 6 * RATE)


def test_the_script_for_musicgen_with_a_tiny_checkpoint(tmp_path):
    pytest.importorskip("scipy")
    from tests.hub.made import RATE as TINY_RATE
    from tests.hub.made import write_musicgen

    folder = write_musicgen(tmp_path / "tiny")
    run_script("musicgen.py", "calm piano", 2.0, 3, tmp_path / "out.wav", folder)
    sound = read_audio(tmp_path / "out.wav")
    assert sound.sample_rate == TINY_RATE and abs(sound.wave.shape[1] / TINY_RATE - 2.0) < 0.2
    assert np.isfinite(sound.wave).all()


def test_the_script_for_stable_audio_with_a_tiny_checkpoint(tmp_path):
    pytest.importorskip("diffusers")
    pytest.importorskip("torchsde")
    save_tiny_stable_audio(tmp_path / "tiny")
    run_script("stable_audio.py", "calm piano", 2.0, 3, tmp_path / "out.wav", tmp_path / "tiny", 2)
    sound = read_audio(tmp_path / "out.wav")
    assert sound.wave.shape[0] == 2 and np.isfinite(sound.wave).all() and np.abs(sound.wave).max() > 0


def save_tiny_stable_audio(folder):
    """Write a tiny random checkpoint of Stable Audio with a tokenizer of single words."""
    import diffusers
    import tokenizers
    import torch
    import transformers
    from diffusers.pipelines.stable_audio import StableAudioProjectionModel

    torch.manual_seed(0)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
    )
    text = transformers.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=30)
    pipeline = diffusers.StableAudioPipeline(
        vae=diffusers.AutoencoderOobleck(
            encoder_hidden_size=6, downsampling_ratios=[1, 2], decoder_channels=3, decoder_input_channels=3,
            audio_channels=2, channel_multiples=[2, 4], sampling_rate=4,
        ),
        text_encoder=transformers.T5EncoderModel(text),
        projection_model=StableAudioProjectionModel(8, 8, min_value=0, max_value=32),
        tokenizer=tokenizer,
        transformer=diffusers.StableAudioDiTModel(
            sample_size=8, in_channels=3, num_layers=1, attention_head_dim=4, num_key_value_attention_heads=1,
            num_attention_heads=2, cross_attention_dim=8, cross_attention_input_dim=8, global_states_input_dim=16,
            out_channels=3, time_proj_dim=8,
        ),
        scheduler=diffusers.EDMDPMSolverMultistepScheduler(solver_order=2, prediction_type="v_prediction"),
    )  # fmt: skip
    pipeline.save_pretrained(folder)
