"""Prompts, and `--kinds`: further wordings are asked for, filtered, written and read."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fake_encoder import BagEncoder
from fake_server import FakeServer, Reply, rotate
from generating import Runs, captions
from test_llm_batches import answered, run_of_files, vllm

from paraclip.data.triples import choose_wordings, read_provenance, read_triples
from paraclip.errors import UserError
from paraclip.evaluation.pairs import read_pairs
from paraclip.paraphrase.backends import BACKENDS, BackendKind
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.prompts import CONTRAST, KINDS, STYLES, Prompt, make_prompt, read_kinds

pytestmark = pytest.mark.usefixtures("quiet")
ALL = ",".join(KINDS)
REPLIES = {
    "short": "baker carries {} bread",
    "verbose": "A photo of a baker, who is carrying the {} bread through the town.",
    "colloquial": "through town a baker carries {} bread",
    "technical": "baker, through town, carries {} bread",
    "typo": "A bakre carries {} braed through town.",
    "other_person": "{} bread, carried by a baker",
    "contrast": "Two bakers carry {} bread through town.",
}


def name_in(caption: str) -> str:
    return next(word for word in caption.split() if word.endswith("x"))


def kind_of(messages: list[dict[str, str]]) -> str | None:
    task = messages[0]["content"]
    return next((name for name, kind in KINDS.items() if task.startswith(kind.task)), None)


class KindServer(FakeServer):
    """Answers every kind's prompt with a wording of that kind; counts the questions of each."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: Counter[str] = Counter()
        self.replies: dict[str, Reply] = dict(REPLIES)

    def reply(self, body: dict[str, Any]) -> tuple[Reply, str, int]:
        kind, (said, prompt, count) = kind_of(body["messages"]), super().reply(body)
        if kind is None:
            return said, prompt, count
        self.kinds[kind] += 1
        said = self.replies[kind]
        return said.format(name_in(prompt)) if isinstance(said, str) else said, prompt, count


@pytest.fixture
def server() -> Iterator[KindServer]:
    with KindServer() as fake:
        yield fake


def test_every_kind_is_written_and_read(run: Runs) -> None:
    for _ in range(2):
        summary = run(3, kinds=ALL)
        assert summary.kept == 3 and summary.wordings == dict.fromkeys(KINDS, 3)
        assert run.server.kinds == dict.fromkeys(KINDS, 3), "later, all answers are in the log"
    path = run.out / "triples.parquet"
    first, *_ = pq.read_table(path).to_pylist()
    name = name_in(first["caption"])
    texts = {one["kind"]: one["text"] for one in first["wordings"]} | {CONTRAST: first[CONTRAST]}
    assert texts == {kind: text.format(name) for kind, text in REPLIES.items()}
    found = choose_wordings(read_triples(path))
    assert [len(of_row) for of_row in found] == [6, 6, 6]
    assert read_pairs(path).negatives[0] == REPLIES[CONTRAST].format(name)
    assert json.loads((run.out / "summary.json").read_text())["wordings"]["typo"] == 3
    assert "| with a wording: short | 3 |" in (run.out / "README.md").read_text()


def test_kinds_may_be_added_later(run: Runs) -> None:
    run(2)
    assert "wordings" not in pq.read_schema(run.out / "triples.parquet").names
    run.asked()
    summary = run(2, kinds="short,typo", prices=(1.0, 1.0), max_cost=0.0)
    assert (summary.kept, summary.failed, summary.stopped) == (2, 0, "--max-cost")
    assert not run.server.kinds and summary.wordings.total() == 0
    summary = run(2, kinds="short,typo")
    assert run.asked() == 4 and summary.wordings == {"short": 2, "typo": 2}
    rows = pq.read_table(run.out / "triples.parquet").to_pylist()
    assert [[one["kind"] for one in row["wordings"]] for row in rows] == [["short", "typo"]] * 2
    assert rows[0][CONTRAST] is None


@pytest.mark.parametrize("reply", [400, None])
def test_a_wording_without_an_answer_costs_no_triple_and_is_asked_for_again(
    run: Runs, reply: Reply
) -> None:
    run.server.replies["short"] = reply
    summary = run(2, kinds="short,typo,contrast")
    assert (summary.kept, summary.failed, summary.wordings["typo"]) == (2, 0, 2)
    assert summary.missing_wordings == {"short: no answer": 2}
    failed = [(row["id"], row["step"], row["kind"]) for row in run.lines("failed.jsonl")]
    assert failed == [("c0", 3, "short"), ("c1", 3, "short")]
    run.server.replies["short"] = REPLIES["short"]
    run.asked()
    summary = run(2, kinds="short,typo,contrast")
    assert run.asked() == 2
    assert summary.wordings == dict.fromkeys(("short", "typo", CONTRAST), 2)
    assert not summary.missing_wordings and not run.lines("failed.jsonl")


