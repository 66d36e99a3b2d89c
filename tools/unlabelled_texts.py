"""Unlabelled texts of six languages, from packages of Debian that carry free text, for `e5_teacher.py`.

    python tools/unlabelled_texts.py FOLDER

prints how many sentences and phrases each source gives. FOLDER has the packages of PACKAGES unpacked (`apt-get download
NAME`, `dpkg-deb -x NAME*.deb FOLDER/NAME`; Debian 12). Only what a teacher says of these texts is learned from; none of
them ships. Licences: docs/words.md.
"""

from __future__ import annotations

import gettext
import gzip
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from openvmas.planning.words import fold, word_model

LANGUAGES = ("en", "de", "es", "fr", "zh", "ja")
CAMPAIGNS = [
    "data",
    "did",
    "dm",
    "dw",
    "ei",
    "httt",
    "l",
    "low",
    "nr",
    "sof",
    "sota",
    "sotbe",
    "thot",
    "trow",
    "tsg",
    "ttb",
    "utbs",
]
PACKAGES = (
    *(f"wesnoth-1.16-{name}" for name in ("data", *CAMPAIGNS)),
    *("crawl-common", "wordnet-base", "trans-de-en", "edict", "unicode-cldr-core"),
    *("fortunes", "fortunes-de", "fortunes-es", "fortunes-zh", "mythes-de", "mythes-es", "mythes-fr"),
    *("dict-freedict-jpn-fra", "dict-freedict-fra-eng", "dict-freedict-spa-eng"),
)
SHARE = Path("usr/share")
MOST = 14  # words, or half as many characters of Chinese and Japanese, in one text
SENTENCE = re.compile(r"(?<=[.!?…。！？])[\"”’»」』)]*\s*(?=\S)|\n\s*\n|[—–]|\.\.\.+|;|；")
BRACKETS = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|<[^>]*>|（[^）]*）")
UNWANTED = re.compile(r"[$%@<>{}\[\]_=#~^|\\/]|https?:|\d{3}")
CJK = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")


def pieces(text: str) -> Iterator[str]:
    """The sentences of a text that are short and plain."""
    for part in SENTENCE.split(text):
        part = re.sub(r"\s+", " ", part).strip(" \"“”„«»「」『』*'.,:;-。，、")
        length = len(part) / 2 if CJK.search(part) else len(part.split())
        if part and 1 <= length <= MOST and len(part) <= 120 and not UNWANTED.search(part):
            yield part


def translations(folder: Path) -> Iterator[tuple[str, str]]:
    """The texts that are spoken and told in a game's stories, in all languages (`.mo` files of Battle for Wesnoth)."""
    places = {"de": "de", "es": "es", "fr": "fr", "zh": "zh_CN", "ja": "ja"}
    for language, place in places.items():
        for path in sorted(folder.glob(f"wesnoth-1.16-*/**/{place}/LC_MESSAGES/*.mo")):
            with path.open("rb") as file:
                catalog: dict[object, str] = gettext.GNUTranslations(file)._catalog  # pyright: ignore
            for key, text in sorted((str(k), v) for k, v in catalog.items() if k and isinstance(v, str)):
                yield from ((language, piece) for piece in pieces(text.split("^")[-1]))
                if language == "de":
                    yield from (("en", piece) for piece in pieces(key.split("\4")[-1].split("^")[-1]))


def descriptions(folder: Path) -> Iterator[tuple[str, str]]:
    """Descriptions of places and creatures (Dungeon Crawl Stone Soup)."""
    root = folder / "crawl-common" / SHARE / "crawl/dat/descript"
    for language in LANGUAGES:
        for path in sorted((root if language == "en" else root / language).glob("*.txt")):
            for text in path.read_text(encoding="utf-8", errors="ignore").split("%%%%"):
                yield from ((language, piece) for piece in pieces(text.split("\n\n", 1)[-1].replace("\n", " ")))


def wordnet(folder: Path) -> Iterator[tuple[str, str]]:
    """Examples and short explanations of WordNet 3.0."""
    for path in sorted((folder / "wordnet-base" / SHARE / "wordnet").glob("data.*")):
        for line in path.read_text(encoding="utf-8", errors="ignore").splitlines():
            if line[:1] != " " and " | " in line:
                gloss = line.split(" | ", 1)[1]
                yield from (("en", piece) for part in re.findall(r'"([^"]+)"', gloss) for piece in pieces(part))
                yield from (("en", piece) for piece in pieces(BRACKETS.sub("", gloss.split('"')[0])))


