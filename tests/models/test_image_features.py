import importlib.util
import os
import threading

import pytest
import torch

from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.models import features
from paraclip.models.features import (
    encode_images,
    encode_texts,
    identity,
    image_features,
    picture_features,
)
from tiny import draw


def counted(model, monkeypatch) -> list[int]:
    """The number of pictures in each batch for the image tower."""
    seen: list[int] = []
    whole = type(model).embed_pixels

    def embed_pixels(pixels):
        seen.append(len(pixels))
        return whole(model, pixels)

    monkeypatch.setattr(model, "embed_pixels", embed_pixels)
    return seen


def test_features_are_those_of_the_tower_in_the_order_asked(clip, pictures):
    rows = image_features(clip, [pictures[2], pictures[0], pictures[2]])
    from paraclip.data.images import open_image

    pixels = torch.stack([clip.preprocess(open_image(name, 32)) for name in pictures])
    expected = clip.embed_pixels(pixels).detach()
    torch.testing.assert_close(rows[:], expected[[2, 0, 2]])
    assert not rows.stored.requires_grad


def test_only_the_picture_that_changed_is_computed_again(clip, pictures, tmp_path, monkeypatch):
    first = image_features(clip, pictures, tmp_path / "cache")[:]
    draw(tmp_path / "disc-red.png", "disc", "black", size=(41, 30))
    seen = counted(clip, monkeypatch)
    again = image_features(clip, pictures, tmp_path / "cache")[:]
    assert seen == [1], "the others come from the cache"
    assert torch.equal(again[1:], first[1:])
    assert not torch.equal(again[0], first[0])


def test_other_weights_and_other_precision_have_their_own_rows(clip, mini, pictures, tmp_path):
    cache = tmp_path / "cache"
    image_features(clip, pictures, cache)
    picture_features(clip, pictures, cache, "bf16")
    assert image_features(mini, pictures[:1], cache).shape[1] == 1280
    assert len(list(cache.iterdir())) == 3
    with pytest.raises(UserError, match="Choose fp32 or bf16"):
        picture_features(clip, pictures, None, "fp8")


def test_broken_pictures_are_rows_of_nan_and_counted(clip, pictures, tmp_path):
    broken, missing = tmp_path / "broken.png", tmp_path / "none.png"
    broken.write_bytes(b"\x89PNG broken")
    problems = Problems()
    names = [str(broken), *pictures, str(missing)]
    rows = image_features(clip, names, tmp_path / "cache", problems)[:]
    assert rows.isnan().all(1).tolist() == [True, False, False, False, False, True]
    assert problems.count == 2
    assert {where for where, _ in problems.listed} == {str(broken), str(missing)}
    with pytest.raises(UserError, match="there is no such picture"):
        image_features(clip, names[-1:])
    assert list(image_features(clip, names[-1:], problems=Problems()).shape) == [1, 16]
    assert list(image_features(clip, []).shape) == list(encode_texts(clip, []).shape) == [0, 16]
    vectors = encode_images(clip, names, tmp_path / "cache", Problems())
    assert vectors.isnan().all(1).tolist() == [True, False, False, False, False, True]


def test_what_was_computed_before_an_interruption_is_kept(clip, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "IMAGES_AT_ONCE", 1)
    whole = type(clip).embed_pixels
    calls = []

    def interrupted(pixels):
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(clip, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(clip, "embed_pixels", interrupted)
        with pytest.raises(KeyboardInterrupt):
            image_features(clip, pictures, tmp_path / "cache")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]
    seen = counted(clip, monkeypatch)
    rows = image_features(clip, pictures, tmp_path / "cache")[:]
    assert sum(seen) == 2
    assert not rows.isnan().any()


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_text_vectors_come_in_the_order_of_the_texts(clip, batch_size):
    texts = ["a small red disc on paper", "a", "red paper", "a", "blue square on white paper"]
    vectors = encode_texts(clip.train(), texts, batch_size=batch_size)
    assert not clip.training
    one_by_one = torch.cat([clip.encode_tokens(clip.tokenize([text]).ids) for text in texts])
    torch.testing.assert_close(vectors, one_by_one.detach(), rtol=0, atol=1e-5)
    assert torch.equal(vectors[1], vectors[3])


def test_texts_of_as_many_tokens_go_together(mini, monkeypatch):
    # By letters a long one and a short one would meet in both batches.
    texts = ["a on a on a", "disc paper", "a a a a a", "disc white"]
    sizes = []
    plain = mini.encode_tokens
    monkeypatch.setattr(mini, "encode_tokens", lambda ids: sizes.append(ids.shape) or plain(ids))
    encode_texts(mini, texts, batch_size=2)
    assert sorted(map(tuple, sizes)) == [(2, 4), (2, 7)]


def test_a_picture_with_features_that_are_not_finite_is_named(
    clip, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(clip, "embed_pixels", lambda pixels: pixels.flatten(1) * torch.nan)
    with pytest.raises(UserError, match=r"\.png: its image features are NaN or infinite"):
        image_features(clip, pictures, tmp_path / "cache")


def test_rows_without_a_picture_have_no_features(clip, mini, pictures, tmp_path):
    rows = image_features(clip, [pictures[0], None, pictures[1]], tmp_path / "cache")
    kept = image_features(clip, pictures[:2])[:]
    assert torch.equal(rows[[0, 2]], kept) and rows[[1]].isnan().all()
    assert image_features(mini, [None], tmp_path / "cache").shape == (1, 1280)


def test_identity_follows_the_file(tmp_path, monkeypatch):
    name = draw(tmp_path / "a.png", "disc", "red")
    first = identity(name)
    monkeypatch.chdir(tmp_path)
    assert identity("a.png") == first
    url = identity(f"file://{name}")
    os.utime(name, ns=(0, 12345))
    assert identity(name) != first and identity(f"file://{name}") != url
    assert identity("s3://bucket/a.png") == identity("s3://bucket/a.png")


def test_a_member_of_a_tar_file_is_identified_by_both(tmp_path):
    shard = tmp_path / "0.tar"
    shard.write_bytes(b"first")
    one, two = (identity(f"tar://{name}::{shard}") for name in ("1.jpg", "2.jpg"))
    assert one != two
    shard.write_bytes(b"changed")
    assert identity(f"tar://1.jpg::{shard}") != one


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux only")
@pytest.mark.parametrize(("cpus", "threads"), [(1, 2), (7, 7), (64, 16)])
def test_as_many_threads_decode_as_cpus_may_be_used(cpus, threads, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    spec = importlib.util.find_spec("paraclip.models.features")
    anew = importlib.util.module_from_spec(spec)  # the module as another machine would load it
    spec.loader.exec_module(anew)
    assert threads == anew.PREPROCESSORS
