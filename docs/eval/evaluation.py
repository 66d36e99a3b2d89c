# %% [markdown]
# # An evaluation from end to end, in small
#
# This notebook compares three systems and a rival on four clips of six seconds: the smallest run that shows every step.
# It needs `pip install 'openvmas[eval]'` and a copy of the repository, takes about a minute on two cores, and downloads
# nothing. `docs/eval/evaluation.py` is its source; `python tools/run_notebook.py docs/eval/evaluation.py` runs it.

# %% [markdown]
# ## 1. A suite
#
# A suite is a TOML file that names clips. Here they are four spans of the two example videos, whose own sound serves as
# the true music. Real suites have hundreds of clips ([running.md](running.md)).

# %%
import contextlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from openvmas.cli.main import main
from openvmas.media.audio import write_wav

examples = next(p / "examples" for p in [Path.cwd(), *Path.cwd().parents] if (p / "examples" / "city.mp4").exists())
home, work = Path.cwd(), Path(tempfile.mkdtemp())
os.chdir(work)
(work / "clips.csv").write_text(
    "video,name,start,end,caption\n"
    "city.mp4,city-a,0,6,a busy street\n"
    "city.mp4,city-b,12,18,a busy street\n"
    "landscape.mp4,hills-a,0,6,calm hills\n"
    "landscape.mp4,hills-b,20,26,calm hills\n"
)
(work / "suite.toml").write_text(
    f"""
[suite]
name = "small"
seconds = 6

[[sources]]
name = "examples"
list = "table"
path = "clips.csv"
media = "{examples}"
"""
)

# %% [markdown]
# ## 2. What a rival is given
#
# `eval clips` writes the clips as they are measured: silent, and cut. Any program can write music for them, into one
# file a clip of the same name.

# %%
main(["eval", "clips", "suite.toml", "given", "--quiet"])
print((work / "given" / "clips.csv").read_text())

# %% [markdown]
# This rival plays the same beat to every picture, 120 times a minute. It is easy to like and has nothing to do with
# what is seen.

# %%
rate, seconds = 48_000, 6
time = np.arange(rate * seconds) / rate
beat = np.sin(2 * np.pi * 60 * time) * np.exp(-12 * (time % 0.5))
hat = np.random.default_rng(0).normal(0, 0.2, len(time)) * np.exp(-60 * (time % 0.25))
(work / "theirs").mkdir()
for video in sorted((work / "given").glob("*.mp4")):
    write_wav(work / "theirs" / f"{video.stem}.wav", (0.3 * (beat + hat)).astype(np.float32)[None], rate)

# %% [markdown]
# ## 3. The comparison
#
# `symbolic` composes by rule and answers the picture; `folder:` enters the rival's files; `click` is a trap for
# measures that are not corrected for chance; `reference` is the true music. With `--embedders ''` nothing is embedded,
# so that no weights are needed; leave it out for Fréchet distances ([metrics.md](metrics.md)).

# %%
command = ["eval", "run", "suite.toml", "--systems", "symbolic,folder:theirs,click,reference", "--embedders", ""]
with contextlib.redirect_stdout(io.StringIO()):  # the whole page, which is in page.md too
    main([*command, "--workers", "1", "--json", "page.json", "--markdown", "page.md", "--quiet"])
page = json.loads((work / "page.json").read_text())
for line in page["cautions"]:
    print("-", line)

# %% [markdown]
# The page has every measure with intervals, tests and failures. Four of its figures:

# %%
names = {
    "sync_z": "sync z",
    "cuts_within": "cuts within 80 ms",
    "true_ending": "true ending",
    "length_error": "length error, s",
}
systems = {system["system"].split(":")[0]: system for system in page["systems"]}
shown = [name for name in names if all(name in system["summary"] for system in systems.values())]
print(f"{'':12}" + "".join(f"{names[name]:>24}" for name in shown))
for system, found in systems.items():
    values = [found["summary"][name] for name in shown]
    print(f"{system:12}" + "".join(f"{v['value']:9.2f} ({v['low']:5.2f} to {v['high']:5.2f})" for v in values))

# %% [markdown]
# ## 4. Reading it
#
# - **Sync z** is 0 by chance. A click eight times a second hits every cut and still has z near 0; `symbolic` answers
#   the picture.
# - Four clips are too few for a test: the page says so above. With 59 clips differences of one in z are clear
#   ([open.md](open.md)).
# - z is of our own eyes. `bench/sync_against.py` measures it with other eyes and ears, as a share of what clicks
#   exactly on the hits reach ([results](../results.md)).

# %%
for test in page["tests"]:
    if test["measure"] == "sync_z":
        print(f"{test['system'].split(':')[0]:10} against {test['against']}: p = {test['p']:.2f} after correction")

# %% [markdown]
# ## 5. Asking people
#
# Measures do not hear. A study of the same clips takes two commands ([study.md](../study.md)): `openvmas study create`
# from folders of finished videos or sounds, and `openvmas study serve`. How many listeners would tell a preference of
# 70 % from chance?

# %%
main(["study", "power", "--share", "0.7"])

# %%
os.chdir(home)
shutil.rmtree(work)
