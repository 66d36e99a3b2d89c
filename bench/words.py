"""Does the music have what words ask for? Every word for one picture, heard by a tagger that no training has used.

    python bench/words.py [--model mini] [--video examples/landscape.mp4] [--pieces 2] [--words 24] [--no-prompt]

Words are those that both the plan understands and musicnn has tags for (tools/fetch_eval_weights.py fetches it); the
first twelve are those of all earlier figures. For each the area under the ROC curve: how often a piece that was asked
for with this word has more of its tags than a piece asked for with another one (chance 0.5), with a 95 % bootstrap
interval of the mean over words.
"""

from __future__ import annotations

import argparse

import numpy as np

import openvmas
from openvmas.eval.metrics.statistics import bootstrap_interval
from openvmas.hub.taggers import Musicnn
from openvmas.settings import SAMPLE_RATE_OUT

# What is said, and the tags of it.
WORDS = {
    "rock": ("rock", "classic rock", "hard rock"),
    "metal": ("metal", "heavy metal"),
    "pop": ("pop", "indie pop"),
    "electronic": ("electronic", "electronica", "electro"),
    "jazz": ("jazz",),
    "ambient": ("ambient",),
    "folk": ("folk",),
    "hip hop": ("Hip-Hop",),
    "happy": ("happy", "party"),
    "sad": ("sad",),
    "calm": ("chillout", "Mellow", "chill"),
    "acoustic guitar": ("guitar", "acoustic"),
    "indie rock": ("indie rock", "alternative rock"),
    "hard rock": ("hard rock",),
    "punk": ("punk",),
    "blues": ("blues",),
    "country": ("country",),
    "soul": ("soul", "rnb"),
    "funk": ("funk",),
    "house": ("House",),
    "dance": ("dance", "party"),
    "electro": ("electro",),
    "alternative": ("alternative", "alternative rock"),
    "easy listening": ("easy listening",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--video", default="examples/landscape.mp4")
    parser.add_argument("--pieces", type=int, default=2, help="for each word")
    parser.add_argument("--words", type=int, default=12, help="how many, 12 or 24")
    parser.add_argument("--no-prompt", action="store_true", help="without audio prompts")
    given = parser.parse_args()
    scorer, ear, analysis = openvmas.load(given.model), Musicnn(), openvmas.analyze(given.video)
    heard = []  # [word, piece, tag]
    words = list(WORDS)[: given.words]
    for word in words:
        plans = [openvmas.plan(analysis, text=word, seed=seed) for seed in range(given.pieces)]
        options = {"candidates": 1, "no_prompt": given.no_prompt}
        blocks = [scorer.compose(plan, analysis, seed=seed, **options) for seed, plan in enumerate(plans)]
        waves = [np.concatenate(list(piece), axis=1).mean(0) for piece in blocks]
        heard.append([ear.embed(wave, SAMPLE_RATE_OUT).logits.mean(0) for wave in waves])
    tags = [[ear.classes.index(tag) for tag in group] for group in list(WORDS.values())[: given.words]]
    amounts = np.array(heard)
    print("| word | area under the curve |\n|---|---|")
    areas = []
    for i, word in enumerate(words):
        amount = amounts[..., tags[i]].mean(-1)
        own, others = amount[i], np.delete(amount, i, axis=0).ravel()
        areas.append(float((own[:, None] > others).mean()))
        print(f"| {word} | {areas[-1]:.2f} |")
    found = bootstrap_interval(np.array(areas))
    print(f"| all | {found.value:.2f} [{found.low:.2f}, {found.high:.2f}] |")


if __name__ == "__main__":
    main()
