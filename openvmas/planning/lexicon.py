"""Words to meaning: what "very calm piano, no drums" says on the semantic axes, by a lexicon that can be read.

Every entry is a list of words and what they mean on the axes of `condition.AXES`, in standard deviations of music at
large. The lexicon is written by hand from common usage of music descriptions; there is nothing learned in it.
"""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass

from openvmas.condition import AXES
from openvmas.errors import PlanError

LIMIT = 2.0  # values stay in [-LIMIT, LIMIT]
NEGATION = -0.8  # "not sad" says less than "sad" does, and the contrary

# words, separated by commas: axis weight ...; `~120` is a tempo in beats per minute that the words suggest,
# `/3` the beats per bar. An indented line goes on with the one before.
LEXICON = """
calm, peaceful, serene, tranquil, quiet, still, hushed, zen:
    arousal -1.4, valence .4, density -.9, exciting -1, tender .6
relaxed, relaxing, chill, chilled, laid back, mellow, easy, restful, soothing, lazy:
    arousal -1.1, valence .5, density -.5, tender .4
gentle, soft, delicate, light touch, subtle, understated: arousal -1, density -.8, tender 1, acousticness .4
sleepy, lullaby, drowsy, bedtime: arousal -1.8, tender 1.2, density -1, ~72
meditative, meditation, yoga, spa, hypnotic, contemplative, reflective, thoughtful, pensive, introspective:
    arousal -1.2, density -.8, ambient .8, danceability -.6
happy, joyful, joyous, joy, cheerful, merry, jolly, glad, delighted, sunny:
    happy 1.6, valence 1.5, arousal .5, brightness .5
upbeat, lively, bouncy, peppy, perky: happy 1, valence 1.1, arousal 1, danceability .9, ~122
uplifting, inspiring, inspirational, motivational, inspire: valence 1.3, happy .8, arousal .6, soundtrack .5, pop .4
hopeful, hope, optimistic, promising, encouraging: valence 1.1, happy .7, tender .4, brightness .4
positive, good, family, feel good, nice, pleasant, warm, friendly, cosy, cozy: valence 1, happy .7, tender .4
playful, whimsical, kids, children, quirky, cute, childlike, childish, cartoonish, toy, mischievous:
    funny 1.3, happy .9, valence .9, bells .5, brightness .5
funny, comic, cartoon, clumsy, comedy, comical, humorous, silly, goofy, clownish: funny 1.7, valence .8, arousal .3
romantic, romance, love, loving, wedding, passionate: tender 1.4, valence .7, strings .6, piano .4
tender, sweet, intimate, emotional, heartwarming, moving, affectionate, heartfelt, touching, innocent:
    tender 1.5, valence .4, arousal -.7
nostalgic, nostalgia, wistful, bittersweet, longing, yearning, memories:
    sad .7, tender 1, valence -.1, arousal -.7, acousticness .4
sad, sorrowful, sorrow, mournful, grief, grieving, tragic, tragedy, heartbroken, tearful, crying:
    sad 1.7, valence -1.4, arousal -.8
melancholic, melancholy, gloomy, blue, somber, sombre, lonely, lonesome, desolate, forlorn:
    sad 1.3, valence -1.1, arousal -.8, tender .4
depressing, depressed, hopeless, despair, bleak, miserable: sad 1.5, valence -1.7, arousal -.9, brightness -.7
dark, brooding, gothic, sinister, shadowy, grim, noir, murky: valence -1.2, scary .9, brightness -1.2
scary, creepy, spooky, horror, frightening, eerie, haunted, haunting, terrifying, nightmare, ghostly:
    scary 1.7, valence -1.4, brightness -.4
mysterious, mystery, investigative, detective, crime, secret, enigmatic, strange, weird, uncanny, mystical:
    scary .7, valence -.4, ambient .6, soundtrack .5
tense, tension, urgent, relentless, dissonant, suspense, suspenseful, nervous, anxious, uneasy, ominous,
    threatening, menacing, thriller, danger, dangerous: scary 1.2, valence -1, arousal .5, soundtrack .7
angry, furious, rage, aggressive, violent, brutal, hostile, fierce, wild, savage:
    angry 1.7, arousal 1.4, valence -.9, density .8
intense, powerful, strong, forceful, hard, heavy: arousal 1.3, exciting .9, density 1
exciting, excited, thrilling, adventure, adventurous, action, chase, race, racing, adrenaline:
    exciting 1.6, arousal 1.3, density .7, ~132
energetic, energy, dynamic, active, vigorous, driving, pumping, powered:
    arousal 1.4, exciting 1, danceability .7, density .7, ~126
epic, heroic, hero, anthemic, anthem, climax, stadium, majestic, grand, glorious, triumphant, triumph, victory,
    victorious, monumental, grandiose:
    exciting 1.3, arousal 1, soundtrack 1.4, brass 1, strings .8, drums .6, density .8
dramatic, drama, theatrical, cinematic, movie, film, trailer, blockbuster, score:
    soundtrack 1.4, exciting .6, strings .7, arousal .4
battle, war, fight, combat, military, march, marching: exciting 1.2, angry .7, arousal 1.3, drums 1, brass .8, ~118
solemn, serious, noble, dignified, stately, ceremonial, ceremony:
    arousal -.4, valence -.1, classical .8, organ .4, brass .3
spiritual, sacred, holy, religious, church, cathedral, heavenly, angelic, divine, hymn:
    choir 1.2, organ .8, arousal -.7, tender .5
dreamy, dream, dreamlike, ethereal, floating, hazy, surreal, otherworldly, airy:
    ambient 1.3, arousal -.9, density -.5, synthesizer .5, tender .4
magical, magic, enchanted, fairy, fairytale, fantasy, wonder, wondrous, sparkling:
    bells .9, soundtrack .9, valence .5, game .4, strings .4
spacious, space, cosmic, vast, sci fi, science fiction, futuristic, alien: ambient 1, synthesizer 1, soundtrack .6
nature, natural, underwater, pastoral, organic, forest, ocean, sea, water, river:
    acousticness 1, ambient .6, arousal -.6, flute .5
mountain, landscape, sweeping, soaring, panoramic: soundtrack .9, strings .8, valence .6
medieval, celtic, irish, tavern, renaissance, viking: folk 1.4, acousticness 1, flute .7, guitar .3
party, club, dance, dancing, danceable, disco, 70s, groove, groovy, funky, funk:
    danceability 1.6, arousal 1, valence .8, bass .7, drums .7, ~122
sexy, sensual, seductive, smooth, slick: danceability .5, jazz .6, arousal -.2, bass .5
cool, hip, urban, city, fashion, luxury, street, swagger, confident: hip_hop .8, danceability .8, bass .6
corporate, business, podcast, news, technology, tech, clean, modern, product, startup:
    pop .6, electronic .6, valence .7, arousal .2
retro, vintage, old, old school: acousticness .2, jazz .3
sporty, sport, skateboarding, skate, surf, fitness, motivational workout, workout, gym, running:
    arousal 1.4, exciting 1.1, electronic .6, drums .8, ~134
summer, beach, tropical, holiday, vacation, travel, vlog: valence 1.1, happy 1, danceability .6, guitar .4, ~108
winter, cold, icy, frozen, snow: arousal -.5, bells .6, ambient .5, brightness .3
christmas, xmas, festive, jingle, sleigh: bells 1.3, happy .9, valence 1, choir .5
night, nocturnal, midnight, evening: arousal -.6, brightness -.7, ambient .4
morning, sunrise, dawn, spring: valence .8, arousal -.3, brightness .6, acousticness .4
bright, brilliant, glassy, crystalline, shiny, crisp, sparkly: brightness 1.4, valence .4
dull, muffled, muted, deep, low: brightness -1.2
simple, minimal, minimalist, minimalistic, sparse, bare, uncluttered: density -1.4, arousal -.5
rich, dense, full, lush, layered, busy, complex, big, huge, massive: density 1.3
loud, noisy, bombastic: arousal 1.2, density 1
rhythmic, beat, beats, percussive, punchy, rhythm: drums 1, danceability .9, density .4
melodic, melodious, melody, lyrical, tuneful, singing: valence .4, tender .5, acousticness .3
atmospheric, atmosphere, background, soundscape, texture, drone: ambient 1.3, density -.4, arousal -.6
ambient, ambience, new age: ambient 1.8, arousal -1.1, danceability -1.1, synthesizer .7, density -.6
classical, baroque, harpsichord, symphonic, chamber, mozart, bach, chopin, concerto, symphony, sonata:
    classical 1.8, acousticness 1.2, strings .9
orchestral, orchestra, philharmonic: strings 1.4, brass .9, classical 1, soundtrack .9
electronic, electro, edm, dubstep, rave, techno, trance, electronica:
    electronic 1.8, synthesizer 1.2, acousticness -1.2, danceability 1
house, deep house: electronic 1.6, danceability 1.5, acousticness -1, ~124
drum and bass, dnb, jungle, breakbeat: electronic 1.5, drums 1.4, bass 1.2, arousal 1.2, ~168
synthwave, outrun, eighties, 80s, cyberpunk, vaporwave: electronic 1.3, synthesizer 1.7, acousticness -1.2, ~104
chillout, downtempo, study, lofi, lo fi, trip hop, chillhop:
    electronic .7, hip_hop .7, arousal -.9, danceability .4, ambient .5, ~82
folk, country, bluegrass, americana, acoustic folk, singer songwriter, ballad: folk 1.5, acousticness 1.4, guitar 1
jazz, jazzy, swing, bebop, big band, blues, bluesy, bossa, bossa nova, lounge:
    jazz 1.8, acousticness .6, bass .5, piano .4
ragtime, honky tonk: jazz 1.3, piano 1.5, funny .7, happy .7
pop, poppy, catchy, mainstream, radio, indie: pop 1.5, valence .6, danceability .6
rock, rocky, gritty, grunge, punk, alternative, garage:
    rock 1.7, guitar 1.3, drums 1, arousal .9, acousticness -.6, density .6
metal, heavy metal, metalcore, thrash:
    metal 1.9, guitar 1.4, drums 1.2, angry 1.1, arousal 1.6, acousticness -1.1, density 1.1
hip hop, hiphop, rap, trap, boom bap: hip_hop 1.8, drums .9, bass 1, danceability .9, ~90
reggae, dub, ska, caribbean, steel drums: bass 1.1, danceability .9, valence .6, guitar .6, ~80
latin, salsa, samba, tango, flamenco, mambo, mariachi: danceability 1.2, acousticness .8, guitar .9, valence .6
soul, rnb, r and b, gospel, motown: pop .7, jazz .6, tender .5, choir .4, organ .4
game, video game, platformer, gaming, arcade, chiptune, 8 bit, 8bit, pixel: game 1.8, synthesizer 1, electronic .6
soundtrack, film score, film music, underscore: soundtrack 1.8, strings .5
documentary, nature documentary, slow motion, time lapse: soundtrack 1, ambient .5, arousal -.4
waltz, 3 4: /3, acousticness .5, classical .6, danceability .3
western, cowboy, desert: folk .9, guitar 1.1, soundtrack .5
oriental, asian, chinese, japanese, indian, arabic, ethnic, world, african, tribal:
    folk 1, acousticness .7, flute .5, drums .4
piano, keys, keyboard, pianist, grand piano: piano 1.8, acousticness .6
guitar, acoustic guitar, ukulele, banjo, strumming: guitar 1.7, acousticness .7
electric guitar, distorted guitar, guitar solo, riff: guitar 1.7, rock .9, acousticness -.6
string, strings, pizzicato, violin, viola, cello, fiddle, string quartet: strings 1.7, acousticness .7
brass, trumpet, trombone, horn, fanfare, tuba: brass 1.8, acousticness .4
saxophone, sax: jazz 1.2, brass .6
flute, woodwind, whistle, recorder, oboe, clarinet, ocarina, panpipe: flute 1.7, acousticness .8
bell, bells, glockenspiel, chime, celesta, xylophone, marimba, vibraphone, music box, kalimba:
    bells 1.8, acousticness .4
choir, choral, voice, vocal, chant, chorus: choir 1.8
synthesizer, synth, pad, arpeggio, arpeggiator, theremin, moog: synthesizer 1.7, electronic .7, acousticness -.8
organ, church organ, hammond, harmonium, accordion: organ 1.8
drum, drums, percussion, kit, timpani, bongo, taiko, snare: drums 1.6, density .4
bass, bassline, 808, sub bass, bass guitar, double bass: bass 1.6
harp, lyre: strings .9, tender .7, acousticness .9
acoustic, unplugged: acousticness 1.6, electronic -.9
synthetic, digital, artificial, robotic, industrial, glitch: electronic 1.2, acousticness -1.5, synthesizer .8
slow, slowly, slower, lento: arousal -.7, ~78
largo, grave: arousal -1, ~56
adagio: arousal -1, tender .5, ~68
andante, walking: arousal -.4, ~90
moderato, medium, mid tempo, midtempo, moderate: ~106
allegretto: arousal .3, ~114
allegro: arousal .8, ~130
vivace: arousal 1.1, ~144
fast, faster, quick, rapid, speedy, uptempo, up tempo: arousal 1, exciting .5, density .4, ~138
presto, frantic, frenetic, hectic, breakneck: arousal 1.6, exciting .9, density .8, ~160
"""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


