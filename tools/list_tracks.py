"""Write docs/tracks.csv: every recorded track that the shipped weights learned from or were measured on.

    python tools/list_tracks.py LISTING.csv WAVES > docs/tracks.csv

LISTING has columns track, artist, title, licence_tag (as read from the files' own tags), singing_share, speech_share
and mood labels where there are any (tools/tag_music.py); WAVES is the folder that `openvmas train corpus` made. The
result is a listing itself, which tools/prepare_training.py reads. The licence of a package is in its Debian copyright
file.
"""

import csv
import sys
from pathlib import Path

from openvmas.train.codec.corpus import SAMPLE_RATE, Crops, read_index
from openvmas.train.decoder.examples import is_usable

listing, waves = Path(sys.argv[1]), Path(sys.argv[2])
rows = {row["track"]: row for row in csv.DictReader(listing.open())}
trained = {t.name for t in Crops(waves).tracks}
writer = csv.writer(sys.stdout, lineterminator="\n")
MEASURED = ("singing_share", "speech_share", "valence", "energy", "danceability", "acousticness")
head = ["track", "package", "file", "seconds", "split", "codec", "decoder", *MEASURED, "artist", "title", "licence_tag"]
writer.writerow(head)
for track in sorted(read_index(waves), key=lambda t: t.name):
    row = rows[track.name]
    file = track.name.split("/", 1)[1]
    split = "held out" if track.is_held_out else "train"
    uses = ["yes" if track.name in trained else "", "yes" if is_usable(track) and not track.is_held_out else ""]
    tags = [row["artist"], row["title"], row["licence_tag"]]
    measured = [row.get(name, "") for name in MEASURED]
    writer.writerow([track.name, track.album, file, round(track.length / SAMPLE_RATE), split, *uses, *measured, *tags])
