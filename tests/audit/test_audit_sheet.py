"""The sample drawn for reviewers; the page shows nothing else."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.audit import sheet
from paraclip.audit.command import audit_command
from paraclip.audit.config import AuditConfig
from paraclip.audit.sheet import KEPT, Pair, draw, page_of, read_sheet, shares, write_sheet
from paraclip.data.triples import write_triples
from paraclip.errors import UserError

NASTY = "</script><img src=x onerror=alert(1)> & \u2028 'quoted'"


def made_run(folder: Path, kept: int = 30, rejected: int = 12) -> Path:
    """The output folder of a run."""
    rows = [
        {"id": f"k{n}", "image_id": str(n), "caption": f"a dog {n}", "paraphrase_1": f"one dog {n}",
         "paraphrase_2": NASTY if n == 0 else f"the hound {n}", "similarity_1": n / 40,
         "similarity_2": 1 - n / 40}
        for n in range(kept)
    ]  # fmt: skip
    write_triples(folder / "triples.parquet", rows, {})
    lines = [
        {"id": f"r{n}", "caption": f"a cat {n}", "step": 1 + n % 2, "reason": "copy",
         "candidates": [{"text": f"a cat {n}", "reason": "copy" if n else "drift"},
                        {"text": "", "reason": "empty"}]}
        for n in range(rejected)
    ]  # fmt: skip
    (folder / "rejected.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_sample_is_stratified_and_reproducible(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    page, pairs = write_sheet(AuditConfig(run, sample=24))
    assert len(pairs) == 24 and len({pair.id for pair in pairs}) == 24
    kept = [pair for pair in pairs if pair.verdict == KEPT]
    strata = {pair.stratum: pair.weight for pair in kept}
    assert len(kept) == 12 and len(strata) == 6 and set(strata.values()) == {10 / 2}
    assert sum(pair.weight for pair in pairs) == pytest.approx(60 + 12)
    assert {pair.stratum for pair in pairs} >= {"rejected, copy", "rejected, drift"}
    assert [pair.verdict for pair in pairs] != sorted(pair.verdict for pair in pairs)
    again = write_sheet(AuditConfig(run, sample=24, out=tmp_path / "again"))[1]
    assert again == pairs and read_sheet(page.with_name("sheet.jsonl")) == {p.id: p for p in pairs}
    other = write_sheet(AuditConfig(run, sample=24, seed=1, out=tmp_path / "other"))[1]
    assert other != pairs


def test_no_two_pairs_have_one_id_where_ids_contain_slashes(tmp_path: Path) -> None:
    texts = {"caption": "a dog", "paraphrase_1": "one dog", "paraphrase_2": "the hound"}
    write_triples(tmp_path / "triples.parquet", [{"id": "a/1", "image_id": "1", **texts}], {})
    candidates = [{"text": f"a cat {n}", "reason": "copy"} for n in range(3)]
    row = {"id": "a", "caption": "a cat", "step": 1, "candidates": candidates}
    (tmp_path / "rejected.jsonl").write_text(json.dumps(row) + "\n")
    page, pairs = write_sheet(AuditConfig(tmp_path))
    assert len(pairs) == len(read_sheet(page.with_name("sheet.jsonl"))) == 2 + 3


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(0, 100))
def test_shares_are_as_equal_as_strata_allow(sizes: list[int], total: int) -> None:
    taken = shares(sizes, total)
    assert sum(taken) == min(total, sum(sizes))
    assert all(count <= size for count, size in zip(taken, sizes, strict=True))
    unfilled = [count for count, size in zip(taken, sizes, strict=True) if count < size]
    assert not unfilled or max(taken) - min(unfilled) <= 1


def test_a_run_without_rejections_fills_the_sample(tmp_path: Path) -> None:
    run = made_run(tmp_path, rejected=0)
    assert len(write_sheet(AuditConfig(run, sample=20))[1]) == 20
    assert len(draw([], 5, 0)) == 0


def test_the_page_hides_the_verdict_and_runs_no_text(tmp_path: Path) -> None:
    pair = Pair("1/1", 1, "a dog", NASTY, "gender", "rejected, gender")
    page = page_of([pair], "name")
    assert "gender" not in page and "<img" not in page and "http" not in page.replace("http-eq", "")


def test_folders_that_are_not_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"triples\.parquet: there is no such file"):
        write_sheet(AuditConfig(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"triples\.parquet: "):
        write_sheet(AuditConfig(made_run(tmp_path, kept=0)))
    run = made_run(tmp_path)
    (run / "rejected.jsonl").write_text('{"caption": 1}\n')
    with pytest.raises(UserError, match=r"rejected\.jsonl:1: is damaged"):
        write_sheet(AuditConfig(run))


@pytest.mark.parametrize("content", ["{}", "[", '{"id": "a", "step": 1}', ""])
def test_what_is_not_a_sheet_is_refused_or_empty(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sheet.jsonl"
    path.write_text(content)
    if content:
        with pytest.raises(UserError, match="is not a sheet"):
            read_sheet(path)
    else:
        assert read_sheet(path) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weight", "x"), ("weight", None), ("weight", 0), ("stratum", 5), ("stratum", ["x"]),
        ("id", 3), ("step", "1"), ("source", None),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_named(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "sheet.jsonl"
    pair = asdict(Pair("1/1", 1, "a dog", "one dog", KEPT, "kept", 2.0))
    path.write_text(json.dumps({**pair, field: value}) + "\n")
    with pytest.raises(UserError, match=rf"sheet\.jsonl: {field}: .* is not valid"):
        read_sheet(path)


def test_a_sheet_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "sheet.jsonl"
    with path.open("wb") as sheet:
        sheet.truncate(2**26 + 1)  # a hole; takes no space
    with pytest.raises(UserError, match=r"sheet\.jsonl: holds more than 64 MiB"):
        read_sheet(path)


def test_the_command_reports_what_to_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit_command(AuditConfig(made_run(tmp_path), sample=10))
    printed = capsys.readouterr().out
    assert "10 pairs to check: open" in printed and "rejected, drift" in printed


@pytest.mark.parametrize(("kept", "rejected"), [(30, 3), (2, 40)])
def test_many_pairs_of_one_kind_fill_the_page_if_there_are_few_of_the_other(
    tmp_path: Path, kept: int, rejected: int
) -> None:
    pairs = write_sheet(AuditConfig(made_run(tmp_path, kept, rejected), sample=24))[1]
    assert len(pairs) == 24
    verdicts = [pair.verdict == KEPT for pair in pairs]
    assert min(verdicts.count(True), verdicts.count(False)) == min(2 * kept, rejected)


def test_a_run_without_the_right_to_read_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sheet, "read_triples", refused)
    with pytest.raises(UserError, match=r"triples\.parquet: may not be read"):
        write_sheet(AuditConfig(made_run(tmp_path)))
