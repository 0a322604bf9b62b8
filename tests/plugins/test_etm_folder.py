"""ETM: every way it is saved, which files of a folder are taken, and what travels along."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import LayoutError, SourceError, UsageError
from convcore.host.registry import Registry, load_registry
from convcore.sources.reading import read_checkpoint
from tests.conftest import call
from tests.plugins.etm_golden import (
    FLAT,
    MODELS,
    PARTS,
    alpha,
    evidence,
    flat_state,
    recognised,
    save_as_if_on_a_gpu,
    save_flat,
    save_separate,
    separate_state,
    shifted,
)

CONFIG = json.loads((MODELS / "model_architecture.json").read_text())


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def separate(folder: Path) -> Path:
    return save_separate(folder)


def flat(folder: Path) -> Path:
    return save_flat(folder / "best_model.pth").parent


def bare(folder: Path) -> Path:
    return save_flat(folder / "anything.bin")


def wrapped(folder: Path) -> Path:
    torch.save({"config": CONFIG, "model_state_dict": flat_state()}, folder / "moetm_model.pth")
    return folder


def wrapped_file(folder: Path) -> Path:
    return wrapped(folder) / "moetm_model.pth"


def legacy(folder: Path) -> Path:
    torch.save(flat_state(), folder / "best_model.pth", _use_new_zipfile_serialization=False)
    return folder


WAYS = {
    "separate": (separate, "saved as separate files with the prefix 'best_'"),
    "flat": (flat, "saved as one flat state dict: best_model.pth"),
    "bare": (bare, "saved as one flat state dict: anything.bin"),
    "wrapped": (wrapped, "saved as one wrapped state dict: moetm_model.pth, under"),
    "wrapped-file": (wrapped_file, "under 'model_state_dict' beside 'config'"),
    "legacy": (legacy, "saved as one flat state dict"),
}


@pytest.mark.parametrize(("make", "said"), WAYS.values(), ids=WAYS.keys())
def test_every_way_of_saving_gives_the_same_tensors_in_the_same_order(
    make: object, said: str, registry: Registry, tmp_path: Path
) -> None:
    match = recognised(make(tmp_path), registry)

    golden = flat_state()
    assert match.layout.name == "etm"
    assert match.checkpoint.source == "etm-folder"
    assert said in evidence(match)
    assert list(match.checkpoint.tensors) == list(golden)
    for name, tensor in match.checkpoint.tensors.items():
        assert torch.equal(tensor.load(), golden[name])


def test_files_without_batch_counters_are_complete(registry: Registry, tmp_path: Path) -> None:
    def edit(part: str, tree: dict) -> None:
        for key in [k for k in tree.get(part, ()) if k.endswith("num_batches_tracked")]:
            del tree[part][key]

    match = recognised(save_separate(tmp_path, edit=edit), registry)

    assert len(match.checkpoint.tensors) == 41


@pytest.mark.parametrize("way", ["separate", "flat"])
def test_storages_saved_on_a_gpu_are_read_like_any_other(
    way: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    if way == "flat":
        save_as_if_on_a_gpu(flat_state(), folder / "best_model.pth", monkeypatch)
    else:
        for part in PARTS:
            save_as_if_on_a_gpu(separate_state(part), folder / f"best_{part}.pth", monkeypatch)

    convert(Request(folder, tmp_path / "out", ("state-dict", "pth")), registry)

    assert all(b"cuda:0" in path.read_bytes() for path in folder.iterdir())
    written = torch.load(tmp_path / "out/best_model.pth", weights_only=True)
    assert all(torch.equal(written[key], value) for key, value in flat_state().items())
    decoder = torch.load(tmp_path / "out/best_decoder.pth", weights_only=True)
    assert decoder["alpha"].device.type == "cpu"


PREFERRED = {
    "best-before-all": (["epoch_100_", "final_", "best_"], "best_"),
    "final-before-epochs": (["epoch_100_", "final_", "epoch_9_"], "final_"),
    "highest-number-not-highest-text": (["epoch_9_", "epoch_100_", "epoch_20_"], "epoch_100_"),
    "none-before-another": (["run1_", ""], ""),
    "one-of-no-convention": (["run1_"], "run1_"),
}


@pytest.mark.parametrize(("prefixes", "chosen"), PREFERRED.values(), ids=PREFERRED.keys())
def test_the_preferred_prefix_is_taken_and_the_others_are_named(
    prefixes: list[str], chosen: str, registry: Registry, tmp_path: Path
) -> None:
    for by, prefix in enumerate(prefixes):
        save_separate(tmp_path, prefix, edit=shifted(by))

    match = recognised(tmp_path, registry)

    golden = flat_state()["alpha"]
    assert torch.equal(alpha(match), golden + prefixes.index(chosen))
    assert f"prefix {chosen!r}" in evidence(match)
    unused = "".join(line for line in match.evidence if line.startswith("also there"))
    named = unused.replace(";", ",").split("used: ")[-1].split(" (")[0].split(", ")
    left = [prefix for prefix in prefixes if prefix != chosen]
    assert sorted(filter(None, named)) == sorted(f"{p}{part}.pth" for p in left for part in PARTS)


@pytest.mark.parametrize("asked", ["epoch_4_", "epoch_4"])
def test_the_prefix_can_be_chosen_and_outputs_still_say_best(
    asked: str, registry: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    save_separate(folder)
    save_separate(folder, "epoch_4_", edit=shifted(1))
    for name in ("best_theta.pt", "final_theta.pt"):
        shutil.copy(MODELS / name, folder / name)

    convert(Request(folder, tmp_path / "out", config={"prefix": asked}), registry)

    decoder = torch.load(tmp_path / "out/best_decoder.pth", weights_only=True)
    assert torch.equal(decoder["alpha"], flat_state()["alpha"] + 1)
    theta = (tmp_path / "out/best_theta.pt").read_bytes()
    assert theta == (MODELS / "final_theta.pt").read_bytes()


def test_separate_files_come_before_a_flat_one_of_the_same_prefix(
    registry: Registry, tmp_path: Path
) -> None:
    save_separate(tmp_path)
    save_flat(tmp_path / "best_model.pth", lambda state: state["alpha"].add_(1))

    match = recognised(tmp_path, registry)

    assert torch.equal(alpha(match), flat_state()["alpha"])
    assert "also there and not used: best_model.pth" in evidence(match)


def test_an_unknown_prefix_and_prefixes_without_an_order_are_refused(
    registry: Registry, tmp_path: Path
) -> None:
    save_separate(tmp_path, "one_")
    save_separate(tmp_path, "two_")

    with pytest.raises(UsageError, match="prefix 'best_'") as unknown:
        recognised(tmp_path, registry, prefix="best_")
    with pytest.raises(LayoutError, match="one_, two_") as tied:
        recognised(tmp_path, registry)
    with pytest.raises(UsageError, match="is a file"):
        recognised(FLAT, registry, prefix="best_")

    assert "'one_', 'two_'" in unknown.value.seen[0]
    assert "--config prefix=one_" in tied.value.remedy


LIGHTNING = {
    "with-a-version": {"pytorch-lightning_version": "2.0.0"},
    "before-0.8.2": {"optimizer_states": [], "lr_schedulers": []},
}


@pytest.mark.parametrize("marks", LIGHTNING.values(), ids=LIGHTNING.keys())
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_lightning_checkpoint_is_read_with_what_lies_beside_it(
    prefix: str, marks: dict[str, object], registry: Registry, tmp_path: Path
) -> None:
    state = {f"{prefix}{key}": value for key, value in flat_state().items()}
    hyper = {"hyper_parameters": {"dropout": 0.35}}
    shutil.copytree(MODELS, tmp_path / "models", ignore=lambda *_: ["best_decoder.pth"])
    file = tmp_path / "models/last.ckpt"
    torch.save({"state_dict": state, "epoch": 1, "global_step": 3, **marks, **hyper}, file)

    convert(Request(file, tmp_path / "out"), registry)

    match = recognised(file, registry)
    assert match.checkpoint.source == "etm-folder"
    assert match.checkpoint.metadata["epoch"] == 1
    assert (match.value("dropout"), match.value("num_topics")) == (0.35, 12)
    assert {"vocab.json", "tfidf_vectorizer.pkl", "best_theta.pt"} <= match.sidecars.keys()
    decoder = torch.load(tmp_path / "out/best_decoder.pth", weights_only=True)
    assert torch.equal(decoder["alpha"], flat_state()["alpha"])
    assert (tmp_path / "out/vocab.json").read_bytes() == (MODELS / "vocab.json").read_bytes()


@pytest.mark.parametrize("missing", PARTS)
def test_a_folder_that_lacks_a_part_says_which_and_what_can_be_done(
    missing: str, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    save_separate(folder, parts=tuple(part for part in PARTS if part != missing))
    save_separate(folder, "epoch_4_")

    ran = call("convert", folder, "-o", tmp_path / "out", "--json")

    error = ran.json["error"]
    assert ran.code == error["exit_code"] == 4
    assert f"lacks best_{missing}.pth" in error["what"]
    assert "--config prefix=epoch_4_" in error["remedy"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("prefix", "stray"),
    [("epoch_4_", "final_decoder.pth"), ("epoch_4_", "notes_text_encoder.pth"),
     ("mine_", "notes_decoder.pth")],
)  # fmt: skip
def test_one_stray_file_does_not_make_a_good_folder_unreadable(
    prefix: str, stray: str, registry: Registry, tmp_path: Path
) -> None:
    save_separate(tmp_path, prefix)
    shutil.copy(tmp_path / (prefix + stray.partition("_")[2]), tmp_path / stray)

    match = recognised(tmp_path, registry)

    assert match.checkpoint.metadata["prefix"] == prefix
    assert any(f"also there and not used: {stray}" in line for line in match.evidence)


def test_a_flat_file_stands_in_for_an_incomplete_set_of_its_prefix(
    registry: Registry, tmp_path: Path
) -> None:
    save_separate(tmp_path, parts=("text_encoder",))
    save_flat(tmp_path / "best_model.pth")

    match = recognised(tmp_path, registry)

    assert len(match.checkpoint.tensors) == 45


def test_matrices_do_not_replace_a_missing_decoder(registry: Registry, tmp_path: Path) -> None:
    save_separate(tmp_path, parts=PARTS[:2])
    (tmp_path / "matrices").mkdir()
    torch.save(flat_state()["alpha"], tmp_path / "matrices/best_alpha.pt")

    with pytest.raises(LayoutError, match=r"lacks best_decoder\.pth") as caught:
        recognised(tmp_path, registry)

    assert any("score predictor" in line for line in caught.value.seen)


ALONE = {
    "color_encoder": ({"num_topics": 12, "color_dim": 15, "hidden_dim": 32}, 18),
    "text_encoder": ({"num_topics": 12, "text_dim": 120, "hidden_dim": 32}, 18),
    "decoder": ({"num_topics": 12, "color_dim": 15, "text_dim": 120, "embedding_dim": 8}, 9),
}


@pytest.mark.parametrize(("part", "known"), [(p, a[0]) for p, a in ALONE.items()], ids=ALONE)
def test_one_file_alone_is_converted_and_tells_what_it_cannot_know(
    part: str, known: dict[str, int], registry: Registry, tmp_path: Path
) -> None:
    file = save_separate(tmp_path / "alone", parts=(part,)) / f"best_{part}.pth"

    convert(Request(file, tmp_path / "out"), registry)

    match = recognised(file, registry)
    shown = {n: s.value for n, s in match.settings.items() if s.origin == "shape"}
    unknown = {n for n, s in match.settings.items() if s.origin == "unknown"} - {"score_scale"}
    assert shown == known
    assert unknown == {"num_topics", "color_dim", "text_dim", "embedding_dim", "hidden_dim"} - {
        *known
    }
    assert len(match.checkpoint.tensors) == ALONE[part][1]
    assert [graph.name for graph in match.layout.graphs(match)] == [part]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"best_{part}.pth", "model_config.json", "manifest.json"}


@pytest.mark.parametrize("stated", [32, 35, 36, "32", True, None])
def test_a_decoder_alone_believes_only_a_hidden_size_that_fits(
    stated: object, registry: Registry, tmp_path: Path
) -> None:
    save_separate(tmp_path, parts=("decoder",))
    architecture = {**CONFIG, "hidden_dim": stated}
    (tmp_path / "model_architecture.json").write_text(json.dumps(architecture))

    match = recognised(tmp_path / "best_decoder.pth", registry)

    assert match.value("hidden_dim") == (stated if stated in (32, 35) else None)


def test_sizes_that_contradict_the_tensors_lose(registry: Registry, tmp_path: Path) -> None:
    save_separate(tmp_path)
    stated = {**CONFIG, "num_topics": 50, "dropout": 0.25}
    (tmp_path / "model_architecture.json").write_text(json.dumps(stated))

    match = recognised(tmp_path, registry)

    assert match.value("num_topics") == 12
    assert match.settings["dropout"].value == 0.25
    assert "num_topics says 50, the tensors say 12" in evidence(match)


def test_the_wrapped_files_configuration_is_read(registry: Registry, tmp_path: Path) -> None:
    config = {**CONFIG, "dropout": 0.4}
    torch.save({"config": config, "model_state_dict": flat_state()}, tmp_path / "moetm_model.pth")

    match = recognised(tmp_path, registry)

    assert (match.value("dropout"), match.settings["dropout"].origin) == (0.4, "hyper_parameters")
    assert match.checkpoint.metadata["save_method"] == "wrapped"


def test_vocabulary_and_vectorizer_are_found_in_the_models_folder_near(
    registry: Registry, tmp_path: Path
) -> None:
    run = save_flat(tmp_path / "run/best_model.pth").parent
    shutil.copytree(MODELS, tmp_path / "models")

    match = recognised(run, registry)

    assert match.sidecars["vocab.json"] == tmp_path / "models/vocab.json"
    assert match.sidecars["tfidf_vectorizer.pkl"].parent == tmp_path / "models"
    assert "best_theta.pt" not in match.sidecars  # topics are of one run only
    assert "vocab.json was taken from models/" in evidence(match)


def test_a_vocabulary_of_another_size_is_left_and_said_so(
    registry: Registry, tmp_path: Path
) -> None:
    save_separate(tmp_path)
    (tmp_path / "vocab.json").write_text('{"one": 0, "two": 1}')

    match = recognised(tmp_path, registry)

    assert "vocab.json" not in match.sidecars
    assert "has 2 words, the model 120: not taken" in evidence(match)


def test_a_vocabulary_that_contradicts_the_vectorizer_loses_and_is_told(
    registry: Registry, tmp_path: Path
) -> None:
    folder = save_separate(tmp_path / "models")
    shutil.copy(MODELS / "tfidf_vectorizer.pkl", folder)
    words = json.loads((MODELS / "vocab.json").read_text())
    first, second = list(words)[:2]
    swapped = {**words, first: words[second], second: words[first]}
    (folder / "vocab.json").write_text(json.dumps(swapped))

    report = convert(Request(folder, tmp_path / "out"), registry)

    assert json.loads((tmp_path / "out/vocab.json").read_text()) == words
    (told,) = (line for line in report.manifest.evidence if "disagree" in line)
    assert told.startswith("vocab.json and tfidf_vectorizer.pkl disagree on 2 words, such as")
    assert str(words[first]) in told
    assert str(words[second]) in told


def test_a_vocabulary_that_agrees_with_the_vectorizer_needs_no_word(registry: Registry) -> None:
    assert "disagree" not in evidence(recognised(MODELS, registry))


@pytest.mark.parametrize(
    ("name", "content", "said", "remedy"),
    [
        ("tfidf_vectorizer.pkl", b"junk", "is a text file", "joblib.dump"),
        ("tfidf_vectorizer.pkl", b"\x80\x04cut", "tfidf_vectorizer.pkl", "joblib.dump"),
        ("vocab.json", b'["one", "two"]', "a list, not an object of words", "vocabulary_"),
        ("vocab.json", b'{"one": "0"}', "not text and a whole number", "vocabulary_"),
    ],
    ids=["text", "cut", "list", "text-column"],
)
def test_a_broken_file_of_words_is_refused_with_a_remedy_that_fits_it(
    name: str, content: bytes, said: str, remedy: str, registry: Registry, tmp_path: Path
) -> None:
    save_separate(tmp_path)
    (tmp_path / name).write_bytes(content)

    with pytest.raises(SourceError) as caught:
        recognised(tmp_path, registry)

    assert said in caught.value.what
    assert remedy in caught.value.remedy
    assert "move the file away" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    ['{"one": 0, "two": 0}', '{"one": 1, "two": 2}', '{"one": "0"}', "[]", '{"a": 0, "a": 1}', "{"],
    ids=["column-twice", "from-one", "text-column", "list", "word-twice", "cut-off"],
)
def test_a_broken_vocabulary_is_refused(text: str, registry: Registry, tmp_path: Path) -> None:
    save_separate(tmp_path)
    (tmp_path / "vocab.json").write_text(text)

    with pytest.raises(SourceError, match=r"vocab\.json"):
        recognised(tmp_path, registry)


def test_theta_of_another_model_is_left(registry: Registry, tmp_path: Path) -> None:
    save_separate(tmp_path)
    torch.save(torch.zeros(9, 50), tmp_path / "best_theta.pt")
    shutil.copy(MODELS / "best_theta.pt", tmp_path / "theta.pt")

    match = recognised(tmp_path, registry)

    assert match.sidecars["best_theta.pt"] == tmp_path / "theta.pt"
    assert "best_theta.pt is no matrix of 12 topics" in evidence(match)


class Runs:
    """What a hostile pickle would do when it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return pickle.loads, (b"",)


