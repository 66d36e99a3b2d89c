"""Write music with MusicGen through transformers: python musicgen.py TEXT SECONDS SEED OUT [MODEL]

For `openvmas score --music-from musicgen.toml`; needs torch, transformers and scipy. Not run with real weights here.
"""

import sys

import scipy.io.wavfile
import torch
from transformers import AutoProcessor, MusicgenForConditionalGeneration

LONGEST = 30.0  # s that MusicGen writes in one piece; openvmas repeats parts of it for longer pictures


def main() -> None:
    text, seconds, seed, out = sys.argv[1:5]
    name = sys.argv[5] if len(sys.argv) > 5 else "facebook/musicgen-small"
    processor = AutoProcessor.from_pretrained(name)
    model = MusicgenForConditionalGeneration.from_pretrained(name).eval()
    torch.manual_seed(int(seed))
    codec = model.config.audio_encoder
    steps = int(min(float(seconds), LONGEST) * codec.frame_rate)
    inputs = processor(text=[text], padding=True, return_tensors="pt")
    with torch.inference_mode():
        made = model.generate(**inputs, do_sample=True, guidance_scale=3.0, max_new_tokens=steps)
    scipy.io.wavfile.write(out, codec.sampling_rate, made[0].float().numpy().T)


if __name__ == "__main__":
    main()