NEGATIONS = _set("no not without never non minus lacking hardly barely avoid except isnt dont")
STRENGTHS = {
    "very": 1.4, "extremely": 1.7, "really": 1.3, "super": 1.5, "highly": 1.4, "most": 1.4, "ultra": 1.6,
    "incredibly": 1.6, "more": 1.2, "so": 1.3, "too": 1.2, "much": 1.1, "mostly": 1.0, "quite": 0.9, "rather": 0.8,
    "fairly": 0.8, "pretty": 0.9, "somewhat": 0.6, "slightly": 0.5, "bit": 0.5, "little": 0.5, "touch": 0.5,
    "hint": 0.4, "subtly": 0.5, "vaguely": 0.4, "less": -0.6,
}  # fmt: skip
SILENT = _set(
    """a an the and or of to in for on at by as is are be it its this that these those i we my our you your me please
    want wants should must can could would like likes with but then some any kind sort style styled type feel feeling
    feels mood moods vibe vibes sound sounds sounding music musical song track piece theme tune something make makes
    made keep let use using based inspired from into over under while where when there very also just only
    instrumental instrument instruments tempo bpm video clip ending opening part section end beginning start scene about
    footage show film late solo true build builds building electric motion time"""
)
RESETS = _set("but with then plus yet however")
MAX_PHRASE = 3  # words in the longest lexicon entry
SUFFIXES = ("ly", "ness", "es", "s", "ing", "ed", "er", "est", "ful", "y", "ic", "al", "ish")


