"""Write music with Magenta RealTime: python magenta_realtime.py TEXT SECONDS SEED OUT

For `openvmas score --music-from magenta_realtime.toml`; needs the package magenta_rt and scipy. Not run with real
weights here: its test uses a package of the same names.
"""

import math
import sys

import numpy as np
import scipy.io.wavfile
from magenta_rt import audio, system


def main() -> None:
    text, seconds, seed, out = sys.argv[1:5]
    model = system.MagentaRT()
    style = model.embed_style(text)
    state, chunks = None, []
    for number in range(math.ceil(float(seconds) / model.config.chunk_length)):
        chunk, state = model.generate_chunk(state=state, style=style, seed=int(seed) + number)
        chunks.append(chunk)
    joined = audio.concatenate(chunks, crossfade_time=model.config.crossfade_length)
    scipy.io.wavfile.write(out, model.sample_rate, np.asarray(joined.samples, np.float32))


if __name__ == "__main__":
    main()