@pytest.mark.parametrize("name", ["tfidf_vectorizer.pkl", "best_theta.pt"])
def test_a_sidecar_that_names_code_is_refused_and_not_copied(name: str, tmp_path: Path) -> None:
    folder = save_separate(tmp_path / "models")
    if name.endswith(".pkl"):
        (folder / name).write_bytes(pickle.dumps(Runs()))
    else:
        torch.save(Runs(), folder / name)

    ran = call("convert", folder, "-o", tmp_path / "out", "--json")

    assert ran.code == 3
    assert ran.json["error"]["kind"] == "unsafe"
    assert not (tmp_path / "out").exists()
    allowed = call("convert", folder, "-o", tmp_path / "out", "--allow-opaque-calls")
    assert allowed.code == 0
    assert not (tmp_path / "out" / name).exists()


def test_files_of_another_model_with_etms_names_are_not_claimed(
    registry: Registry, tmp_path: Path
) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "decoder.pth")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "best_model.pth")

    assert read_checkpoint(tmp_path, registry).source == "state-dict"


def test_two_files_with_one_tensor_are_refused(registry: Registry, tmp_path: Path) -> None:
    save_separate(tmp_path)
    shutil.copy(tmp_path / "best_text_encoder.pth", tmp_path / "best_color_encoder.pth")

    with pytest.raises(SourceError, match=r"two files hold the tensor text_encoder\.0\.weight"):
        recognised(tmp_path, registry)
