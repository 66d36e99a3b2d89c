"""The stated mapping from what is seen to what should be heard: one table, a sentence a line, open to argument.

Every rule has a cue in [0, 1] (or [-1, 1] where it has two sides) and the axes that it moves, in standard deviations.
The effects of all rules are added and limited to [-2, 2]. It is to be replaced by what is learned from pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openvmas.condition import AXES, MOOD_AXES
from openvmas.vision.analysis import VideoAnalysis

LIMIT = 2.0
MIN_EFFECT = 0.35  # a style, feeling or instrument that moves less than this is not mentioned

# Things that ImageNet can name, as spans of its class numbers (`weights/imagenet_classes.json` has the names).
CONCEPTS: dict[str, str] = {
    "mountains": "970 972 979 980 350 672 795",  # alp, cliff, valley, volcano, ibex, mountain tent, ski
    "water": "975-978 460 973 449 536 718 780 914 871 484 147-150",  # lakeside to seashore, reef, piers, sails, whales
    "meadow": "984-986 958 987 989 300-326 580 738 716 946 425 730 998",  # flowers, hay, insects, barns
    "wild_animals": "101-106 269-277 286-297 340 344-354 385 386 127-146 7-24 80-100",
    "predators": "2-4 49 50 60-68 71-76 276 291 292",  # sharks, crocodiles, snakes, spiders, big cats
    "pets": "151-268 281-285 330-333 338 377-382 387 388 850",  # dogs, cats, rabbits, small monkeys, pandas, teddy
    "city": "468 547 627 654 656 705 757 779 829 874 888 919 920 498 704 637 733 480 743 839 821 807 727",
    "fast_vehicles": "817 751 573 670 665 511 479 518 671 444 404 895 814 802 803 450 466 657 744",
    "war": "413 471 764 763 652 847 895 403 657 461 465 524 586 715 787 490",
    "sport": "416 422 429 430 560 574 602 610 702 722 746 747 752 768 770 781 805 852 890 981 543 842 433",
    "church": "406 442 497 663 668 832 884 887 682 470",  # altar, bells, church, monastery, mosque, stupa, candle
    "palace": "483 698 873 857 562 649 500",  # castle, palace, arch, throne, fountain, megalith
    "stage": "819 818 854 650 632 548 831 598",  # stage, spotlight, curtain, microphone, loudspeaker
    "rock_band": "546 541 542 632 714",
    "orchestra": "486 889 432 513 558 566 683 875 577 594",
    "keyboard": "579 881",
    "folk_band": "401 402 420 593 642 684 699",
    "machines": "508 527 590 592 605 613 620 662 664 673 681 688 810 851 916 535 487 506 530 531 844 740 758",
    "space": "812 755 727 833 405 872",
    "food": "504 505 550 567 532 659 809 813 868 909 910 923-939 948-969 762 441 440 572 966 907 503 415 582",
    "play": "417 476 519 476 643 722 723 865 611 843 850 917 607 496 645 641 496 971",  # balloons, toys, comics
    "love": "982 578 601 824 457 689 711 679",  # groom, gowns, perfume, necklace
    "gloom": "607 815 570 669 913 743 646 583 823 643",  # jack-o'-lantern, cobweb, gas mask, wreck, prison
}


@dataclass(frozen=True)
class Rule:
    """When `cue` is 1 the axes move by these many standard deviations (and by minus that where it is -1)."""

    cue: str
    sentence: str
    effects: dict[str, float]


RULES: tuple[Rule, ...] = (
    # light and colour
    Rule("bright", "Bright pictures sound happier, higher and more awake; dim ones lower and sadder.",
         {"valence": 0.8, "brightness": 0.8, "arousal": 0.25, "happy": 0.5, "sad": -0.4}),
    Rule("dark", "Really dark pictures sound low, heavy and a little frightening.",
         {"valence": -0.8, "brightness": -0.7, "scary": 0.7, "sad": 0.5, "ambient": 0.3, "bass": 0.3}),
    Rule("colourful", "Colour cheers up; grey sobers.",
         {"valence": 0.5, "happy": 0.4, "pop": 0.3, "danceability": 0.2, "sad": -0.3}),
    Rule("warm", "Warm colours sound acoustic and tender, cold ones electronic and distant.",
         {"acousticness": 0.5, "valence": 0.3, "tender": 0.4, "electronic": -0.4, "synthesizer": -0.4}),
    Rule("stark", "Strong contrast of light and dark sounds dramatic.",
         {"soundtrack": 0.4, "density": 0.2, "arousal": 0.15}),
    # motion and cutting
    Rule("lively", "Motion is energy: fast pictures want fast, dense music, slow ones room.",
         {"arousal": 1.1, "density": 0.8, "danceability": 0.5, "brightness": 0.3, "acousticness": -0.3,
          "exciting": 0.8, "drums": 0.5, "ambient": -0.7, "tender": -0.4}),
    Rule("fast_cutting", "Many cuts ask for a beat.",
         {"arousal": 0.7, "density": 0.5, "danceability": 0.8, "exciting": 0.6, "drums": 0.8, "bass": 0.5,
          "electronic": 0.5, "acousticness": -0.6, "classical": -0.4}),
    Rule("still", "Long, still takes sound calm and sparse.",
         {"arousal": -0.7, "density": -0.7, "danceability": -0.7, "ambient": 0.9, "tender": 0.4, "acousticness": 0.4,
          "piano": 0.4, "strings": 0.3, "drums": -0.9, "exciting": -0.6}),
    Rule("bright_lively", "Bright and lively together is happiness.",
         {"happy": 0.8, "pop": 0.5, "valence": 0.4, "rock": 0.2}),
    Rule("dark_still", "Dark and still together is sadness or threat.",
         {"sad": 0.8, "valence": -0.4, "piano": 0.3, "strings": 0.3, "arousal": -0.3}),
    Rule("dark_lively", "Dark and lively together is danger.",
         {"scary": 0.5, "angry": 0.7, "exciting": 0.5, "metal": 0.4, "valence": -0.5, "electronic": 0.3}),
    Rule("bright_still", "Bright and still together is peace.",
         {"tender": 0.6, "valence": 0.2, "ambient": 0.3, "piano": 0.3, "guitar": 0.3, "scary": -0.5}),
    # what is in the picture
    Rule("mountains", "Mountains and valleys are wide, acoustic and a little solemn.",
         {"acousticness": 0.9, "ambient": 0.6, "soundtrack": 0.7, "strings": 0.6, "folk": 0.3, "electronic": -0.6}),
    Rule("water", "Sea and lakes are calm and flowing.",
         {"ambient": 0.8, "acousticness": 0.6, "arousal": -0.3, "piano": 0.5, "tender": 0.4, "guitar": 0.3}),
    Rule("meadow", "Flowers, fields and small creatures are light and acoustic.",
         {"acousticness": 1.0, "folk": 0.7, "valence": 0.5, "guitar": 0.6, "flute": 0.6, "tender": 0.4,
          "electronic": -0.6}),
    Rule("wild_animals", "Wild animals belong to the documentary: acoustic and cinematic.",
         {"acousticness": 0.7, "soundtrack": 0.6, "flute": 0.4, "strings": 0.3, "drums": 0.2}),
    Rule("predators", "Sharks, snakes and big cats are a threat.",
         {"scary": 0.8, "soundtrack": 0.5, "valence": -0.5, "strings": 0.3, "drums": 0.3}),
    Rule("pets", "Pets are funny and dear.",
         {"valence": 0.8, "funny": 0.9, "happy": 0.6, "acousticness": 0.5, "guitar": 0.4, "tender": 0.3}),
    Rule("city", "Streets and towers are electronic and steady.",
         {"electronic": 0.7, "acousticness": -0.6, "synthesizer": 0.6, "bass": 0.5, "danceability": 0.4,
          "hip_hop": 0.3}),
    Rule("fast_vehicles", "Cars, bikes and planes are driving and loud.",
         {"exciting": 0.9, "rock": 0.8, "arousal": 0.7, "drums": 0.7, "acousticness": -0.5, "electronic": 0.3}),
    Rule("war", "Weapons and armour are hard and heroic.",
         {"soundtrack": 0.9, "brass": 0.8, "drums": 0.8, "angry": 0.6, "exciting": 0.6, "arousal": 0.6,
          "valence": -0.5}),
    Rule("sport", "Sport is driving and proud.",
         {"exciting": 0.9, "rock": 0.6, "arousal": 0.7, "drums": 0.7, "happy": 0.3, "brass": 0.3}),
    Rule("church", "Churches and candles are solemn.",
         {"classical": 0.8, "choir": 0.9, "organ": 0.8, "bells": 0.6, "arousal": -0.4, "acousticness": 0.5}),
    Rule("palace", "Castles and palaces are noble and old.",
         {"classical": 0.8, "soundtrack": 0.6, "strings": 0.8, "brass": 0.4, "acousticness": 0.6}),
    Rule("stage", "A stage is a show.", {"pop": 0.5, "rock": 0.4, "exciting": 0.4, "arousal": 0.3}),
    Rule("rock_band", "A band that is seen should be heard.",
         {"rock": 1.2, "guitar": 1.0, "drums": 1.0, "arousal": 0.6}),
    Rule("orchestra", "An orchestra that is seen should be heard.",
         {"classical": 1.3, "strings": 1.0, "brass": 0.4, "flute": 0.4, "acousticness": 1.0}),
    Rule("keyboard", "A piano that is seen should be heard.",
         {"piano": 1.6, "classical": 0.8, "acousticness": 0.8, "tender": 0.4}),
    Rule("folk_band", "Guitars, accordions and pipes are folk.",
         {"folk": 1.3, "guitar": 1.0, "acousticness": 1.0, "flute": 0.3}),
    Rule("machines", "Screens and circuits are electronic.",
         {"electronic": 1.0, "synthesizer": 0.9, "acousticness": -0.9, "game": 0.4}),
    Rule("space", "Rockets and telescopes are vast and electronic.",
         {"ambient": 0.6, "electronic": 0.6, "synthesizer": 0.8, "soundtrack": 0.7, "choir": 0.4,
          "acousticness": -0.5}),
    Rule("food", "Food and coffee are warm and easy.",
         {"jazz": 0.8, "valence": 0.4, "acousticness": 0.5, "piano": 0.4, "guitar": 0.4, "bass": 0.3}),
    Rule("play", "Toys, balloons and comics are play.",
         {"funny": 0.9, "happy": 0.7, "game": 0.7, "valence": 0.7, "bells": 0.5}),
    Rule("love", "Weddings are tender.", {"tender": 1.1, "piano": 0.7, "strings": 0.7, "valence": 0.5}),
    Rule("gloom", "Masks, cobwebs and wrecks are eerie.", {"scary": 0.8, "valence": -0.6, "organ": 0.3}),
)  # fmt: skip


def describe(analysis: VideoAnalysis, start: float, end: float) -> dict[str, float]:
    """What music from `start` to `end` (s) should be like: axis -> value in [-2, 2], standard deviations.

    The mood axes are always there; styles, feelings and instruments only if the picture speaks for (or against) them.
    """
    seen = cues(analysis, start, end)
    total: dict[str, float] = {axis: 0.0 for axis in AXES}
    for rule in RULES:
        for axis, weight in rule.effects.items():
            total[axis] += weight * seen[rule.cue]
    limited = {axis: round(float(np.clip(value, -LIMIT, LIMIT)), 3) for axis, value in total.items()}
    return {axis: value for axis, value in limited.items() if axis in MOOD_AXES or abs(value) >= MIN_EFFECT}


def explain(analysis: VideoAnalysis, start: float, end: float) -> list[str]:
    """The sentences of the rules that speak for this span, strongest cue first, with the cue's value."""
    seen = cues(analysis, start, end)
    spoken = sorted(((abs(seen[r.cue]), r) for r in RULES if abs(seen[r.cue]) >= 0.15), key=lambda p: -p[0])
    return [f"{rule.cue} {seen[rule.cue]:+.2f}: {rule.sentence}" for _, rule in spoken]


