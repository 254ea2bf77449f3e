"""The table of architectures reports differences and models that do not load."""

import pytest
import torch

from paraclip.errors import UserError
from paraclip.models.openclip import OpenClip

NAMES = ("roberta-ViT-B-32", "ViT-B-16-SigLIP", "ViT-H-14", "convnext_base", "nllb-clip-base")


@pytest.fixture
def architectures():
    from benchmarks.training import architectures

    return architectures


def test_towers_of_every_kind_load_and_match(run, architectures):
    rows = {row["name"]: row for row in run(architectures, "--names", *NAMES)["rows"]}
    assert list(rows) == list(NAMES)
    for row in rows.values():
        assert row["reason"] == "" and row["activation"] and row["pixels"]
        assert max(row["image"], row["text"]) <= architectures.CLOSE
    assert rows["ViT-H-14"]["as_file"] == "NAME:TAG:FILE"
    assert rows["ViT-H-14"]["settings"] == 3


def test_a_difference_in_any_column_shows(run, architectures, monkeypatch):
    real = OpenClip.preprocess
    monkeypatch.setattr(OpenClip, "preprocess", lambda self, image: real(self, image) + 0.1)
    monkeypatch.setattr(OpenClip, "encode_tokens", lambda self, ids: torch.zeros(len(ids), 512))
    row = architectures.ArchitectureRow(**run(architectures, "--names", "ViT-B-32")["rows"][0])
    assert not row.pixels and row.text > architectures.CLOSE and not row.fits
    assert row.activation


def test_what_does_not_load_gives_its_reason(run, architectures, monkeypatch, tmp_path):
    def refuse(name, device):
        raise UserError(name, "is of no kind that loads", "Take another.")

    monkeypatch.setattr(architectures, "load_model", refuse)
    row = architectures.ArchitectureRow(**run(architectures, "--names", "ViT-B-32")["rows"][0])
    assert row.reason == "is of no kind that loads" and not row.fits
    assert "is of no kind that loads" in (tmp_path / "architectures.md").read_text()
