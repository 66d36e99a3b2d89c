"""How fast and how large is mini beside MusicGen-small? Both write music on this machine, in turn.

    python bench/against_musicgen.py [--seconds 10] [--rounds 3] [--threads 2]

MusicGen-small (Copet et al. 2023) is built by `transformers` at its published sizes with random weights, which costs as
much time and memory as trained ones: a decoder of 24 layers and 1,024 units over EnCodec at 50 steps a second, a T5
text encoder, guidance on. mini composes with its defaults (two candidates, guidance, an audio prompt) for a picture
that is cut every 2.5 s. Each round is a process of its own; the time for loading is left out of both. Prints seconds
for a second of music, and the peak memory of the process. Needs the extra `hub`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

NAMES = ("mini", "musicgen-small")


def time_mini(seconds: int, threads: int) -> float:
    """Seconds that `seconds` of music take."""
    os.environ["OPENVMAS_THREADS"] = str(threads)
    from fractions import Fraction

    from openvmas.condition import AXES, Condition
    from openvmas.generate.scorer import load
    from openvmas.settings import CONTROL_RATE, GenerateOptions
    from openvmas.timeline import Events

    times = np.arange(seconds * int(CONTROL_RATE)) / float(CONTROL_RATE)
    accents = np.zeros(len(times), np.float32)
    accents[::125] = 1
    steady = np.full(len(times), 0.6, np.float32)
    events = Events(Fraction(CONTROL_RATE), accents, steady, np.zeros(len(times), np.float32))
    nothing = np.full((len(times), len(AXES)), np.nan, np.float32)
    beats = np.arange(0, seconds, 0.5)
    condition = Condition(events, beats, beats[::4], nothing, seconds - times, times)
    composer = load("mini").composer
    began = time.perf_counter()
    for _ in composer.compose(condition, None, GenerateOptions()):
        pass
    return time.perf_counter() - began


def time_musicgen(seconds: int, threads: int) -> float:
    """Seconds that `seconds` of music take."""
    import torch
    from transformers import EncodecConfig, MusicgenConfig, MusicgenForConditionalGeneration, T5Config
    from transformers.models.musicgen.configuration_musicgen import MusicgenDecoderConfig

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    text = T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12, vocab_size=32_128)
    codec = EncodecConfig(
        sampling_rate=32_000, audio_channels=1, num_filters=64, upsampling_ratios=[8, 5, 4, 4], codebook_size=2048,
        codebook_dim=128, hidden_size=128, target_bandwidths=[2.2], normalize=False, use_causal_conv=False,
    )  # fmt: skip
    decoder = MusicgenDecoderConfig(
        vocab_size=2048, num_hidden_layers=24, hidden_size=1024, num_attention_heads=16, ffn_dim=4096, num_codebooks=4
    )
    config = MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())
    model = MusicgenForConditionalGeneration(config).eval()
    words = torch.randint(3, 1000, (1, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        began = time.perf_counter()
        wave = model.generate(
            words, attention_mask=torch.ones_like(words), do_sample=True, guidance_scale=3.0,
            max_new_tokens=50 * seconds + 4, min_new_tokens=50 * seconds + 4,
        )  # fmt: skip
        taken = time.perf_counter() - began
    return taken * seconds / (wave.shape[-1] / 32_000)


def measure(name: str, seconds: int, threads: int) -> dict[str, float]:
    """One round in this process."""
    taken = (time_mini if name == "mini" else time_musicgen)(seconds, threads)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    return {"seconds": taken, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="of music")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=NAMES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measure(given.only, given.seconds, given.threads)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    for _ in range(given.rounds):
        for name in NAMES:
            command = [sys.executable, __file__, "--only", name, "--seconds", str(given.seconds)]
            command += ["--threads", str(given.threads)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print("| | seconds for a second of music (least, most) | peak memory |\n|---|---|---|")
    best = {}
    for name, runs in found.items():
        pace = sorted(run["seconds"] / given.seconds for run in runs)
        best[name] = pace[0], max(run["memory"] for run in runs)
        print(f"| {name} | {pace[0]:.2f} ({pace[-1]:.2f}) | {best[name][1] / 1e9:.2f} GB |")
    (ours, our_memory), (theirs, their_memory) = (best[name] for name in NAMES)
    print(f"mini takes 1/{theirs / ours:.1f} of the time and 1/{their_memory / our_memory:.1f} of the memory")


if __name__ == "__main__":
    main()
