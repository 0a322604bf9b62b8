"""Every key of a SeqSetVAE checkpoint with its symbolic shape, for the version its keys show.

Sizes: I input, R reduced, D latent, M inducing points, F feed-forward, C classes, G gate. Where an
early version's shapes are not known, the tensors that are there are taken as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from convcore import Schema, TensorSpec
from convcore.layouts.graph import Shape
from convcore_seqsetvae.versions import FUSION, LEGACY_SEQUENCE, Version, has, recognise

BUCKETS = 64
Entry = tuple[str, Shape]
Specs = Mapping[str, TensorSpec]


def seqsetvae_schema(tensors: Specs) -> Schema:
    """Give the keys and shapes of the version that wrote ``tensors``."""
    version = recognise(tensors)
    shapes = dict(set_vae(version, tensors))
    if version.stage != "set-vae":
        shapes |= dict(sequence(version, tensors))
        shapes |= dict(decoder(version, tensors))
    # What a sequence part older than its present parameters had around the layers is not known.
    required = ("transformer.", version.prefix)
    early = version.early_sequence
    optional = frozenset(key for key in shapes if early and not key.startswith(required))
    if version.head is not None:
        shapes |= dict(head(version.head, tensors))
        shapes |= dict(fusion(version.head, tensors))
    return Schema(shapes, optional)


def levels(version: Version, keys: Iterable[str]) -> int:
    """Number of levels; one place where a level is missing altogether does not hide it."""
    names = list(keys)
    places = [f"{version.prefix}encoder_layers.", f"{version.prefix}decoder_layers."]
    places += ["decoder.decoder_layers."] * (version.stage != "set-vae")
    return max(indexed(names, place) for place in places)


def indexed(keys: Iterable[str], prefix: str) -> int:
    """Return how many different indices follow a prefix.

    A layer of which a tensor or two are missing is a layer; a stray tensor or two make none.
    """
    found = Counter(
        key.removeprefix(prefix).partition(".")[0] for key in keys if key.startswith(prefix)
    )
    layers = {index: count for index, count in found.items() if index.isdecimal()}
    fullest = max(layers.values(), default=0)
    return sum(4 * count >= fullest for count in layers.values())


def set_vae(version: Version, tensors: Specs) -> Iterator[Entry]:
    """Keys of ``SetVAEModule``: the set encoder, and its own decoder."""
    at, content = version.prefix, "R" if version.reduced else "I"
    if version.reduced:
        yield from linear(f"{at}dim_reducer", "R", "I")
    if version.early_encoder:
        yield from observed(tensors, f"{at}embed.", f"{at}mu_logvar.", f"{at}pma_agg.")
    else:
        yield from linear(f"{at}embed.0", "D", content)
        yield from norm(f"{at}embed.1", "D")
        yield from linear(f"{at}mu_logvar.0", "D", "D")
        yield from norm(f"{at}mu_logvar.1", "D")
        yield from linear(f"{at}mu_logvar.4", "2*D", "D")
    for level in range(levels(version, tensors)):
        yield from induced(f"{at}encoder_layers.{level}")
        yield from bottleneck(f"{at}decoder_layers.{level}")
    plain = has(tensors, f"{at}out.weight", f"{at}out.bias")
    yield from linear(f"{at}out" if plain else f"{at}out.0", content, "D")
    yield from observed(tensors, f"{at}flows.")


def sequence(version: Version, tensors: Specs) -> Iterator[Entry]:
    """Keys of the transformer over the sets and of the loose parameters around it."""
    for layer in range(max(1, indexed(tensors, "transformer.layers."))):
        at = f"transformer.layers.{layer}"
        yield from attention(f"{at}.self_attn")
        yield from linear(f"{at}.linear1", "F", "D")
        yield from linear(f"{at}.linear2", "D", "F")
        yield from norm(f"{at}.norm1", "D")
        yield from norm(f"{at}.norm2", "D")
    yield from norm("post_transformer_norm", "D")
    if version.early_sequence:
        yield from observed(tensors, *LEGACY_SEQUENCE)
    else:
        yield from (("rel_time_bucket_embed.weight", (BUCKETS, "D")), ("alibi_slope", ()))
        yield "time_tau", ()
    if version.gated:
        yield "pooling_gate", ()
    yield from observed(tensors, "temperature")


def decoder(version: Version, tensors: Specs) -> Iterator[Entry]:
    """Keys of the decoder that reconstructs a set from its hidden state."""
    if has(tensors, "decoder.dir_layers."):
        yield from observed(tensors, "decoder.dir_layers.")
    else:
        for level in range(levels(version, tensors)):
            yield from bottleneck(f"decoder.decoder_layers.{level}")
    yield from linear("decoder.out", "R" if version.reduced else "I", "D")


def head(name: str, tensors: Specs) -> Iterator[Entry]:
    """Keys of a classifier head."""
    at = "cls_head"
    if name in ("seed", "norms", "gated"):
        for index, after, before in ((0, "D", "D"), (4, "D//2", "D"), (8, "D//4", "D//2")):
            yield from linear(f"{at}.{index}", after, before)
            yield from norm(f"{at}.{index + 1}", after)
        yield from linear(f"{at}.12", "C", "D//4")
    elif name == "advanced":
        for part, after, before in (
            ("feature_enhancer", "D", "D"),
            ("pathway1", "D//2", "D"),
            ("pathway2", "D//2", "D"),
            ("pre_classifier", "D//4", "D//2"),
        ):
            yield from linear(f"{at}.{part}.0", after, before)
            yield from norm(f"{at}.{part}.1", after)
        yield from attention(f"{at}.self_attention")
        yield from norm(f"{at}.attention_norm", "D")
        yield from linear(f"{at}.gate.0", 2, "D")
        yield from linear(f"{at}.classifier", "C", "D//4")
        yield from linear(f"{at}.aux_classifier", "C", "D")
    elif name == "gaussian_mil":
        yield from ((f"{at}.mu", (2, "D")), (f"{at}.log_tau2", (2, "D")), (f"{at}.log_prior", (2,)))
        spec = tensors.get(f"{at}.alpha_logits")
        one = spec is not None and spec.shape in ((), (1,))
        yield f"{at}.alpha_logits", spec.shape if spec is not None and one else ()
        yield from linear(f"{at}.gate.0", "G", "E")
        yield from linear(f"{at}.gate.2", 1, "G")
    else:
        yield from observed(tensors, f"{at}.")


def fusion(name: str, tensors: Specs) -> Iterator[Entry]:
    """Keys of the fusion parts, which no meaningful inference uses."""
    if name != "seed":
        yield from observed(tensors, *FUSION)
        return
    yield from attention("feature_fusion.attention_pool")
    yield from linear("feature_projection.0", "D", "3*D")
    yield from norm("feature_projection.1", "D")
    at = "vae_feature_fusion"
    yield from linear(f"{at}.mean_projection", "D", "D")
    yield from linear(f"{at}.var_projection", "D", "D")
    yield from linear(f"{at}.fusion_gate.0", "D", "2*D")
    yield from linear(f"{at}.uncertainty_calibration.0", "D//4", "D")
    yield from linear(f"{at}.uncertainty_calibration.2", 1, "D//4")


def linear(at: str, after: int | str, before: int | str) -> Iterator[Entry]:
    """Keys of nn.Linear."""
    yield f"{at}.weight", (after, before)
    yield f"{at}.bias", (after,)


def norm(at: str, width: int | str) -> Iterator[Entry]:
    """Keys of nn.LayerNorm."""
    yield f"{at}.weight", (width,)
    yield f"{at}.bias", (width,)


def attention(at: str) -> Iterator[Entry]:
    """Keys of nn.MultiheadAttention."""
    yield f"{at}.in_proj_weight", ("3*D", "D")
    yield f"{at}.in_proj_bias", ("3*D",)
    yield from linear(f"{at}.out_proj", "D", "D")


def mixing(at: str) -> Iterator[Entry]:
    """Keys of the origin's MAB."""
    yield from attention(f"{at}.multihead")
    yield from norm(f"{at}.ln1", "D")
    yield from linear(f"{at}.ff.0", "2*D", "D")
    yield from linear(f"{at}.ff.2", "D", "2*D")
    yield from norm(f"{at}.ln2", "D")


def induced(at: str) -> Iterator[Entry]:
    """Keys of the origin's ISAB."""
    yield f"{at}.inducing", ("M", "D")
    yield from mixing(f"{at}.mab1")
    yield from mixing(f"{at}.mab2")


def bottleneck(at: str) -> Iterator[Entry]:
    """Keys of the origin's AttentiveBottleneckLayer."""
    yield from induced(f"{at}.isab")
    yield from mixing(f"{at}.pma.mab")
    yield from linear(f"{at}.pma.ff", "D", "D")
    yield from norm(f"{at}.pma.ln", "D")


def observed(tensors: Specs, *patterns: str) -> Iterator[Entry]:
    """Take the keys that fit as they are: which shapes this version had is not known."""
    for key, spec in tensors.items():
        if has((key,), *patterns):
            yield key, spec.shape