def test_a_rejected_wording_is_listed_with_its_kind_and_a_resumed_run_asks_nothing(
    run: Runs,
) -> None:
    run.server.replies |= {"short": "I'm sorry, I cannot help.", "typo": ""}
    for _ in range(2):
        summary = run(2, kinds="short,typo,contrast")
        found = [
            (row["id"], row["step"], row["kind"], row["reason"])
            for row in run.lines("rejected.jsonl")
        ]
        assert found == [
            (f"c{n}", 3, *why)
            for n in (0, 1) for why in (("short", "refusal"), ("typo", "empty"))
        ]  # fmt: skip
    assert run.server.kinds == Counter(short=2, typo=2, contrast=2)
    assert summary.kept == 2 and summary.rejected == {}
    assert summary.missing_wordings == {"short: refusal": 2, "typo: empty": 2}
    assert "without a wording, short: refusal" in summary.table()
    rows = pq.read_table(run.out / "triples.parquet").to_pylist()
    assert [row["wordings"] for row in rows] == [[], []] and all(row[CONTRAST] for row in rows)


def test_the_third_round_of_files_has_the_further_wordings(tmp_path: Path) -> None:
    def answer(line: dict[str, Any]) -> dict[str, Any]:
        kind = kind_of(line["body"]["messages"])
        if kind is None:
            return answered(line)
        text = REPLIES[kind].format(name_in(line["body"]["messages"][-1]["content"]))
        return answered(line, reword=lambda caption: text)

    run_of_files(tmp_path, 2, to_file="one", kinds="short,contrast")
    for last, following, questions in (("one", "two", 2), ("two", "three", 4), ("three", "", 0)):
        vllm(tmp_path / last, answer)
        files = {"from_file": last} | ({"to_file": following} if following else {})
        found = run_of_files(tmp_path, 2, kinds="short,contrast", **files)
        assert sum(f"{questions} open questions" in note for note in found.notes) == bool(questions)
    assert found.summary.kept == 2 and found.summary.wordings == {"short": 2, CONTRAST: 2}


CAT = "A grey cat sleeps on a wooden chair by the door"


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        ("short", "grey cat on chair", None), ("short", "cat", "kind"),
        ("short", "grey cat sleeps on a chair by the door", "kind"),
        ("short", CAT, "copy"),
        ("verbose", "a grey cat sleeps on a wooden chair", "kind"),
        ("short", "grey cat wakes on chair", None),  # the checker is not asked: it may drop facts
        ("colloquial", "by the door a grey cat wakes on a wooden chair", "meaning"),
        ("colloquial", "by the door a grey cat sleeps on a wooden chair", None),
        ("typo", "A gery cat sleeps on a woden chair by the door", None), ("typo", CAT, "copy"),
        ("typo", "A grey car sleeps on a wooden chair by the door", "kind"),
        ("typo", "A grey cat sleeps on a wooden chair", "kind"),
        ("typo", "A gery cta slepes on a woden cahir by the door", "kind"),
        ("other_person", "by the door a cat sleeps, on a chair", None),
        ("other_person", "A cat sleeps on a wooden chair by the door", "kind"),
        ("contrast", "A grey cat wakes on a wooden chair by the door", None),  # by the checker
        ("contrast", "A grey cat slumbers on a wooden chair by the door", "same meaning"),
        ("contrast", "A cat sleeps on a wooden chair by the door", "kind"),
        ("contrast", "Three buses wait in the rain", "kind"), ("contrast", CAT, "copy"),
        ("contrast", "Sorry, I cannot change that caption", "refusal"),
    ],
)  # fmt: skip
def test_each_kind_has_its_filters(kind: str, answer: str, reason: str | None) -> None:
    class Checker:
        def faults(self, pairs: list[tuple[str, str]]) -> list[float]:
            above, below = Limits().fault + 0.05, Limits().fault - 0.05
            return [above if "wakes" in text else below for _, text in pairs]

    judge = Judge(Limits(), BagEncoder())  # type: ignore[arg-type]
    judge.checker = Checker()  # type: ignore[assignment]
    (verdict,) = judge.judge([Question(CAT, answer, kind=kind)])
    assert verdict.reason == reason


def test_kinds_are_a_list_and_unknown_ones_are_one_line(run: Runs) -> None:
    assert read_kinds(" short, typo,short,") == ("short", "typo") and read_kinds("") == ()
    with pytest.raises(UserError, match=r"--kinds: there is no kind 'shrt'\. Did you mean short"):
        run.command(1, kinds="shrt")


# --- prompts ---