def cues(analysis: VideoAnalysis, start: float, end: float) -> dict[str, float]:
    """What the rules look at, for one span: cue -> value in [0, 1], or [-1, 1] where it has two sides."""
    inside = (analysis.feature_times >= start - 0.25) & (analysis.feature_times < end)
    if not inside.any() and len(analysis.feature_times):
        inside[np.argmin(np.abs(analysis.feature_times - (start + end) / 2))] = True
    looks = {name: float(values[inside].mean()) if inside.any() else 0.0 for name, values in analysis.looks.items()}
    rate = float(analysis.events.rate)
    low, high = round(start * rate), max(round(end * rate), round(start * rate) + 1)
    energy = float(analysis.events.energy[low:high].mean()) if low < analysis.events.n_steps else 0.0
    # A second of room on both sides: one cut in a short section is not fast cutting.
    n_cuts = int(((analysis.cuts > start - 1) & (analysis.cuts < end + 1)).sum())
    cutting = n_cuts / max(end - start + 2, 4.0)
    bright = _two_sided(looks["brightness"], 0.42, 0.22)
    lively = _two_sided(energy, 0.38, 0.30)
    result = {
        "bright": bright,
        "dark": _one_sided(-looks["brightness"], -0.27, -0.12),
        "colourful": _two_sided(looks["saturation"], 0.22, 0.18),
        "warm": _two_sided(looks["warmth"], 0.02, 0.15),
        "stark": _two_sided(looks["contrast"], 0.55, 0.30),
        "lively": lively,
        "fast_cutting": _one_sided(cutting, 0.25, 1.0),
        "still": _one_sided(-energy, -0.25, -0.08) * _one_sided(-cutting, -0.3, -0.12),
        "bright_lively": max(bright, 0) * max(lively, 0),
        "dark_still": max(-bright, 0) * max(-lively, 0),
        "dark_lively": max(-bright, 0) * max(lively, 0),
        "bright_still": max(bright, 0) * max(-lively, 0),
    }
    classes = analysis.classes[inside].astype(np.float32).mean(axis=0) if inside.any() else np.zeros(1000)
    for concept, members in _members().items():
        result[concept] = _one_sided(float(classes[members].sum()), 0.06, 0.45)
    return result


def _members() -> dict[str, np.ndarray]:
    """CONCEPTS as arrays of class numbers."""
    members = {}
    for concept, spans in CONCEPTS.items():
        numbers: set[int] = set()
        for span in spans.split():
            first, _, last = span.partition("-")
            numbers.update(range(int(first), int(last or first) + 1))
        members[concept] = np.array(sorted(numbers))
    return members


def _two_sided(value: float, middle: float, spread: float) -> float:
    return float(np.clip((value - middle) / spread, -1, 1))


def _one_sided(value: float, none: float, full: float) -> float:
    return float(np.clip((value - none) / (full - none), 0, 1))
