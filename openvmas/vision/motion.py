"""Motion of a picture: block motion by coarse-to-fine Lucas-Kanade, the camera's share of it, and the rest.

Works on small grey frames (about 160 pixels wide, 12.5 per second). Lucas and Kanade 1981, in its iterative form with a
global start from phase correlation (Kuglin and Hines 1975), so that fast pans are not lost. Everything is numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK = 8  # pixels at every level
MAX_BATCH = 8  # pairs worked on at once: more would leave the processor's cache
NOISE_LEVELS = 2.0  # grey levels of noise left in small frames
NOISE_PIXELS = 0.06  # motion below this per frame is what sensor noise and coding look like
RIDGE = 60.0  # grey levels² per pixel: blocks with less texture than this keep the coarser estimate


@dataclass(frozen=True)
class Motion:
    """Motion between neighbouring small frames. Unit of speed: picture widths per second.

    times: [M] s, the middle between two frames. speed: [M] mean over the picture. camera: [M] mean speed of the fitted
    camera move. objects: [M] what is left, mean of the fastest fifth of the picture. pan: [M, 2] the camera's shift
    (x right, y down, of the content). zoom: [M] growth per second. mismatch: [M] share of the picture's contrast that
    motion does not explain (near 1 across a cut).
    """

    times: np.ndarray
    speed: np.ndarray
    camera: np.ndarray
    objects: np.ndarray
    pan: np.ndarray
    zoom: np.ndarray
    mismatch: np.ndarray


class MotionTracker:
    """Takes frames in order, in chunks of any length; `finish` gives the curves. Keeps one frame and a few numbers."""

    def __init__(self) -> None:
        self._last_frame: np.ndarray | None = None
        self._last_time = 0.0
        self._rows: list[np.ndarray] = []

    def push(self, times: np.ndarray, frames: np.ndarray) -> None:
        """Add frames. times: [F] s, increasing; frames: [F, h, w] uint8, at least 32 x 32 pixels."""
        if frames.ndim != 3 or min(frames.shape[1:]) < 4 * BLOCK:
            raise ValueError(f"motion needs grey frames [F, h, w] of at least 32 x 32 pixels, not {frames.shape}")
        small = frames.astype(np.float32)
        times = np.asarray(times, np.float64)
        if self._last_frame is not None:
            small = np.concatenate([self._last_frame[None], small])
            times = np.concatenate([[self._last_time], times])
        keep = np.concatenate([[True], np.diff(times) > 1e-6])
        small, times = small[keep], times[keep]
        for start in range(0, len(small) - 1, MAX_BATCH):
            stop = min(start + MAX_BATCH, len(small) - 1)
            before, after = small[start:stop], small[start + 1 : stop + 1]
            steps = np.diff(times[start : stop + 1])
            middles = (times[start:stop] + times[start + 1 : stop + 1]) / 2
            self._rows.append(np.column_stack([middles, describe_pairs(before, after, steps)]))
        self._last_frame, self._last_time = small[-1], float(times[-1])

    def finish(self) -> Motion:
        """The curves of everything pushed so far."""
        rows = np.concatenate(self._rows) if self._rows else np.zeros((0, 8))
        return Motion(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 4:6], rows[:, 6], rows[:, 7])


def describe_pairs(before: np.ndarray, after: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Numbers per pair of frames. before, after: [F, h, w] float32; steps: [F] s between them.

    Returns [F, 7]: speed, camera, objects, pan x, pan y, zoom, mismatch, as in `Motion`.
    """
    width = before.shape[2]
    flow, weight, mismatch = block_flow(before, after)
    camera, zoom = fit_camera(flow, weight)
    per_second = 1 / (width * steps)
    rest = _length(flow - camera)
    rows = np.empty((len(flow), 7))
    rows[:, 0] = _mean_over_blocks(np.maximum(_length(flow) - NOISE_PIXELS, 0), weight) * per_second
    rows[:, 1] = np.maximum(_length(camera) - NOISE_PIXELS, 0).mean(axis=(1, 2)) * per_second
    trust = weight / (weight.mean(axis=(1, 2), keepdims=True) + 0.1)
    rest = np.sort((np.maximum(rest - NOISE_PIXELS, 0) * trust).reshape(len(flow), -1), axis=1)
    rows[:, 2] = rest[:, -max(rest.shape[1] // 5, 1) :].mean(axis=1) * per_second
    rows[:, 3:5] = camera.mean(axis=(1, 2)) * per_second[:, None]
    rows[:, 5] = zoom / steps
    rows[:, 6] = mismatch
    return rows


def block_flow(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Motion of every block of 8 x 8 pixels. before, after: [F, h, w] float32.

    Returns flow [F, rows, columns, 2] in pixels (x right, y down), weight [F, rows, columns] in [0, 1] (how far the
    block's texture can be trusted) and mismatch [F].
    """
    height, width = (n // (2 * BLOCK) * 2 * BLOCK for n in before.shape[1:])
    top, left = (before.shape[1] - height) // 2, (before.shape[2] - width) // 2
    fine = [a[:, top : top + height, left : left + width] for a in (before, after)]
    coarse = [_halve(a) for a in fine]
    start = _global_shift(coarse[0], coarse[1])
    flow = np.broadcast_to(start[:, None, None, :], (len(start), height // 16, width // 16, 2)).astype(np.float32)
    flow, _, _ = _refine(coarse[0], coarse[1], flow, n_rounds=3)
    flow = 2 * np.repeat(np.repeat(flow, 2, axis=1), 2, axis=2)
    return _refine(fine[0], fine[1], flow, n_rounds=2)


def fit_camera(flow: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The camera's move: shift, zoom and turn fitted to the flow, ignoring what moves on its own.

    flow: [F, rows, columns, 2]; weight: [F, rows, columns]. Returns the camera's flow, of the same shape, and its
    zoom [F] (relative growth between the two frames).
    """
    n, n_rows, n_columns, _ = flow.shape
    y, x = np.mgrid[:n_rows, :n_columns].astype(np.float64) * BLOCK
    x, y = (x - x.mean()).ravel(), (y - y.mean()).ravel()
    scale = max(np.abs(x).max(), np.abs(y).max(), 1.0)
    x, y = x / scale, y / scale
    ones, zeros = np.ones_like(x), np.zeros_like(x)
    # u = a + c x - d y, v = b + c y + d x: four numbers, stable even where half of the picture has no texture
    design = np.concatenate([np.column_stack([ones, zeros, x, -y]), np.column_stack([zeros, ones, y, x])])
    target = np.concatenate([flow[..., 0].reshape(n, -1), flow[..., 1].reshape(n, -1)], axis=1).astype(np.float64)
    trust = np.concatenate([weight.reshape(n, -1)] * 2, axis=1).astype(np.float64) + 1e-3
    solution = np.zeros((n, 4))
    solution[:, 0] = np.median(target[:, : x.size], axis=1)
    solution[:, 1] = np.median(target[:, x.size :], axis=1)
    for _ in range(4):
        error = np.hypot(*np.split(target - solution @ design.T, 2, axis=1))
        scatter = np.median(error, axis=1, keepdims=True) + 0.1
        robust = trust * np.tile(1 / (1 + (error / (1.5 * scatter)) ** 2), 2)
        left = np.einsum("fk,ki,kj->fij", robust, design, design) + np.eye(4) * 1e-3
        solution = np.linalg.solve(left, np.einsum("fk,ki,fk->fi", robust, design, target)[..., None])[..., 0]
    fitted = (solution @ design.T).reshape(n, 2, n_rows, n_columns).transpose(0, 2, 3, 1)
    return fitted.astype(np.float32), solution[:, 2] / scale


def luma(frames: np.ndarray) -> np.ndarray:
    """Rec. 709 luma of [..., 3] uint8 RGB: float32 grey levels."""
    return frames @ np.array([0.2126, 0.7152, 0.0722], np.float32)


def mismatch(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Share of structure that motion from the first to the second frames cannot explain: [n] in [0, 1].

    first, second: [n, 48, 80, 3] uint8. Both directions are tried and the better one counts, so that things that
    come into the picture do not look like a cut.
    """
    values = np.empty(len(first))
    for start in range(0, len(first), 16):
        part = slice(start, start + 16)
        a, b = (_even_out(luma(x[part])) for x in (first, second))
        there = block_flow(a, b)[2]
        doubt = there > 0.35
        if doubt.any():
            there[doubt] = np.minimum(there[doubt], block_flow(b[doubt], a[doubt])[2])
        values[part] = there
    return values


def explained_by_motion(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Squared correlation of target with source moved onto it: [n]. source, target: [n, h, w] float32 grey."""
    flow = block_flow(target, source)[0]
    height, width = (8 * k for k in flow.shape[1:3])
    moved = warp(np.ascontiguousarray(source[:, :height, :width]), to_pixels(flow)).reshape(len(source), -1)
    target = target[:, :height, :width].reshape(len(source), -1)
    moved, target = (x - x.mean(axis=1, keepdims=True) for x in (moved, target))
    return (moved * target).sum(axis=1) ** 2 / ((moved**2).sum(axis=1) * (target**2).sum(axis=1) + 1e-6)


def _even_out(grey: np.ndarray) -> np.ndarray:
    """Contrast brought to a common level, so that exposure does not count as structure; flat pictures stay flat."""
    deviation = grey.std(axis=(1, 2), keepdims=True)
    return (grey - grey.mean(axis=(1, 2), keepdims=True)) * (45 / (deviation + 6)).astype(np.float32)


def _refine(before: np.ndarray, after: np.ndarray, flow: np.ndarray, n_rounds: int):
    """Lucas-Kanade rounds from a given start, over windows of 16 x 16 around each block; returns as `block_flow`."""
    middle = before - _smooth_mean(before)
    gx, gy = _gradients(middle)
    xx, xy, yy = (_window_mean(a) for a in (gx * gx, gx * gy, gy * gy))
    smallest = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    a, c = xx + RIDGE * 0.05 + 1e-3, yy + RIDGE * 0.05 + 1e-3
    determinant = a * c - xy * xy
    limit = BLOCK / 2
    difference = middle
    after = after - _smooth_mean(after)
    for _ in range(n_rounds):
        difference = warp(after, to_pixels(flow)) - middle
        bx, by = _window_mean(gx * difference), _window_mean(gy * difference)
        step_x = np.clip((c * bx - xy * by) / determinant, -limit, limit)
        step_y = np.clip((a * by - xy * bx) / determinant, -limit, limit)
        flow = flow - np.stack([step_x, step_y], axis=-1)
    contrast = np.maximum(_block_mean(np.abs(middle)), _block_mean(np.abs(middle + difference)))
    unexplained = np.minimum(_block_mean(np.abs(difference)) / (contrast + NOISE_LEVELS), 1)
    weight = smallest / (smallest + RIDGE) * (1 - unexplained) ** 2
    mismatch = _mean_over_blocks(unexplained, contrast)
    return flow, weight.astype(np.float32), mismatch


def _global_shift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Whole-pixel shift of the content by phase correlation, where it explains the picture better than none: [F, 2]."""
    n, height, width = before.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).astype(np.float32)
    first, second = (np.fft.rfft2((a - a.mean(axis=(1, 2), keepdims=True)) * window) for a in (before, after))
    cross = second * np.conj(first)
    surface = np.fft.irfft2(cross / (np.abs(cross) + 1e-3 * np.abs(cross).mean() + 1e-6), s=(height, width))
    peak = surface.reshape(n, -1).argmax(axis=1)
    dy, dx = np.unravel_index(peak, (height, width))
    dy = np.where(dy > height // 2, dy - height, dy)
    dx = np.where(dx > width // 2, dx - width, dx)
    shifts = np.zeros((n, 2), np.float32)
    for i in range(n):
        sx, sy = int(dx[i]), int(dy[i])
        if (sx, sy) == (0, 0) or abs(sx) > 0.4 * width or abs(sy) > 0.4 * height:
            continue
        old = before[i, max(-sy, 0) : height - max(sy, 0), max(-sx, 0) : width - max(sx, 0)]
        new = after[i, max(sy, 0) : height + min(sy, 0), max(sx, 0) : width + min(sx, 0)]
        if np.abs(new - old).mean() < 0.8 * np.abs(after[i] - before[i]).mean():
            shifts[i] = sx, sy
    return shifts


def _halve(frames: np.ndarray) -> np.ndarray:
    return (frames[:, ::2, ::2] + frames[:, 1::2, ::2] + frames[:, ::2, 1::2] + frames[:, 1::2, 1::2]) * np.float32(
        0.25
    )


def _gradients(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gx, gy = np.zeros_like(frames), np.zeros_like(frames)
    gx[:, :, 1:-1] = (frames[:, :, 2:] - frames[:, :, :-2]) * np.float32(0.5)
    gy[:, 1:-1] = (frames[:, 2:] - frames[:, :-2]) * np.float32(0.5)
    return gx, gy


def _block_mean(frames: np.ndarray) -> np.ndarray:
    n, height, width = frames.shape
    return frames.reshape(n, height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean(axis=(2, 4))


def _window_mean(frames: np.ndarray) -> np.ndarray:
    """Mean over 3 x 3 blocks with the middle counting most: [F, rows, columns]."""
    means = np.pad(_block_mean(frames), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = means[:, :-2] + 2 * means[:, 1:-1] + means[:, 2:]
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16


def _smooth_mean(frames: np.ndarray) -> np.ndarray:
    """The slowly changing part of the light, per pixel; taking it away makes motion blind to exposure and flashes."""
    return to_pixels(_window_mean(frames)[..., None])[..., 0]


def to_pixels(blocks: np.ndarray) -> np.ndarray:
    """Bilinear enlargement by 8: [F, rows, columns, C] to [F, 8 rows, 8 columns, C]."""
    for axis in (1, 2):
        n = blocks.shape[axis]
        position = np.clip((np.arange(n * BLOCK) + 0.5) / BLOCK - 0.5, 0, n - 1)
        low = np.minimum(position.astype(np.intp), max(n - 2, 0))
        share = (position - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(4)])
        first, second = blocks.take(low, axis=axis), blocks.take(np.minimum(low + 1, n - 1), axis=axis)
        blocks = first + share * (second - first)
    return blocks


def warp(frames: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """frames [F, h, w] read at (x + u, y + v), bilinear, edges repeated."""
    n, height, width = frames.shape
    x = np.clip(flow[..., 0] + np.arange(width, dtype=np.float32), 0, width - 1.001)
    y = np.clip(flow[..., 1] + np.arange(height, dtype=np.float32)[:, None], 0, height - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    fx, fy = x - left, y - top
    index = top * width + left + (np.arange(n, dtype=np.int32) * (height * width))[:, None, None]
    flat = frames.reshape(-1)
    upper = flat.take(index) * (1 - fx) + flat.take(index + 1) * fx
    index += width
    return upper * (1 - fy) + (flat.take(index) * (1 - fx) + flat.take(index + 1) * fx) * fy


def _length(flow: np.ndarray) -> np.ndarray:
    return np.hypot(flow[..., 0], flow[..., 1])


def _mean_over_blocks(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean over the picture, [F]; blocks without texture say nothing."""
    return (values * weight).sum(axis=(1, 2)) / (weight.sum(axis=(1, 2)) + 1e-3 * weight[0].size)