def test_chats_end_with_the_caption() -> None:
    first, second = (make_prompt("paper", step, "A  dog\nruns.").messages for step in (1, 2))
    assert first is not None and second is not None
    for messages in (first, second):
        assert [message["role"] for message in messages] == ["system", "user"]
        assert messages[-1]["content"] == "A dog runs." and "concisely" in messages[0]["content"]
    assert "words already used" in second[0]["content"]
    assert "words already used" not in first[0]["content"]


# --- the user's prompts and sampling ---

PROMPTS = """
step_1 = 'Say plainly: {caption}'
[step_2]
system = "Be brief."
user = 'Say "{paraphrase_1}" otherwise, as JSON: {"text": ...}'
"""
SAMPLING = {"temperature": 0.9, "top_p": 0.3, "max_tokens": 512}


def own_prompts(folder: Path) -> dict[str, Any]:
    """Options of a run with the user's prompts and sampling."""
    (folder / "mine.toml").write_text(PROMPTS)
    return {"prompts": str(folder / "mine.toml"), **SAMPLING}


def reword(prompt: str, count: int = 1) -> str:
    """What a model answers to either of PROMPTS."""
    return rotate(prompt.partition('"')[2].partition('"')[0] or prompt.partition(": ")[2])


def requests_of(folder: Path, **options: Any) -> list[dict[str, Any]]:
    """The bodies of the first round of a run over one caption, in files of a new folder."""
    folder.mkdir()
    run_of_files(folder, 1, to_file="one", **options)
    lines = (folder / "one" / "requests-0001.jsonl").read_text().splitlines()
    return [json.loads(line)["body"] for line in lines]


class Styled(OpenAIBackend):
    """A server that another package asks in a style of its own."""

    style = "loud"


def test_a_server_files_and_another_backend_are_asked_the_users_prompts_and_sampling(
    run: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "styled", BackendKind(f"{__name__}:Styled"))
    run.server.behave, options = reword, own_prompts(tmp_path)
    assert run(1, **options).kept == 1
    [caption] = (one.caption for one in captions(1))
    first, second = run.server.bodies
    assert first == {
        "model": "fake", **SAMPLING,
        "messages": [{"role": "user", "content": f"Say plainly: {caption}"}],
    }  # fmt: skip
    assert second["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f'Say "{rotate(caption)}" otherwise, as JSON: {{"text": ...}}'},
    ]
    kept = read_provenance(run.out / "triples.parquet")["settings"]["llm"]
    assert kept["prompts"][0] == {"user": "Say plainly: {caption}"} and kept["max_tokens"] == 512
    assert requests_of(tmp_path / "files", **options) == [first]
    other = Runs(run.server, tmp_path / "other")
    assert other(1, backend="styled", **options).kept == 1
    assert run.server.bodies[2:] == [first, second]


def test_the_style_of_a_backend_is_its_own(
    run: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shout(step: int | str, text: str) -> Prompt:
        return Prompt(messages=({"role": "user", "content": f"{text.upper()}!"},))

    monkeypatch.setitem(STYLES, "loud", shout)
    for name in ("styled", "openai"):  # the last, so that files are asked as well
        monkeypatch.setitem(BACKENDS, name, BackendKind(f"{__name__}:Styled"))
    run(1, backend="styled")
    loud = run.server.bodies[0]["messages"]
    assert loud[0]["content"] == next(captions(1)).caption.upper() + "!"
    [request] = requests_of(tmp_path / "files")
    assert request["messages"] == loud


def test_a_run_with_other_prompts_or_sampling_is_not_resumed(run: Runs, tmp_path: Path) -> None:
    run.server.behave, options = reword, own_prompts(tmp_path)
    run(1, **options)
    (tmp_path / "mine.toml").write_text(PROMPTS.replace("plainly", "clearly"))
    others = [("prompts", {}), ("max_tokens", {"max_tokens": 64}), ("top_p=0.3", {"top_p": 1.0})]
    for named, changed in others:
        if named != "prompts":
            own_prompts(tmp_path)
        with pytest.raises(UserError, match=f"with other settings.*{named}"):
            run(1, **options | changed)
    assert run(1, **options).reused_answers == 2


def test_captions_with_another_number_of_words_are_rejected_without_a_question(run: Runs) -> None:
    short, fits, long = captions(3)
    rows = [replace(short, caption="Bread"), fits, replace(long, caption=f"{long.caption} Now.")]
    summary = run(rows, words="2-7")
    assert (summary.kept, summary.rejected) == (1, {"caption: number of words": 2})
    assert {row["id"] for row in run.lines("rejected.jsonl")} == {"c0", "c2"}
    assert run.asked() == 2 and run(rows).kept == 2, "a later run asks about the others"