def dictionaries(folder: Path) -> Iterator[tuple[str, str]]:
    """Words and phrases of dictionaries: German and English, Japanese and English, French, Spanish."""
    for line in (folder / "trans-de-en" / SHARE / "trans/de-en").read_text(encoding="utf-8").splitlines():
        for language, side in zip(("de", "en"), BRACKETS.sub("", line).split("::"), strict=False):
            yield from ((language, piece) for part in re.split(r"[|;]", side) for piece in pieces(part))
    for line in (folder / "edict" / SHARE / "edict/edict").read_text(encoding="euc-jp", errors="ignore").splitlines():
        word, *glosses = line.split("/")
        if "(P)" not in line:
            continue
        yield from (("ja", piece) for piece in pieces(BRACKETS.sub("", word).split(";")[0]))
        yield from (("en", piece) for gloss in glosses[:1] for piece in pieces(BRACKETS.sub("", gloss)))
    for name, language in (("jpn-fra", "fr"), ("fra-eng", "fr"), ("spa-eng", "es")):
        path = folder / f"dict-freedict-{name}" / SHARE / f"dictd/freedict-{name}.dict.dz"
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            line = re.sub(r"/[^/]*/|^\s*\d+\.|\d", "", BRACKETS.sub("", line))
            if line.startswith(" ") == (name == "jpn-fra"):
                yield from ((language, piece) for part in line.split(",") for piece in pieces(part))
    for language, place in (("de", "th_de_DE_v2"), ("es", "th_es_ES_v2"), ("fr", "thes_fr")):
        path = folder / f"mythes-{language}" / SHARE / f"mythes/{place}.dat"
        encoding = path.read_bytes()[:12].split()[0].decode()
        for line in path.read_text(encoding=encoding, errors="ignore").splitlines()[1:]:
            for part in BRACKETS.sub("", line).split("|")[: 1 if "|" in line and line[-1:].isdigit() else None]:
                yield from ((language, piece) for piece in pieces(part))


def sayings(folder: Path) -> Iterator[tuple[str, str]]:
    """Sayings, jokes and verses of the fortunes, and the names of signs and faces in Unicode's CLDR."""
    places = {"en": "fortunes", "de": "fortunes-de", "es": "fortunes-es", "zh": "fortunes-zh"}
    for language, package in places.items():
        for path in sorted((folder / package / SHARE / "games/fortunes").rglob("*")):
            is_text = path.is_file() and not path.is_symlink() and not path.name.endswith((".dat", ".u8"))
            if is_text and "off" not in path.parts:
                text = re.sub(r"\x1b\[\d+m|\t", " ", path.read_text(encoding="utf-8", errors="ignore"))
                for part in text.split("\n%"):
                    part = re.split(r"\n\s*--", part)[0].replace("\n", " ")
                    yield from ((language, piece) for piece in pieces(part))
    for language in LANGUAGES:
        for kind in ("annotations", "annotationsDerived"):
            path = folder / "unicode-cldr-core" / SHARE / f"unicode/cldr/common/{kind}/{language}.xml"
            for node in ElementTree.parse(path).iter("annotation"):
                yield from ((language, piece) for part in (node.text or "").split("|") for piece in pieces(part))


SOURCES = (translations, descriptions, wordnet, dictionaries, sayings)


def read_texts(folder: Path, n_texts: int, seed: int = 0) -> list[tuple[str, str]]:
    """Pairs of language and text, as many of each language: stories first, and of the rest what says something.

    Texts are drawn without replacement; the clearer the present words hear them, the likelier (`words.axes`).
    """
    rng = random.Random(seed)
    keys: dict[str, dict[str, float]] = {language: {} for language in LANGUAGES}
    for source in SOURCES:
        for language, text in source(folder):
            text = fold(text)
            if text not in keys[language] and bool(CJK.search(text)) == (language in ("zh", "ja")):
                n_words = len(text) / 2.5 if CJK.search(text) else len(text.split())
                weight = 0.15 if n_words < 2 else 0.5 if n_words < 3 else 1.0
                keys[language][text] = rng.random() ** (1 / (weight * (3.0 if source is translations else 1.0)))
    model, n_each, chosen = word_model(), n_texts // len(LANGUAGES), []
    for language, found in keys.items():
        best = sorted(found, key=lambda text: -found[text])[: 2 * n_each]
        clear = {text: rng.random() ** (1 / (0.1 + np.abs(model.axes(text)[:2]).max())) for text in best}
        chosen += [(language, text) for text in sorted(clear, key=lambda text: -clear[text])[:n_each]]
    return chosen


def main() -> None:
    folder = Path(sys.argv[1])
    for source in SOURCES:
        found = set(source(folder))
        counts = {language: sum(language == other for other, _ in found) for language in LANGUAGES}
        print(f"{source.__name__}: {', '.join(f'{language} {n:,}' for language, n in counts.items())}")


if __name__ == "__main__":
    main()
