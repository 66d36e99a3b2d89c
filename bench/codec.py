"""What the codec keeps, beside Opus at 6, 12, 16 and 24 kbps in the same run, on held-out music: every bar.

    python bench/codec.py WAVES CODEC.pt --out DIR [--onnx FOLDER] [--against OTHER.pt] [--clips 60] [--seconds 20]
        [--soundfont FILE.sf2] [--json results.json] [--markdown table.md]

WAVES is made by `openvmas train corpus`. Clips come from tracks and albums that nothing was trained
on, round
robin over albums and tracks; distances are to 120 places of training music. DIR keeps what was measured, clip by clip:
a run that was stopped goes on, and the next codec does not measure Opus again. Where a bar has no absolute goal, the
codec has to be no worse than Opus at --rival kbps. --onnx measures an exported model: seams of its stream, speed, size;
its first codebooks have to be those of CODEC.pt for the agreement to mean anything.
Needs the extras `train` and `eval` and `python tools/fetch_eval_weights.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import codec_measures
import numpy as np
import torch
from codec_clips import Clip, choose_clips, fingerprint, open_waves, read_clip
from codec_entropy import Predictability, predictability
from codec_measures import code_use
from codec_signals import measure_extremes, measure_notes
from codec_stream import measure_export
from codec_systems import CodecSystem, Ears, Measured, OpusSystem, System, kept, measure_clip
from codec_table import Bar, Extras, Summary, distances, judge, report, summarise, worst_clips

import openvmas.hub.taggers
from openvmas.train.codec.corpus import SAMPLE_RATE

OPUS = (6, 12, 16, 24)  # kbps
TRAINING_CLIPS, TRAINING_SECONDS = 120, 15.0  # for the Fréchet distance
ENTROPY_CLIPS = 200
EXPORT_CLIPS = 3


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("waves", type=Path)
    parser.add_argument("codec", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where everything measured is kept")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each clip")
    parser.add_argument("--against", type=Path, help="another codec, measured beside this one")
    parser.add_argument("--onnx", type=Path, help="folder of an exported model")
    parser.add_argument(
        "--soundfont", type=Path, help="its piano, guitar, violin, trumpet and flute join the solo notes"
    )
    parser.add_argument("--rival", type=int, choices=OPUS, default=12, help="kbps of the Opus to equal (default 12)")
    parser.add_argument("--no-entropy", action="store_true", help="leave the predictability of the codes out")
    parser.add_argument("--keep-waves", action="store_true", help="write all waves to DIR/waves for listening")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    arguments = parser.parse_args()
    for path in (arguments.waves, arguments.codec, arguments.against, arguments.onnx, arguments.soundfont):
        if path is not None and not path.exists():
            parser.error(f"{path} does not exist; give the path of one that does.")
    return arguments


class Progress:
    """Says on stderr where the bench is."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._begun:5.0f} s  {text}", file=sys.stderr, flush=True)


def measure_training(waves_folder: Path, out: Path, ears: Ears, progress: Progress) -> list[Measured]:
    """Embeddings of training music."""
    clips = choose_clips(waves_folder, TRAINING_CLIPS, TRAINING_SECONDS, held_out=False)
    folder = out / f"training-{fingerprint(Path(openvmas.hub.taggers.__file__))}"
    waves = open_waves(waves_folder)
    found = []
    for i, clip in enumerate(clips):
        found.append(kept(folder / f"{fingerprint(clip)}.npz", lambda clip=clip: ears.embed(read_clip(waves, clip))))
        if i % 20 == 19:
            progress.say(f"training music {i + 1} of {len(clips)}")
    return found


def measure_entropy(waves_folder: Path, system: CodecSystem, held_out: list[Measured]) -> Predictability:
    """Predictability of the codec's codes: trained on clips of training music, measured on the held-out ones."""
    waves = open_waves(waves_folder)
    seconds = held_out[0]["codes"].shape[1] / float(system.codec.config.frame_rate)
    clips = choose_clips(waves_folder, ENTROPY_CLIPS, seconds, held_out=False)
    train = [system.encode(read_clip(waves, clip)) for clip in clips]
    config = system.codec.config
    return predictability(train, [c["codes"] for c in held_out], config.codebook_size, float(config.frame_rate))