@dataclass(frozen=True)
class Meaning:
    """What words say.

    axes: axis name → value in [-LIMIT, LIMIT]; only the axes that something is said about.
    tempo: what the tempo words suggest, beats per minute, or None; is_tempo_exact where a number was given ("90 bpm").
    beats_per_bar: what words such as waltz suggest, or None.
    unknown: words that are in no lexicon, in the order of the text.
    """

    axes: dict[str, float]
    tempo: float | None = None
    is_tempo_exact: bool = False
    beats_per_bar: int | None = None
    unknown: tuple[str, ...] = ()


@functools.cache
def lexicon() -> dict[str, dict[str, float]]:
    """Every word or phrase → its weights; the key "~" holds a tempo in beats per minute, "/" the beats per bar."""
    entries: dict[str, dict[str, float]] = {}
    for line in re.sub(r"\n +", " ", LEXICON).strip().splitlines():
        words, _, weights = line.partition(":")
        meaning: dict[str, float] = {}
        for weight in weights.split(","):
            name, _, value = weight.strip().partition(" ")
            if name[0] in "~/":
                meaning[name[0]] = float(name[1:])
            elif name in AXES:
                meaning[name] = float(value)
            else:
                raise ValueError(f"lexicon: {name!r} is not an axis, in {line!r}")
        for word in words.split(","):
            if word.strip() in entries:
                raise ValueError(f"lexicon: {word.strip()!r} is there twice")
            entries[word.strip()] = meaning
    return entries


