"""Write music with Stable Audio Open through diffusers: python stable_audio.py TEXT SECONDS SEED OUT [MODEL] [STEPS]

For `openvmas score --music-from stable_audio.toml`; needs torch, diffusers, transformers, torchsde and scipy. Not run
with real weights here.
"""

import sys

import scipy.io.wavfile
import torch
from diffusers import StableAudioPipeline

LONGEST = 47.0  # s that the model writes in one piece; openvmas repeats parts of it for longer pictures
NOT_WANTED = "low quality, noise, speech, singing"


def main() -> None:
    text, seconds, seed, out = sys.argv[1:5]
    name = sys.argv[5] if len(sys.argv) > 5 else "stabilityai/stable-audio-open-1.0"
    steps = int(sys.argv[6]) if len(sys.argv) > 6 else 100
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = StableAudioPipeline.from_pretrained(name).to(device)
    made = pipeline(
        text, negative_prompt=NOT_WANTED, num_inference_steps=steps, audio_end_in_s=min(float(seconds), LONGEST),
        generator=torch.Generator("cpu").manual_seed(int(seed)),
    ).audios[0]  # fmt: skip
    scipy.io.wavfile.write(out, pipeline.vae.config.sampling_rate, made.T.float().cpu().numpy())


if __name__ == "__main__":
    main()