def measure_extras(
    arguments: argparse.Namespace, system: CodecSystem, clips: list[Clip], measured: list[Measured], progress: Progress
) -> Extras:
    """What is measured of the codec alone."""
    waves, config = open_waves(arguments.waves), system.codec.config
    codes = np.concatenate([clip["codes"] for clip in measured], axis=1)
    fewer = np.mean([clip["fewer"] for clip in measured], axis=0).tolist()
    whole = [float(np.mean([np.mean(clip[name]) for clip in measured])) for name in ("mel", "snr")]
    progress.say("silence and full scale")
    extremes = measure_extremes(system, read_clip(waves, clips[0]))
    exported = entropy = None
    if arguments.onnx:
        progress.say("exported model")
        parts = [clip["codes"].astype(np.int64) for clip in measured[:EXPORT_CLIPS]]
        exported = measure_export(arguments.onnx, parts, system.decode)
    if not arguments.no_entropy:
        progress.say("predictability")
        entropy = measure_entropy(arguments.waves, system, measured)
    return Extras(
        code_use(codes.astype(np.int64), config.codebook_size), [*fewer, [float(config.n_codebooks), *whole]],
        extremes, entropy, exported, worst_clips(clips, measured),
    )  # fmt: skip


def write(path: Path, text: str) -> None:
    """Beside the target, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def describe(arguments: argparse.Namespace, clips: list[Clip]) -> str:
    albums = len({clip.album for clip in clips})
    tracks = len({clip.track for clip in clips})
    return (
        f"{arguments.codec}: {len(clips)} held-out clips of {clips[0].length / SAMPLE_RATE:g} s "
        f"from {tracks} tracks of {albums} albums\n\n"
    )


def write_json(path: Path, clips: list[Clip], per_clip: dict[str, list[Measured]], summaries: dict[str, Summary],
               bars: list[Bar], extras: Extras) -> None:  # fmt: skip
    mels = {name: [round(float(c["mel"].mean()), 4) for c in measured] for name, measured in per_clip.items()}
    data = {
        "systems": summaries,
        "bars": [asdict(bar) for bar in bars],
        "extras": asdict(extras),
        "clips": [{**asdict(clip), "mel": {n: m[i] for n, m in mels.items()}} for i, clip in enumerate(clips)],
    }
    write(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    arguments, progress = parse(), Progress()
    torch.set_num_threads(1)
    ears = Ears()
    codec = CodecSystem(arguments.codec, "codec")
    others = [CodecSystem(arguments.against, "against")] if arguments.against else []
    systems: list[System] = [codec, *others, *(OpusSystem(kbps) for kbps in OPUS)]
    clips = choose_clips(arguments.waves, arguments.clips, arguments.seconds)
    sources = [Path(module.__file__ or "") for module in (codec_measures, openvmas.hub.taggers)]
    folder = arguments.out / f"clips-{fingerprint(*sources)}"
    waves, results = open_waves(arguments.waves), []
    for i, clip in enumerate(clips):
        heard = arguments.out / "waves" / f"{i:02}-{Path(clip.track).stem}" if arguments.keep_waves else None
        results.append(measure_clip(read_clip(waves, clip), systems, ears, folder, fingerprint(clip), heard))
        progress.say(f"clip {i + 1} of {len(clips)}: {clip.track}")
    per_clip = {system.name: [result[system.name] for result in results] for system in systems}
    progress.say("solo notes")
    notes = measure_notes(systems, folder, arguments.soundfont)
    summaries: dict[str, Summary] = {"real": {}}
    summaries |= {name: summarise(measured, notes[name]["cents"]) for name, measured in per_clip.items()}
    training = measure_training(arguments.waves, arguments.out, ears, progress)
    for network in ears.embedders:
        real = [result["real"] for result in results]
        for name, found in distances(real, training, per_clip, network).items():
            summaries[name] |= found
    extras = measure_extras(arguments, codec, clips, per_clip["codec"], progress)
    bars = judge(summaries["codec"], summaries[f"Opus {arguments.rival}"], f"Opus {arguments.rival}", OPUS[0], extras)
    print(describe(arguments, clips) + report(summaries, bars, extras, markdown=False), end="")
    if arguments.markdown:
        write(arguments.markdown, describe(arguments, clips) + report(summaries, bars, extras, markdown=True))
    if arguments.json:
        write_json(arguments.json, clips, per_clip, summaries, bars, extras)
    progress.say("done")


if __name__ == "__main__":
    main()
