"""Time, peak memory and FLOPs of the video encoder beside simpler ones, at 64 to 4,096 frames, on one thread.

    python bench/video_encoder.py [--frames 64 128 ... 4096] [--pooled 4] [--fps 2] [--most 1000] [--json results.json]

All variants take the same features (`--pooled` tokens of each frame) and the same motion curves, and give one vector
per codec step and one embedding. FLOPs are counted on the meta device (torch.utils.flop_counter, two for a multiply and
add); what needs more than `--most` GFLOP is counted and not run. Time is the best of three runs, without gradients.
Memory is the peak of the process above what it held before (Linux; weights and inputs are not in it). "of which frames"
leaves out the motion branch and the writing of the steps, which all variants share. Bars: memory linear up to the
longest, and at 256 frames at least five times fewer FLOPs than joint attention; exit status 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from openvmas.model.video_encoder import KINDS, VIDEO_PRESETS, VideoEncoder, VideoEncoderConfig

AIM_FRAMES, AIM_RATIO = 256, 5.0
LINEAR = 1.15  # memory may grow by so much more than the number of frames


@dataclass(frozen=True)
class Row:
    """gflop, frames_gflop: of all and without what variants share; seconds and peak_mb: None where it was not run."""

    kind: str
    n_frames: int
    gflop: float
    frames_gflop: float
    seconds: float | None = None
    peak_mb: float | None = None


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(VIDEO_PRESETS), default="mini")
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--pooled", type=int, default=4, help="tokens of each frame")
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--most", type=float, default=1000.0, help="GFLOP above which a variant is not run")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser.parse_args()


def inputs(config: VideoEncoderConfig, n_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [1, F, P, W] and curves [1, M, C] of one video."""
    n_curves = round(n_frames / config.fps * config.curve_rate)
    return torch.randn(1, n_frames, config.n_pooled, config.feature_width), torch.randn(1, n_curves, config.n_curves)


def count(config: VideoEncoderConfig, n_frames: int) -> Row:
    """What a variant computes, without computing it."""
    with torch.device("meta"):
        encoder, given = VideoEncoder(config), inputs(config, n_frames)
    with FlopCounterMode(display=False) as counter:
        encoder(*given)
    by_module = counter.get_flop_counts()
    total = counter.get_total_flops()
    shared = sum(
        sum(flops.values())
        for name, flops in by_module.items()
        if name.endswith((".motion", "motion_out", "frames_out"))
    )
    return Row(config.kind, n_frames, total / 1e9, (total - shared) / 1e9)


def peak_memory() -> tuple[float, float]:
    """Resident memory now and at its peak since the last `forget_peak`, MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (float(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def forget_peak() -> None:
    """Linux: the peak is the present from here on (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


@torch.inference_mode()
def measure(config: VideoEncoderConfig, row: Row) -> Row:
    """Run a variant: the best time of three, the peak of the first."""
    torch.manual_seed(0)
    encoder, given = VideoEncoder(config).eval(), inputs(config, row.n_frames)
    encoder(*inputs(config, 8))  # what is set up once
    forget_peak()
    before, _ = peak_memory()
    times = []
    peak = before
    for _ in range(3):
        began = time.perf_counter()
        encoder(*given)
        times.append(time.perf_counter() - began)
        peak = max(peak, peak_memory()[1])
        if times[0] > 10:
            break
    return replace(row, seconds=min(times), peak_mb=peak - before)


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| frames | variant | GFLOP | of which frames | time, ms | peak memory, MB |", "|--:|---|--:|--:|--:|--:|"]
    for row in rows:
        time_ms = "not run" if row.seconds is None else f"{1000 * row.seconds:.1f}"
        memory = "" if row.peak_mb is None else f"{row.peak_mb:.1f}"
        lines.append(
            f"| {row.n_frames} | {row.kind} | {row.gflop:.3f} | {row.frames_gflop:.3f} | {time_ms} | {memory} |"
        )
    return "\n".join(lines)


def judge(rows: list[Row]) -> bool:
    """Print the bars; whether all are met."""
    of = {(row.kind, row.n_frames): row for row in rows}
    kept = True
    if AIM_FRAMES in {row.n_frames for row in rows}:
        ratio = of["joint", AIM_FRAMES].gflop / of["encoder", AIM_FRAMES].gflop
        kept = ratio >= AIM_RATIO
        print(f"FLOPs at {AIM_FRAMES} frames: joint attention {ratio:.1f} times the encoder's (bar: {AIM_RATIO:g})")
    found = [row for row in rows if row.kind == "encoder" and row.peak_mb and row.n_frames >= AIM_FRAMES]
    if len(found) > 1:
        first, last = found[0], found[-1]
        growth = (last.peak_mb or 0) / (first.peak_mb or 1) / (last.n_frames / first.n_frames)
        kept = kept and growth <= LINEAR
        print(
            f"memory at {last.n_frames} frames: {growth:.2f} times what {first.n_frames} frames foretell "
            f"(bar: {LINEAR:g}; 1 is linear)"
        )
    return kept


def main() -> None:
    arguments = parse()
    torch.set_num_threads(1)
    if not Path("/proc/self/clear_refs").exists():
        sys.exit("error: peak memory is read from /proc, which is Linux's; run this there.")
    base = replace(VIDEO_PRESETS[arguments.preset], n_pooled=arguments.pooled, fps=arguments.fps)
    rows = []
    for n_frames in arguments.frames:
        for kind in KINDS:
            config = replace(base, kind=kind)
            row = count(config, n_frames)
            rows.append(measure(config, row) if row.gflop <= arguments.most else row)
            print(f"{n_frames} {kind}", file=sys.stderr, flush=True)
    print(table(rows))
    is_met = judge(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps({"sizes": asdict(base), "rows": [asdict(row) for row in rows]}, indent=1))
    sys.exit(not is_met)


if __name__ == "__main__":
    main()
