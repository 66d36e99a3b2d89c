"""The command `openvmas fit`: a recording fitted to a length and to moments, without a video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from openvmas.cli.options import Voice, given, options_of, output_options, voice_options
from openvmas.errors import OptionError, OutputError
from openvmas.files import beside
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions, MusicOptions, Options, PlanOptions

SHORTEST, LONGEST = 1.0, 4 * 3600.0  # s


@click.command()
@click.argument("recording", type=click.Path(readable=False), metavar="RECORDING")
@click.option("--length", metavar="TIME", help="Length of the result: seconds, or as 1:13.5; its own if left out.")
@options_of(PlanOptions, GenerateOptions, MusicOptions, only=("hit", "seed", "music_keep", "joins_out"))
@click.option("--report", metavar="PATH", help="Also write what was done, as JSON.")
@output_options("NAME.fitted.wav beside RECORDING")
@voice_options
def fit(
    recording: str,
    length: str | None,
    report: str | None,
    output: str | None,
    overwrite: bool,
    voice: Voice,
    **values: Any,
) -> int:
    """Fit a recording to a length, with its own ending and an accent at each --hit (48 kHz stereo WAV)."""
    chosen = Options.of(**given(values))
    joins = None if chosen.music.joins_out is None else Path(chosen.music.joins_out)
    target = Path(output or beside(recording, ".fitted.wav"))
    if target.suffix.lower() != ".wav":
        raise OutputError(f"the music is written as WAV; end {target} in .wav.")
    from openvmas.files import explain_write_errors
    from openvmas.fitting.composer import Recording, read_spans, read_time
    from openvmas.fitting.composer import fit as fit_recording
    from openvmas.fitting.proposal import check_spans
    from openvmas.fitting.wishes import Wishes
    from openvmas.generate.deliver import Outputs, plain, watched
    from openvmas.media.audio import write_wav
    from openvmas.media.edit_list import check_edit_name, write_edit

    if joins is not None:
        check_edit_name(str(joins))
    kept = read_spans(chosen.music.music_keep, "--music-keep")
    asked = None if length is None else read_time(length, "--length")
    with (
        Outputs(recording, overwrite) as outputs,
        explain_write_errors(target.parent),
        voice.progress(Path(recording).name) as progress,
    ):
        hidden = outputs.reserve(target)
        page = outputs.reserve(report, "--report") if report else None
        edit = outputs.reserve(joins, "--joins-out") if joins else None
        progress("listen", 0.0)
        opened = Recording.open(recording)
        progress("listen", 1.0)
        check_spans(kept, opened.track, "--music-keep")
        seconds = opened.track.duration if asked is None else asked
        if not SHORTEST <= seconds <= LONGEST:
            raise OptionError(f"--length cannot be {seconds:g} s; give a time from {SHORTEST:g} s to {LONGEST:g} s.")
        late = [hit for hit in chosen.plan.hit if hit >= seconds]
        if late:
            raise OptionError(f"--hit {late[0]:g} is not before the end, {seconds:g} s; give an earlier moment.")
        wishes = Wishes.of_user(seconds, chosen.plan.hit)
        piece = fit_recording(opened, wishes, opened.edit(kept), chosen.generate.seed)
        blocks = watched(piece, wishes.duration, SAMPLE_RATE_OUT, lambda done: progress("compose", done))
        write_wav(hidden, blocks, SAMPLE_RATE_OUT)
        if page is not None:
            page.write_text(json.dumps(plain(piece.report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if edit is not None:
            assert piece.music is not None
            write_edit(edit, piece.report["parts"], piece.music.seen_from(edit.parent).file)
        outputs.commit()
    line = f"{target}: {seconds:.2f} s of {piece.report['summary']}; ending: {piece.report['ending']}"
    told = {name: piece.report[name] for name in ("summary", "ending", "reason")}
    voice.answer(f"{line}\n{told['reason']}", path=str(target), duration=seconds, **told)
    return 0


def note_music(composed: dict[str, Any]) -> None:
    """Say of music that was taken why, and whom to thank."""
    for place, choice in enumerate(composed.get("choices", ()), 1):
        click.echo(f"{place}. {choice['file']} ({choice['value']:.1f}): {'; '.join(choice['reasons'])}", err=True)
    click.echo(composed["reason"], err=True)
    click.echo(composed["track"]["attribution"] or composed["track"]["rights"], err=True)
