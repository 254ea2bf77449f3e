"""What a package index learns from a build: addresses, README and licences."""

import re
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from oldest import ROOT

from paraclip import __version__

REPOSITORY = "https://code.example/owner/name"
RELATIVE = re.compile(r"(?:\]\(|(?:src|href)=\")(?!https?:)[^)\"]*")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where metadata is written; the project is the working folder, as a front end has it."""
    pytest.importorskip("hatchling.build")
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PARACLIP_REPOSITORY", raising=False)
    return tmp_path


def metadata(folder: Path) -> Message:
    from hatchling.build import prepare_metadata_for_build_wheel

    written = folder / prepare_metadata_for_build_wheel(str(folder)) / "METADATA"
    with written.open("rb") as file:
        return BytesParser().parse(file)


def addresses(built: Message) -> dict[str, str]:
    return dict(line.split(", ") for line in built.get_all("Project-URL", []))


def description(built: Message) -> str:
    content = built.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode()


def test_the_links_of_a_release_lead_to_its_tag(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_REPOSITORY", REPOSITORY)
    built, readme = metadata(folder), (ROOT / "README.md").read_text("utf-8")
    found = addresses(built)
    assert found["Repository"] == REPOSITORY and "arxiv.org" in found["Paper"]
    assert {"Documentation", "Issues", "Changelog"} <= found.keys()
    text = description(built)
    assert len(RELATIVE.findall(readme)) > 10 and not RELATIVE.findall(text)
    for kind, place in (("", "blob"), ("!", "raw")):
        link = rf"{kind}\[[^\]]*\]\({REPOSITORY}/{place}/v{__version__}/([^)#]+)"
        targets = re.findall(link, text)
        assert targets and all((ROOT / target).exists() for target in targets)
    assert not re.search(rf"!\[[^\]]*\]\({REPOSITORY}/blob/", text), "a page, not a picture"
    assert f"git clone {REPOSITORY} && cd name\n" in text
    badges = re.findall(rf"!\[\w+\]\({REPOSITORY}/actions/workflows/(\w+.yml)/badge.svg\)", text)
    assert badges and all((ROOT / ".github" / "workflows" / name).is_file() for name in badges)


def test_a_build_without_an_address_is_as_the_source(folder: Path) -> None:
    built = metadata(folder)
    assert addresses(built).keys() == {"Paper"}
    assert description(built).strip() == (ROOT / "README.md").read_text("utf-8").strip()


@pytest.mark.parametrize(
    "address",
    ["http://code.example/owner/name", "owner/name", "https://code.example", "https://a.b/c d"],
)
def test_an_address_that_is_none_is_refused(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_REPOSITORY", address)
    with pytest.raises(ValueError, match=r"PARACLIP_REPOSITORY.*https"):
        metadata(folder)


def test_weights_under_another_licence_are_named_and_not_in_the_package(folder: Path) -> None:
    assert metadata(folder)["License-Expression"] == "Apache-2.0"
    terms = (ROOT / "LICENSE-research-weights.txt").read_text()
    named = re.findall(r"\S+\.(?:safetensors|gguf)", terms)
    assert len(named) == 2 and all((ROOT / name).is_file() for name in named)
    assert all(name.startswith("recipes/") for name in named)
    card = (ROOT / "recipes/paraphraser/adapter/README.md").read_text()
    assert f"license_name: {terms.splitlines()[0]}" in card


def test_readme_and_citation_state_both_licences() -> None:
    assert "LICENSE-research-weights.txt" in (ROOT / "CITATION.cff").read_text()
    for name in ("README.md", "CITATION.cff"):
        text = " ".join((ROOT / name).read_text().split())
        assert "Apache-2.0" in text and "non-commercial research only" in text