def understand(text: str | None) -> Meaning:
    """What a text says, from its known words, their negations ("no drums") and strengths ("very calm")."""
    axes: dict[str, float] = {}
    hints: dict[str, list[float]] = {"~": [], "/": [], "exact": []}
    unknown: dict[str, None] = {}
    for clause in re.split(r"[,.;:!?()\n]+(?!\d)", _plain(text or "")):
        _read_clause(clause.split(), axes, hints, unknown)
    limited = {axis: round(max(-LIMIT, min(LIMIT, axes[axis])), 3) for axis in AXES if axis in axes}
    values = {axis: value for axis, value in limited.items() if value}  # what cancels out is not said
    tempos = hints["exact"][-1:] or hints["~"]
    return Meaning(
        axes=values,
        tempo=sum(tempos) / len(tempos) if tempos else None,
        is_tempo_exact=bool(hints["exact"]),
        beats_per_bar=int(hints["/"][-1]) if hints["/"] else None,
        unknown=tuple(unknown),
    )


def _read_clause(words: list[str], axes: dict, hints: dict[str, list[float]], unknown: dict[str, None]) -> None:
    """Add what the words between two commas say; negations and strengths end with the clause."""
    sign, strength, i = 1.0, 1.0, 0
    while i < len(words):
        word = words[i]
        number = _tempo_number(words, i)
        entry, n_words = _find(words, i)
        i += 2 if number is not None else n_words
        if number is not None:
            hints["exact"].append(number)
        elif entry is not None:
            _add(entry, sign * strength, axes, hints)
            strength = 1.0
        elif word in NEGATIONS:
            sign, strength = NEGATION, 1.0
        elif word in RESETS:
            sign, strength = 1.0, 1.0
        elif word in STRENGTHS:
            # "not very sad" denies the strength more than the sadness
            strength *= 0.5 if sign < 0 and STRENGTHS[word] > 1 else STRENGTHS[word]
        elif word not in SILENT:
            unknown[word] = None
            strength = 1.0


