"""Checkpoints: written whole, accepted only if they are right, and without pickle."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: run make train first")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import save, save_file  # noqa: E402

from fmnist_fetch.errors import DiskError  # noqa: E402
from trainer.checkpoint import load_model, replace_file, save_model  # noqa: E402
from trainer.softmax import Model, logits  # noqa: E402

STORY = {"settings": {"seed": 1}, "classes": ["boot", "b\u00f6t"], "history": [0.1, 1 / 3]}


def test_what_is_saved_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    model = Model.fresh(4)
    save_model(tmp_path / "model.safetensors", model, STORY)
    again, story = load_model(tmp_path / "model.safetensors")
    assert torch.equal(again.weight, model.weight)
    assert torch.equal(again.bias, model.bias)
    assert story == STORY


def test_a_model_scores_to_the_same_bits_whatever_the_length_of_its_story(tmp_path: Path) -> None:
    model, pixels = Model.fresh(4), torch.rand(256, 784)
    scores = logits(model.weight, model.bias, pixels)
    for length in range(0, 64, 8):
        save_model(tmp_path / "model.safetensors", model, {"note": "x" * length})
        again, _ = load_model(tmp_path / "model.safetensors")
        assert torch.equal(logits(again.weight, again.bias, pixels), scores)


def test_the_same_model_gives_the_same_bytes_every_time(tmp_path: Path) -> None:
    contents = set()
    for number in range(20):
        path = tmp_path / f"{number}.safetensors"
        save_model(path, Model.fresh(4), STORY)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", Model.fresh(4), STORY)
    with safe_open(tmp_path / "m.safetensors", framework="np") as file:
        assert sorted(file.keys()) == ["bias", "weight"]
        assert file.get_tensor("weight").shape == (10, 784)


WHOLE = save(dict(zip(("weight", "bias"), (torch.zeros(10, 784), torch.zeros(10)), strict=True)), {"trainer": "{}"})


@pytest.mark.parametrize("damage", [b"", b"no model", b"\x08\0\0\0\0\0\0\0{}      ", b"\xff" * 400, WHOLE[:-1]])
def test_bytes_that_are_no_model_are_refused_and_kept(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage)
    with pytest.raises(ValueError, match=r"."):
        load_model(path)
    assert path.read_bytes() == damage


def test_a_strangers_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weight, bias = torch.zeros(10, 784), torch.zeros(9)
    for tensors, metadata in (({"w": weight}, None), ({"weight": weight, "bias": bias}, {"trainer": "{}"})):
        save_file(tensors, path, metadata)
        with pytest.raises(ValueError, match=r"."):
            load_model(path)


def test_a_reader_who_opened_the_old_file_keeps_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    replace_file(path, b"old" * 1000)
    with path.open("rb") as viewer:
        replace_file(path, b"new")
        assert viewer.read() == b"old" * 1000
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [p for p in tmp_path.iterdir() if not p.name.endswith(".tmp")]


def test_a_file_in_the_place_of_the_folder_is_a_disk_error(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.write_bytes(b"I was here first")
    with pytest.raises(DiskError) as caught:
        replace_file(folder / "file", b"")
    assert "--out" in caught.value.hint
    assert folder.read_bytes() == b"I was here first"


def test_a_disk_that_takes_only_a_part_leaves_the_old_checkpoint_whole(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limits on the size of files")
    path = tmp_path / "run" / "checkpoint.safetensors"
    save_model(path, Model.fresh(1), STORY)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DiskError):
            save_model(path, Model.fresh(2), STORY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
