"""A tiny run of the faults benchmark: it passes and fails where it should."""

from pathlib import Path

import pytest

from benchmarks.generation import faults as generation_faults
from benchmarks.generation.faults import Finding, Server, as_table, captions, finding


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    monkeypatch.setattr(generation_faults, "ROWS", 8)


@pytest.mark.parametrize(
    "fault", ["damaged_log", "full_disk", "changed_clock", "changed_input", "older_log", "redirect"]
)
def test_a_fault_is_survived(fault: str, tmp_path: Path) -> None:
    found = getattr(generation_faults, fault)(tmp_path)
    assert found.survived and found.rows == 8, found
    if fault == "changed_input":
        assert found.note == "10 questions for 5 edited captions"
    if fault == "redirect":
        assert found.note == "0 requests followed"


def test_server_faults_are_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation_faults, "SERVER_FAULTS", {"closes": b"", "500": b"HTTP/1.1 500"})
    assert all(one.survived for one in generation_faults.server_faults(tmp_path))


def test_a_lost_a_doubled_and_a_paid_row_are_seen(tmp_path: Path) -> None:
    server = Server()
    generation_faults.run(server, tmp_path, captions(4))
    failed = tmp_path / "failed.jsonl"
    failed.write_text('{"id": "0"}\n')
    server.answered["again"] = 3
    found = finding("made", server, tmp_path, captions(5), 1)
    assert (found.lost, found.doubled, found.twice, found.survived) == (1, 1, 2, False)
    assert "| made | 5 | 1 | 1 | 2 (at most 1) |" in as_table([found])
    assert Finding("x", 1, 0, 0, 1, 1).survived
