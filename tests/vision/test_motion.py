"""Motion against moves whose speed is known in closed form."""

import numpy as np
import pytest

from openvmas.vision.motion import Motion, MotionTracker
from tests.vision.synthetic import look, make_picture

FPS = 12.5
PICTURE = make_picture(3)


def see(x: float, y: float = 200, scale: float = 2.0, gain: float = 1.0) -> np.ndarray:
    return look(PICTURE, (x, y), scale, (160, 96)).mean(axis=2) * gain


def track(frames: list[np.ndarray], noise: float = 2.0, chunk: int = 13) -> Motion:
    rng = np.random.default_rng(0)
    stack = np.clip(np.stack(frames) + rng.normal(0, noise, (len(frames), 96, 160)), 0, 255).astype(np.uint8)
    tracker = MotionTracker()
    for start in range(0, len(stack), chunk):
        tracker.push(np.arange(start, min(start + chunk, len(stack))) / FPS, stack[start : start + chunk])
    return tracker.finish()


@pytest.mark.parametrize("pixels", [0.5, 2, 8, 24])
def test_speed_of_a_pan(pixels):
    motion = track([see(250 + 2 * pixels * k) for k in range(12)])
    expected = pixels / 160 * FPS
    assert np.median(motion.speed) == pytest.approx(expected, rel=0.15)
    assert np.median(motion.camera) == pytest.approx(expected, rel=0.15)
    assert np.median(motion.pan[:, 0]) == pytest.approx(-expected, rel=0.1)
    assert np.median(motion.objects) < 0.1 * expected + 0.01


def test_zoom_is_told_from_a_pan():
    motion = track([see(320, scale=2 / 1.02**k) for k in range(15)])
    assert np.median(motion.zoom) == pytest.approx(np.log(1.02) * FPS, rel=0.15)
    assert np.abs(np.median(motion.pan, axis=0)).max() < 0.01


@pytest.mark.parametrize("frames", [[see(300)] * 10, [see(300, gain=1 - 0.03 * k) for k in range(10)]])
def test_noise_and_light_are_no_motion(frames):
    motion = track(frames, noise=4)
    assert motion.speed.max() < 0.01
    assert motion.objects.max() < 0.02


def test_object_before_a_still_camera():
    frames = []
    for k in range(20):
        frame = see(300).copy()
        frame[30:70, 10 + 4 * k : 50 + 4 * k] = see(60)[30:70, 60:100]
        frames.append(frame)
    motion = track(frames)
    assert np.median(motion.camera) < 0.02
    assert np.median(motion.objects) > 0.05


def test_mismatch_is_high_across_a_cut_only():
    other = make_picture(9)
    frames = [see(300 + k) for k in range(6)] + [look(other, (300, 200), 2.0, (160, 96)).mean(axis=2)] * 6
    mismatch = track(frames).mismatch
    assert mismatch.argmax() == 5
    assert mismatch[5] > 0.7
    assert np.delete(mismatch, 5).max() < 0.4


def test_repeated_times_and_short_input():
    tracker = MotionTracker()
    frame = see(300).astype(np.uint8)
    tracker.push(np.array([0.0, 0.0, 0.08]), np.stack([frame, frame, frame]))
    assert len(tracker.finish().times) == 1
    assert len(MotionTracker().finish().speed) == 0


def test_chunks_do_not_matter():
    frames = [see(250 + 3 * k) for k in range(20)]
    np.testing.assert_allclose(track(frames, chunk=3).speed, track(frames, chunk=20).speed, rtol=1e-3, atol=1e-4)


def test_tiny_frames_are_refused():
    with pytest.raises(ValueError, match="32 x 32"):
        MotionTracker().push(np.zeros(1), np.zeros((1, 16, 16), np.uint8))
