import os
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import draw

from paraclip.errors import UserError
from paraclip.models import features as stored
from paraclip.models.features import FeatureCache, identity, prune


def test_rows_are_found_by_key(tmp_path):
    features = torch.arange(12.0).reshape(4, 3)
    with FeatureCache(tmp_path) as cache:
        cache.add(["a", "b"], features[:2])
        cache.add(["c", "d"], features[2:])
    again = FeatureCache(tmp_path)
    assert "c" in again and "e" not in again
    rows = again.rows(["d", "e", "a"])
    assert torch.equal(rows[[0, 2]], features[[3, 0]])
    assert rows[1].isnan().all()
    assert again.rows(["x"]) is None


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


KILLED = """
    import time, torch
    from pathlib import Path
    from paraclip.models import features as stored
    stored._ROWS_A_SHARD = 2
    with stored.FeatureCache(Path({folder!r})) as cache:
        for row in range(5):
            cache.add([str(row)], torch.full((1, 3), float(row)))
        print("five", flush=True)
        time.sleep(60)
"""


def test_a_killed_run_keeps_every_complete_shard(tmp_path):
    code = textwrap.dedent(KILLED).format(folder=str(tmp_path / "cache"))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "five\n"
    child.kill()
    child.wait()
    child.stdout.close()
    kept = FeatureCache(tmp_path / "cache")
    assert [str(row) in kept for row in range(5)] == [True, True, True, True, False]
    assert torch.equal(kept.rows(["3", "0"]), torch.tensor([[3.0] * 3, [0.0] * 3]))


def test_mapped_rows_are_those_of_the_shards_and_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "_ROWS_AT_ONCE", 2)
    features = torch.arange(12.0).reshape(4, 3)
    with FeatureCache(tmp_path) as cache:
        cache.add(["a", "b"], features[:2])
        cache.add(["c", "d"], features[2:])
    names = ["d", "", "x", "a", "d"]
    found = cache.mapped(names, 3)
    assert torch.equal(found[[0, 3, 4]], features[[3, 0, 3]]) and found[[1, 2]].isnan().all()
    assert cache.mapped(["", "x"], 3).isnan().all()
    with monkeypatch.context() as patch:
        patch.setattr(FeatureCache, "rows", None)
        assert torch.equal(cache.mapped(names, 3)[[0, 3]], features[[3, 0]]), "made once"
    cache.add(["x"], torch.ones(1, 3))
    cache.flush()
    assert torch.equal(cache.mapped(["x"], 3), torch.ones(1, 3)), "it became known"


def test_mapped_rows_take_no_memory_before_they_are_read(tmp_path):
    FeatureCache(tmp_path).mapped([""] * 40_000, 1024)
    script = f"""
        from pathlib import Path
        from resource import RUSAGE_SELF, getrusage
        from paraclip.models import features as stored
        before = getrusage(RUSAGE_SELF).ru_maxrss
        found = stored.FeatureCache(Path({str(tmp_path)!r})).mapped([""] * 40_000, 1024)
        assert found[[5, 39_999]].isnan().all() and found.shape == (40_000, 1024)
        assert getrusage(RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes of 160,000"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_a_shard_of_another_model_is_refused(tmp_path):
    one, other = tmp_path / "one-fp32", tmp_path / "other-fp32"
    with FeatureCache(one) as cache:
        cache.add(["a"], torch.zeros(1, 2))
    assert "a" in FeatureCache(one)
    one.rename(other)
    with pytest.raises(UserError, match=r"image features of another model \(one-fp32\)"):
        FeatureCache(other)


@pytest.mark.parametrize(
    "damage", ["torn", "bit", "removed", torch.ones(1, 3), torch.ones(2), torch.ones(2, 3).half()]
)
def test_a_damaged_shard_is_computed_again(tmp_path, damage):
    with FeatureCache(tmp_path) as cache:
        cache.add(["a", "b"], torch.ones(2, 3))
    path = next(tmp_path.iterdir())
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:20])
    elif damage == "bit":
        content = path.read_bytes()
        path.write_bytes(content[:-4] + bytes([content[-4] ^ 1]) + content[-3:])
    elif damage == "removed":  # by another process
        path.unlink()
        path.symlink_to(tmp_path / "removed")
    else:
        facts = {"identities": '["a", "b"]', "checksum": stored._checksum(damage)}
        save_file({"features": damage}, path, {**facts, "made_for": tmp_path.name})
        assert "a" not in FeatureCache(tmp_path)
        save_file(load_file(path), path)  # without facts
    assert "a" not in FeatureCache(tmp_path)


@pytest.mark.parametrize("damage", ["bit", "short", "long", "empty", "other"])
def test_damaged_mapped_rows_are_written_again(tmp_path, damage):
    with FeatureCache(tmp_path) as cache:
        cache.add(["a", "b"], torch.ones(2, 32))
    cache.mapped(["a", "b"], 32)
    path = next(tmp_path.glob("rows-*.npy"))
    content = path.read_bytes()
    damaged = {
        "bit": content[:-40] + bytes([content[-40] ^ 1]) + content[-39:],
        "short": content[:-9], "long": content + b"more", "empty": b"",
        "other": content.replace(b"(2, 32)", b"(4, 16)"),
    }  # fmt: skip
    path.write_bytes(damaged[damage])
    assert torch.equal(cache.mapped(["a", "b"], 32), torch.ones(2, 32))
    assert path.read_bytes() == content


def test_features_are_pruned_by_age_and_no_other_file(tmp_path):
    folders = [tmp_path / f"open_clip-{age:016x}-fp32" for age in range(1, 5)]
    for age, folder in enumerate(folders, start=1):
        with FeatureCache(folder) as cache:
            cache.add(["a"], torch.ones(1, 250))
        when = (os.stat(folder).st_mtime - age * 86_400 - 60,) * 2
        os.utime(next(folder.iterdir()), when)
    foreign = [folders[3] / "notes.txt", tmp_path / "pictures" / f"{'0' * 32}.safetensors"]
    foreign[1].parent.mkdir()
    for path in foreign:
        path.write_text("mine")
        os.utime(path, (0, 0))
    FeatureCache(folders[2])  # used now
    prune(tmp_path, days=1.5)
    assert [len(list(folder.glob("*.safetensors"))) for folder in folders] == [1, 0, 1, 0]
    assert not folders[1].exists() and all(path.read_text() == "mine" for path in foreign)
