"""Is music copied from the audio prompts that it begins from? The longest passage that pieces share with any prompt.

    python bench/prompt_copies.py VIDEO ... [--pieces 100] [--model mini]

Pieces are written for the videos in turn, each with another seed, one candidate, and their first codebook is compared
with that of all prompts of the bank at every place (`bench/memorization.py`; copies from the training music itself:
`bench/copies.py`). A passage counts as copied while four fifths of its codes are the same.
"""

from __future__ import annotations

import argparse

import numpy as np
from memorization import Corpus, code_words

import openvmas
from openvmas.generate.composer import ModelComposer
from openvmas.settings import CONTROL_RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--pieces", type=int, default=100)
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    scorer = openvmas.load(given.model)
    assert isinstance(scorer.composer, ModelComposer) and scorer.composer.bank is not None
    bank = scorer.composer.bank
    prompts = Corpus([(bank[i].name, code_words(bank[i].codes)) for i in range(len(bank))])
    analyses = [openvmas.analyze(video) for video in given.videos]
    seconds = []
    for seed in range(given.pieces):
        analysis = analyses[seed % len(analyses)]
        piece = scorer.compose(openvmas.plan(analysis, seed=seed), analysis, seed=seed, candidates=1)
        for _ in piece:
            pass
        found = prompts.find(code_words(np.asarray(piece.codes)))
        seconds.append(found.length / float(CONTROL_RATE))
        if seconds[-1] > 0.5:
            print(f"{seconds[-1]:.2f} s in piece {seed}, from prompt {found.track}", flush=True)
    lengths = np.array(seconds)
    print(
        f"{len(lengths)} pieces: longest {lengths.max():.2f} s, 95 % at most {np.quantile(lengths, 0.95):.2f} s, "
        f"{int((lengths > 0.5).sum())} above 0.5 s"
    )


if __name__ == "__main__":
    main()
