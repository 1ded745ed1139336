"""Pool: what is kept, what is written, and that it can be resumed after a kill at any moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.core.batch import Batch
from tacit.core.errors import InputError
from tacit.core.files import read_tensors, write_tensors
from tacit.core.spec import VOID, Spec
from tacit.synthesize.pool import Pool

SPEC = Spec(shape=(1, 2, 2), classes=4)


def numbered(begin: int, end: int, *, logits: bool = True) -> Batch:
    """Images whose first pixel is their number."""
    images = torch.zeros(end - begin, 1, 2, 2)
    images[:, 0, 0, 0] = torch.arange(begin, end) / 255
    answers = torch.eye(4)[torch.arange(begin, end) % 4] if logits else None
    return Batch(images, torch.arange(begin, end) % 4, answers)


def numbers(pool: Pool) -> list[int]:
    return pool.columns["images"][:, 0, 0, 0].tolist() if len(pool) else []


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors"))


def grown(folder: Path, *, cap: int | None = None, saves: int = 3, each: int = 4) -> Pool:
    pool = Pool(SPEC, cap=cap)
    for number in range(saves):
        pool.add(numbered(number * each, (number + 1) * each))
        pool.save(folder, {"seed": 1})
    return pool


def test_a_pool_appends_and_gives_back_what_was_added() -> None:
    pool = Pool(SPEC)
    pool.add(numbered(0, 3))
    pool.add(numbered(3, 8))
    batch = pool.batch(torch.tensor([7, 0, 3]))
    assert (len(pool), pool.first, pool.made, numbers(pool)) == (8, 0, 8, list(range(8)))
    assert batch.images[:, 0, 0, 0].mul(255).round().tolist() == [7, 0, 3]
    assert batch.targets is not None
    assert batch.targets.tolist() == [3, 0, 3]
    assert batch.logits is not None
    assert batch.logits.argmax(dim=1).tolist() == [3, 0, 3]
    assert batch.index is not None
    assert batch.index.tolist() == [7, 0, 3]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_the_oldest_go_first_where_there_is_a_cap(cap: int, sizes: list[int]) -> None:
    pool, made = Pool(SPEC, cap=cap), 0
    for size in sizes:
        pool.add(numbered(made, made + size))
        made += size
        assert numbers(pool) == list(range(max(0, made - cap), made))
        assert (pool.made, pool.first) == (made, max(0, made - cap))


def test_images_are_rounded_to_the_nearest_of_256_steps() -> None:
    pool = Pool(SPEC)
    values = torch.tensor([0.0, 0.4999 / 255, 0.5001 / 255, 1.0])
    pool.add(Batch(values.view(1, 1, 2, 2)))
    assert pool.columns["images"].dtype == torch.uint8
    assert pool.columns["images"].flatten().tolist() == [0, 0, 1, 255]
    every = torch.arange(256.0).div(255).view(-1, 1, 2, 2)
    pool.add(Batch(every))
    assert torch.equal(pool.batch(torch.arange(1, 65)).images, every)


def test_batches_of_other_columns_are_refused() -> None:
    pool = Pool(SPEC)
    pool.add(numbered(0, 2))
    with pytest.raises(ValueError, match=r"this pool holds \['images', 'logits', 'targets'\], the new batch \['images', 'targets'\]"):
        pool.add(numbered(2, 4, logits=False))
    assert len(pool) == 2


def test_an_empty_pool_and_a_cap_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="the pool is empty"):
        Pool(SPEC).batch(torch.tensor([0]))
    with pytest.raises(InputError, match="cap: expected at least 1 image, got 0"):
        Pool(SPEC, cap=0)


def test_classes_are_counted_by_the_teachers_answer_then_by_the_targets() -> None:
    pool = Pool(SPEC)
    assert pool.class_counts == []
    pool.add(Batch(torch.rand(5, 1, 2, 2), torch.tensor([0, 0, 0, 0, 1]), torch.eye(4)[[2, 2, 3, 0, 2]]))
    assert pool.class_counts == [1, 0, 3, 1]
    labelled = Pool(SPEC)
    labelled.add(Batch(torch.rand(3, 1, 2, 2), torch.tensor([3, 1, 3])))
    assert labelled.class_counts == [0, 1, 0, 2]


@pytest.mark.parametrize("cap", [None, 6])
def test_a_saved_pool_comes_back_equal(cap: int | None, tmp_path: Path) -> None:
    pool = grown(tmp_path, cap=cap)
    again = Pool.load(tmp_path, cap=cap)
    assert (again.spec, again.made, again.first, numbers(again)) == (SPEC, pool.made, pool.first, numbers(pool))
    for name, column in pool.columns.items():
        assert torch.equal(again.columns[name], column)
        assert again.columns[name].dtype == column.dtype


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    pool = grown(tmp_path, saves=2)
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)}
    pool.add(numbered(8, 12))
    pool.save(tmp_path, {})
    assert files(tmp_path) == [f"{n:08d}-{n + 4:08d}.safetensors" for n in (0, 4, 8)]
    assert all((tmp_path / name).stat().st_mtime_ns == stamp for name, stamp in stamps.items())
    pool.save(tmp_path, {})
    assert len(files(tmp_path)) == 3


def test_a_pool_that_was_loaded_goes_on_where_it_was(tmp_path: Path) -> None:
    grown(tmp_path, saves=2)
    pool = Pool.load(tmp_path)
    pool.add(numbered(8, 12))
    pool.save(tmp_path, {})
    assert len(files(tmp_path)) == 3
    assert numbers(Pool.load(tmp_path)) == list(range(12))


def test_pool_json_says_what_is_there_and_where_it_comes_from(tmp_path: Path) -> None:
    grown(tmp_path, cap=6)
    described = json.loads((tmp_path / "pool.json").read_text())
    assert (described["images"], described["first"], described["made"]) == (6, 6, 12)
    assert described["provenance"] == {"seed": 1}


def test_a_pool_resumes_at_an_earlier_state_and_writes_the_same_again(tmp_path: Path) -> None:
    pool = grown(tmp_path, saves=2)
    state = pool.state_dict()
    pool.add(numbered(8, 12))
    pool.save(tmp_path, {})
    again = Pool.load(tmp_path, state=state)
    assert (numbers(again), again.made, again.state_dict()) == (list(range(8)), 8, state)
    again.add(numbered(8, 12))
    again.save(tmp_path, {})
    assert numbers(Pool.load(tmp_path)) == list(range(12))
    assert len(files(tmp_path)) == 3


def test_a_shard_of_forgotten_images_is_deleted_one_save_later(tmp_path: Path) -> None:
    pool = grown(tmp_path, cap=4, saves=1)
    before = pool.state_dict()
    pool.add(numbered(4, 8))
    pool.save(tmp_path, {})
    assert len(files(tmp_path)) == 2
    assert numbers(Pool.load(tmp_path, state=before)) == [0, 1, 2, 3]
    pool.add(numbered(8, 12))
    pool.save(tmp_path, {})
    assert files(tmp_path) == ["00000004-00000008.safetensors", "00000008-00000012.safetensors"]


def test_a_run_that_is_killed_again_before_its_next_checkpoint_can_still_be_resumed(tmp_path: Path) -> None:
    pool = grown(tmp_path, cap=4, saves=1)
    checkpoint = pool.state_dict()
    for _ in range(3):
        pool.add(numbered(4, 8))
        pool.save(tmp_path, {})  # and killed, before the checkpoint that belongs to it
        pool = Pool.load(tmp_path, cap=4, state=checkpoint)
        assert numbers(pool) == [0, 1, 2, 3]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["go on", "kill before checkpoint", "kill after"])), min_size=1, max_size=8))
def test_a_capped_pool_survives_any_series_of_kills(tmp_path_factory: pytest.TempPathFactory, story: list[tuple[int, str]]) -> None:
    folder = tmp_path_factory.mktemp("pool")
    pool = grown(folder, cap=7, saves=1)
    checkpoint, kept = pool.state_dict(), numbers(pool)
    for size, fate in story:
        pool.add(numbered(pool.made, pool.made + size))
        pool.save(folder, {})
        if fate != "kill before checkpoint":
            checkpoint, kept = pool.state_dict(), numbers(pool)
        if fate != "go on":
            pool = Pool.load(folder, cap=7, state=checkpoint)
            assert numbers(pool) == kept


def test_a_truncated_shard_is_refused(tmp_path: Path) -> None:
    grown(tmp_path)
    shard = tmp_path / files(tmp_path)[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{shard.name} is truncated"):
        Pool.load(tmp_path)


def test_a_tampered_shard_is_refused(tmp_path: Path) -> None:
    grown(tmp_path)
    shard = tmp_path / files(tmp_path)[1]
    tensors = read_tensors(shard)
    tensors["images"][0, 0, 1, 1] += 1
    write_tensors(shard, tensors)
    with pytest.raises(InputError, match=f"{shard.name} is not what was written: its sha256 differs"):
        Pool.load(tmp_path)


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    grown(tmp_path)
    (tmp_path / files(tmp_path)[0]).unlink()
    with pytest.raises(InputError, match=r"no weights at .*00000000-00000004"):
        Pool.load(tmp_path)


def test_a_shard_struck_from_the_list_is_missed(tmp_path: Path) -> None:
    grown(tmp_path)
    described = json.loads((tmp_path / "pool.json").read_text())
    del described["shards"][1]
    (tmp_path / "pool.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="holds 8 of the 12 images that it should: shards are missing"):
        Pool.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file"),
        ("{", "not readable JSON"),
        ("{}", "not written by tacit"),
        ("[]", "not written by tacit"),
        ('{"spec": {"shape": [1, 2, 2], "classes": 4}, "first": 0, "made": 1, "shards": [{"begin": 0, "end": 1}]}', "not written by tacit"),
    ],
)
def test_a_folder_that_is_no_pool_is_refused(text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "pool.json").write_text(text)
    with pytest.raises(InputError, match=words):
        Pool.load(tmp_path)


def test_an_empty_pool_can_be_saved_and_loaded(tmp_path: Path) -> None:
    Pool(SPEC).save(tmp_path, {})
    assert len(Pool.load(tmp_path)) == 0


def test_where_a_class_a_pixel_is_named_that_is_kept_and_not_the_logits(tmp_path: Path) -> None:
    spec = Spec(shape=(1, 4, 6), classes=4, task="segmentation")
    draw = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(2):
        targets = torch.randint(4, (3, 4, 6), generator=draw)
        targets[:, 0, 0] = VOID
        batches.append(Batch(torch.rand(3, 1, 4, 6, generator=draw), targets, torch.randn(3, 4, 4, 6, generator=draw)))
    pool = Pool(spec, cap=5)
    for batch in batches:
        pool.add(batch)
    pool.save(tmp_path, {})
    again = Pool.load(tmp_path, state=pool.state_dict())
    assert {name: str(column.dtype) for name, column in again.columns.items()} == {
        "images": "torch.uint8",
        "targets": "torch.uint8",
        "seen": "torch.uint8",
        "confidence": "torch.float32",
    }
    logits = torch.cat([batch.logits for batch in batches if batch.logits is not None])[1:]
    assert again.answers is not None
    assert torch.equal(again.answers[0].long(), logits.argmax(dim=1))
    torch.testing.assert_close(again.answers[1], logits.softmax(dim=1).amax(dim=1).mean(dim=(1, 2)))
    given = again.batch(torch.tensor([4, 0]))
    assert given.logits is None
    assert given.targets is not None
    assert torch.equal(given.targets, torch.cat([batch.targets for batch in batches if batch.targets is not None])[[5, 1]])
    again.forget_answers()
    assert again.answers is None
    counted = [int((again.columns["targets"] == label).flatten(1).any(dim=1).sum()) for label in range(4)]
    assert again.class_counts == counted