def _add(entry: dict[str, float], strength: float, axes: dict, hints: dict[str, list[float]]) -> None:
    """One entry's weights, times strength; a negated word denies its main meaning only."""
    largest = max((abs(weight) for name, weight in entry.items() if name not in hints), default=0.0)
    for name, weight in entry.items():
        if name in hints:
            hints[name] += [weight] if strength > 0 else []
        elif strength > 0 or abs(weight) >= 0.6 * largest:
            axes[name] = axes.get(name, 0.0) + weight * strength


def understand_mood(mood: str | None) -> Meaning:
    """The same for one mood word, which must be known.

    Raises PlanError with the nearest moods if it is not.
    """
    meaning = understand(mood)
    if mood is None or ((meaning.axes or meaning.tempo) and not meaning.unknown):
        return meaning
    word = meaning.unknown[0] if meaning.unknown else mood.strip()
    near = difflib.get_close_matches(word, lexicon(), n=3, cutoff=0.7) or ["calm", "happy", "dark", "epic"]
    raise PlanError(f"mood: {word!r} is not a mood known here; give another word, such as {', '.join(near)}.")


def _plain(text: str) -> str:
    """Lower case, without apostrophes and what cannot be printed; hyphens and slashes opened up, commas kept."""
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    text = text.lower().replace("'", "").replace("’", "").replace("&", " and ")
    return re.sub(r"[-_/\"“”*+|]+", " ", text)


def _tempo_number(words: list[str], i: int) -> float | None:
    """The number of "90 bpm" at words[i], if it is one that music can have."""
    if i + 1 < len(words) and words[i + 1] == "bpm" and re.fullmatch(r"\d{2,3}(\.\d+)?", words[i]):
        tempo = float(words[i])
        return tempo if 40 <= tempo <= 220 else None
    return None


def _find(words: list[str], i: int) -> tuple[dict[str, float] | None, int]:
    """The entry of the longest phrase that starts at words[i], and how many words it takes (at least 1)."""
    entries = lexicon()
    for n_words in range(min(MAX_PHRASE, len(words) - i), 0, -1):
        phrase = " ".join(words[i : i + n_words])
        if phrase in entries:
            return entries[phrase], n_words
    if words[i] in SILENT or words[i] in NEGATIONS or words[i] in STRENGTHS or words[i] in RESETS:
        return None, 1
    return next((entries[stem] for stem in _stems(words[i]) if stem in entries), None), 1


def _stems(word: str) -> list[str]:
    """Simpler forms that the word may come from, most careful first: happier → happy, drumming → drum."""
    stems = []
    for suffix in SUFFIXES:
        root = word.removesuffix(suffix)
        if root != word and len(root) >= 3:
            stems += [root, root + "e", root + "y"]
            if root.endswith("i"):
                stems.append(root[:-1] + "y")
            if root[-1] == root[-2]:
                stems.append(root[:-1])
    return stems
