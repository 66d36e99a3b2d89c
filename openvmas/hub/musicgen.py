"""MusicGen's decoder (Copet et al. 2023, arXiv:2306.05284) with our conditions, to start training from its weights.

The architecture is MusicGen's: sinusoidal positions, pre-norm blocks of full causal attention, cross-attention to the
states of a text encoder, GELU perceptron, one head per codebook. What is added is the condition of every step, before
every layer, with gains that start at zero (as in ControlNet, Zhang et al. 2023): a loaded model gives MusicGen's own
logits until training opens them. It has the interface of `model.decoder.Decoder`, so `train.joint.joint_trainer`
trains it as it is.

Cost and memory grow with the square of the length: whole pieces are written window by window, unlike with `Decoder`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvmas.condition import AXES, CURVES
from openvmas.errors import ModelError
from openvmas.hub.checkpoint_files import fill, load_pretrained, load_tokenizer, read_config, read_folder
from openvmas.model.decoder import ConditionEncoder, Decoder, load_decoder


@dataclass(frozen=True)
class MusicGenConfig:
    """Sizes; the defaults are those of facebook/musicgen-small (300 M for text, 420 M decoder in all)."""

    n_codebooks: int = 4
    codebook_size: int = 2048
    width: int = 1024
    n_layers: int = 24
    n_heads: int = 16
    hidden: int = 4096
    text_width: int = 768  # of the text encoder's states; 0: as wide as the decoder, and nothing in between
    n_curves: int = len(CURVES)
    n_axes: int = len(AXES)
    curve_kernel: int = 41  # steps


class Attention(nn.Module):
    """Attention without biases; queries from x, keys and values from `source`."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, source: Tensor, is_causal: bool = False, mask: Tensor | None = None) -> Tensor:
        """x [B, S, D], source [B, N, D], mask [B, N] bool of what may be seen → [B, S, D]."""
        parts = self.to_q(x), self.to_k(source), self.to_v(source)
        q, k, v = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in parts)
        seen = None if mask is None else mask[:, None, None]
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=is_causal)
        return self.to_out(found.transpose(1, 2).flatten(2))


class MusicGenLayer(nn.Module):
    """Attention, cross-attention and perceptron, each on normalised input and added back."""

    def __init__(self, config: MusicGenConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_own, self.own = nn.LayerNorm(width), Attention(width, config.n_heads)
        self.norm_text, self.text = nn.LayerNorm(width), Attention(width, config.n_heads)
        self.norm_hidden = nn.LayerNorm(width)
        self.to_hidden = nn.Linear(width, config.hidden, bias=False)
        self.from_hidden = nn.Linear(config.hidden, width, bias=False)
        self.condition_gain = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, condition: Tensor, text: Tensor | None, text_mask: Tensor | None) -> Tensor:
        x = x + self.condition_gain * condition
        own = self.norm_own(x)
        x = x + self.own(own, own, is_causal=True)
        if text is not None:
            x = x + self.text(self.norm_text(x), text, mask=text_mask)
        return x + self.from_hidden(F.gelu(self.to_hidden(self.norm_hidden(x))))


class MusicGenDecoder(nn.Module):
    """Tokens [B, K, S] and condition → logits [B, K, S, V]; the interface is that of `Decoder`.

    Without text the cross-attention is left out. That is also MusicGen's null condition: its null text is
    zeros, and without biases zeros come out.
    """

    def __init__(self, config: MusicGenConfig) -> None:
        super().__init__()
        self.config = config
        self.codec: dict[str, Any] | None = None  # whose codes it reads, if known: as `Decoder.codec`
        self.condition = ConditionEncoder(config)  # pyright: ignore[reportArgumentType]  # the sizes it reads are there
        self.embedding = nn.Embedding(config.n_codebooks * (config.codebook_size + 1), config.width)
        self.text_in = nn.Linear(config.text_width, config.width) if config.text_width else nn.Identity()
        self.layers = nn.ModuleList(MusicGenLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.width)
        self.heads = nn.Linear(config.width, config.n_codebooks * config.codebook_size, bias=False)

    def positions(self, n_steps: int) -> Tensor:
        """Cosines, then sines: [S, D]."""
        half = self.config.width // 2
        device = self.embedding.weight.device
        frequency = torch.exp(torch.arange(half, device=device).float() * (-math.log(10_000) / (half - 1)))
        angle = torch.arange(n_steps, device=device).float()[:, None] * frequency
        return torch.cat([angle.cos(), angle.sin()], dim=1)

    def hidden(
        self, tokens: Tensor, condition: Tensor, text: Tensor | None = None, text_mask: Tensor | None = None
    ) -> Tensor:
        """Hidden states after the last layer [B, S, D], not yet normalised.

        tokens [B, K, S]: shifted here, step s sees tokens before s; condition [B, S, D]; text [B, N, text_width] of
        MusicGen's text encoder, of which text_mask [B, N] says which are words.
        """
        size = self.config.codebook_size
        offsets = torch.arange(self.config.n_codebooks, device=tokens.device)[:, None] * (size + 1)
        before = torch.cat([torch.full_like(tokens[..., :1], size), tokens[..., :-1]], dim=-1)
        x = self.embedding(before + offsets).sum(1)
        x = x + self.positions(x.shape[1]).to(x.dtype)
        seen = None if text_mask is None else text_mask.bool()
        if text is not None:
            text = self.text_in(text) if text_mask is None else self.text_in(text) * text_mask[..., None]
        for layer in self.layers:
            x = layer(x, condition, text, seen)
        return x

    def predict(self, hidden: Tensor) -> Tensor:
        """Hidden states [B, S, D], from `hidden` → logits [B, K, S, V]."""
        return self.heads(self.norm(hidden)).unflatten(-1, (self.config.n_codebooks, -1)).transpose(1, 2)

    def forward(
        self, tokens: Tensor, condition: Tensor, text: Tensor | None = None, text_mask: Tensor | None = None
    ) -> Tensor:
        return self.predict(self.hidden(tokens, condition, text, text_mask))


