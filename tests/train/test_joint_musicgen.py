"""MusicGen's decoder in the joint trainer: a few steps on tiny sizes lower the losses and open the gains."""

import torch

from openvmas.condition import AXES, CURVES
from openvmas.hub.musicgen import MusicGenConfig, MusicGenDecoder
from openvmas.train.joint.joint_trainer import JointModel, JointRecipe
from openvmas.train.joint.pairs import PairBatch
from openvmas.train.loop import make_optimizers
from tests.train.made import losses_of

B, PAIRS, STEPS, FRAMES, WIDTH = 4, 2, 40, 2, 16
RECIPE = JointRecipe(preset="debug", batch=B, steps_per_crop=STEPS, queue=4, stand_in_weight=0.1)


def make_batch() -> PairBatch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 32, (B, 4, STEPS), generator=generator)
    for k in range(4):
        tokens[:, k, :k], tokens[:, k, STEPS - 3 + k :] = 32, 32
    onsets = (torch.arange(STEPS) % 10 == 0).float().expand(B, -1)
    return PairBatch(
        tokens=tokens,
        curves=torch.randn(B, STEPS, len(CURVES), generator=generator),
        semantics=torch.randn(B, STEPS, 2 * len(AXES), generator=generator),
        onsets=onsets,
        picture=torch.rand(B, STEPS, 4, generator=generator),
        features=torch.randn(B, FRAMES, WIDTH, generator=generator),
        has_features=torch.tensor([1.0] * PAIRS + [0.0] * (B - PAIRS)),
        pieces=torch.arange(B),
        chance=torch.arange(B),
    )


def test_steps_lower_the_losses_and_open_the_gains():
    torch.manual_seed(0)
    sizes = MusicGenConfig(codebook_size=32, width=32, n_layers=2, n_heads=2, hidden=48, text_width=0)
    decoder = MusicGenDecoder(sizes)
    model = JointModel(RECIPE, decoder, feature_width=WIDTH)  # pyright: ignore[reportArgumentType]
    optimizers = make_optimizers(model, model.learned_layers, 3e-3, 0.0).values()
    batch, keep = make_batch(), torch.ones(3, B)
    untrained = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = []
    for _ in range(12):
        losses = losses_of(model, batch, keep, RECIPE)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        for optimizer in optimizers:
            optimizer.step()
        found.append((losses.total.item(), losses.codebooks.mean().item(), losses.onset.item()))
    assert all(last < 0.97 * first for first, last in zip(found[0], found[-1], strict=True))
    assert all(layer.condition_gain.abs().max() > 1e-3 for layer in decoder.layers)  # pyright: ignore
    still = {name for name, p in model.named_parameters() if torch.equal(p, untrained[name])}
    # Told nothing of words, cross-attention does not learn and stays what was loaded.
    assert all(".text." in name or ".norm_text." in name for name in still if name.startswith("decoder."))
