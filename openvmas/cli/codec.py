"""`openvmas codec`: the codec for users. Every command reads one file, writes one and prints one line."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openvmas.cli.options import output_options, quiet_option, result_of
from openvmas.errors import InputError, OutputError
from openvmas.files import beside
from openvmas.settings import FIRST_MODEL

if TYPE_CHECKING:
    from openvmas.codec.ovc import CodesFile

model_option = click.option(
    "--model", metavar="PATH", default=FIRST_MODEL, show_default=True, help="Preset or folder of exported weights."
)
codebooks_option = click.option(
    "--codebooks",
    type=int,
    metavar="NUMBER",
    help="Number of codebooks that are used: fewer are smaller and worse; all if left out.",
)


@click.group()
def codec() -> None:
    """Encode sound in a few kilobits per second with the codec of a model, and decode it."""


@codec.command()
@click.argument("source", metavar="FILE")
@output_options("NAME.ovc beside FILE")
@quiet_option
@model_option
@codebooks_option
def encode(source: str, output: str | None, overwrite: bool, quiet: bool, model: str, codebooks: int | None) -> int:
    """Encode the sound of an audio or video file as one channel (mono)."""
    from openvmas.codec.ovc import EXTENSION, to_bytes
    from openvmas.codec.runtime import CodecRunner
    from openvmas.codec.transcode import MonoSource, check_codebooks, encode_file
    from openvmas.pretrained import find_weights

    target = named(source, output, EXTENSION, "an encoded sound")
    with result_of(source, target, overwrite) as hidden:
        runner = CodecRunner(find_weights(model))
        codebooks = check_codebooks(runner, codebooks)
        sound = MonoSource(source, runner.sample_rate)
        began = time.perf_counter()
        with progress_bar("encoding", quiet) as progress:
            file = encode_file(sound, runner, codebooks, progress)
        speed = speed_since(began, file)
        data = to_bytes(file)
        hidden.write_bytes(data)
    click.echo(
        f"{target}: {float(file.duration):.1f} s, {file.n_codebooks} codebooks, "
        f"{float(file.bits_per_second):.0f} bit/s ({len(data)} bytes), encoded {speed:.0f} times as fast as it plays"
    )
    return 0


@codec.command()
@click.argument("source", metavar="FILE")
@output_options("NAME.wav beside FILE")
@quiet_option
@click.option(
    "--model", metavar="TEXT", help="Preset or folder of exported weights; the one that FILE names if left out."
)
@click.option(
    "--sample-rate", type=int, metavar="NUMBER", help="Sample rate of the WAV file, Hz; the codec's own if left out."
)
def decode(
    source: str, output: str | None, overwrite: bool, quiet: bool, model: str | None, sample_rate: int | None
) -> int:
    """Decode an .ovc file to a WAV file (mono, 32-bit float), as long as the sound that was encoded."""
    from openvmas.codec.ovc import read_codes
    from openvmas.codec.runtime import CodecRunner
    from openvmas.codec.transcode import decode_blocks, weights_for
    from openvmas.media.audio import write_wav

    target = named(source, output, ".wav", "a decoded sound")
    file = read_codes(source)
    rate = file.sample_rate if sample_rate is None else sample_rate
    with result_of(source, target, overwrite) as hidden:
        runner = CodecRunner(weights_for(file, model))
        began = time.perf_counter()
        with progress_bar("decoding", quiet) as progress:
            n_samples = write_wav(hidden, decode_blocks(file, runner, sample_rate, progress), rate)
        speed = speed_since(began, file)
    click.echo(
        f"{target}: {n_samples / rate:.1f} s at {rate} Hz from {file.n_codebooks} codebooks, "
        f"decoded {speed:.0f} times as fast as it plays"
    )
    return 0


@codec.command()
@click.argument("source", metavar="FILE")
@output_options("NAME.codec.html beside FILE")
@quiet_option
@model_option
@codebooks_option
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON instead of one line.")
def report(
    source: str, output: str | None, overwrite: bool, quiet: bool, model: str, codebooks: int | None, as_json: bool
) -> int:
    """Write a page that shows and plays what the codec keeps of a sound (HTML), for any audio or video file."""
    from openvmas.codec.runtime import CodecRunner
    from openvmas.codec.transcode import check_codebooks
    from openvmas.eval.codec.codec_report import write_codec_report
    from openvmas.pretrained import find_weights

    target = named(source, output, ".codec.html", "a report")
    with result_of(source, target, overwrite) as hidden:
        runner = CodecRunner(find_weights(model))
        check_codebooks(runner, codebooks)
        with progress_bar("measuring", quiet) as progress:
            data = write_codec_report(source, hidden, runner, codebooks, progress)
    if as_json:
        click.echo(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False))
        return 0
    found = ((data["snr_db"], "SNR {:.1f} dB"), (data["mel_distance"], "mel distance {:.3f}"))
    said = ", ".join([f"{data['bits_per_second']:.0f} bit/s", *(text.format(v) for v, text in found if v is not None)])
    click.echo(f"{target}: {data['duration']:.1f} s, {said}")
    return 0


def speed_since(began: float, file: CodesFile) -> float:
    """The length of a sound over the time that its work took, times real time."""
    return float(file.duration) / max(time.perf_counter() - began, 1e-9)


def named(source: str, target: str | None, ending: str, what: str) -> Path:
    """The target as a path, beside an existing source if it is left out. Raises InputError and OutputError."""
    path, extension = Path(target or beside(source, ending)), Path(f"x{ending}").suffix
    if path.suffix.lower() != extension:
        raise OutputError(f"{what} is written as {extension[1:].upper()}; end {path} in {extension}.")
    if not Path(source).exists():
        raise InputError(f"{source} does not exist; check the path.")
    return path


@contextlib.contextmanager
def progress_bar(what: str, quiet: bool) -> Iterator[Callable[[float], None] | None]:
    """A bar on standard error where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1000, label=what, file=sys.stderr) as bar:
        yield lambda done: bar.update(max(0, round(1000 * done) - bar.pos))