def rename_weights(state: dict[str, Tensor], n_codebooks: int) -> dict[str, Tensor]:
    """Weights of MusicGen's decoder under our names, heads concatenated. Raises KeyError if there are none."""
    prefix = "decoder." if any(key.startswith("decoder.model.") for key in state) else ""
    trunk = prefix + "model.decoder."
    parts = {
        "self_attn_layer_norm": "norm_own", "encoder_attn_layer_norm": "norm_text", "final_layer_norm": "norm_hidden",
        "self_attn": "own", "encoder_attn": "text", "fc1": "to_hidden", "fc2": "from_hidden",
        "q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out",
    }  # fmt: skip
    found: dict[str, Tensor] = {}
    for name, start in (("embedding", f"{trunk}embed_tokens"), ("heads", f"{prefix}lm_heads")):
        found[f"{name}.weight"] = torch.cat([state[f"{start}.{k}.weight"] for k in range(n_codebooks)])
    for key, value in state.items():
        if key.startswith(f"{trunk}layers."):
            found[".".join(parts.get(word, word) for word in key.removeprefix(trunk).split("."))] = value
        elif key.startswith(f"{trunk}layer_norm."):
            found[key.replace(f"{trunk}layer_norm", "norm")] = value
        elif key.startswith("enc_to_dec_proj."):
            found[key.replace("enc_to_dec_proj", "text_in")] = value
    return found


def read_sizes(config: dict[str, Any], has_text_in: bool) -> MusicGenConfig:
    """Sizes from `config.json` of either model class. Raises ModelError for a variant that is not MusicGen's own."""
    sizes = config.get("decoder", config)
    if sizes.get("activation_function", "gelu") != "gelu" or sizes.get("audio_channels", 1) != 1:
        raise ModelError("this MusicGen is stereo or has another activation; give musicgen-small, -medium or -large.")
    names = {
        "num_codebooks": "n_codebooks", "vocab_size": "codebook_size", "hidden_size": "width",
        "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads", "ffn_dim": "hidden",
    }  # fmt: skip
    given = {ours: sizes[name] for name, ours in names.items() if name in sizes}
    return MusicGenConfig(**given, text_width=config.get("text_encoder", {}).get("d_model", 768) if has_text_in else 0)


def load_musicgen(folder: str | Path) -> MusicGenDecoder:
    """The decoder of a folder of `MusicgenForConditionalGeneration` or `MusicgenForCausalLM`. Raises ModelError."""
    folder = Path(folder)
    config, state = read_config(folder, ("musicgen", "musicgen_decoder")), read_folder(folder)
    sizes = read_sizes(config, "enc_to_dec_proj.weight" in state)
    try:
        found = rename_weights(state, sizes.n_codebooks)
    except KeyError as error:
        raise ModelError(f"{folder} lacks the weights {error.args[0]}; download the whole folder again.") from error
    decoder = MusicGenDecoder(sizes)
    added = {k: v for k, v in decoder.state_dict().items() if k.startswith("condition.") or "condition_gain" in k}
    fill(decoder, found | added, folder, "MusicGen")
    return decoder.eval()


def text_states(folder: str | Path, texts: list[str]) -> tuple[Tensor, Tensor]:
    """States [B, N, text_width] and mask [B, N] of texts, by the text encoder in a folder of MusicGen.

    Raises ModelError.
    """
    folder = Path(folder)
    tokenizer = load_tokenizer(folder)
    if tokenizer is None:
        raise ModelError(f"{folder} holds no tokenizer; download tokenizer.json into it.")
    model = load_pretrained(folder, {"musicgen": "MusicgenForConditionalGeneration"}).text_encoder
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    mask = tokens["attention_mask"]
    return model(input_ids=tokens["input_ids"], attention_mask=mask).last_hidden_state, mask


def open_decoder(path: str | Path) -> Decoder | MusicGenDecoder:
    """The decoder in a folder of MusicGen, or in a file that `save_decoder` wrote. Raises ModelError."""
    if Path(path).is_dir():
        return load_musicgen(path)
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        if "text_width" not in data["config"]:
            return load_decoder(str(path))
        decoder = MusicGenDecoder(MusicGenConfig(**data["config"]))
        decoder.load_state_dict(data["weights"])
        decoder.codec = data.get("codec")
    except Exception as error:  # zip and pickle share no narrower base class
        raise ModelError(f"{path} is no decoder; give a decoder.pt or a folder of MusicGen.") from error
    return decoder.eval()
