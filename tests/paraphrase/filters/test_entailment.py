"""`--nli`: a local cross-encoder with random weights reads both texts in both directions."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_encoder import BagEncoder
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from paraclip.errors import UserError
from paraclip.paraphrase.config import GenerateConfig, Limits
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.entailment import Entailment
from paraclip.paraphrase.filters.judge import Judge

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "cat", "chases", "runs", "after", "the"]
PAIRS = [("a dog chases the cat", "the cat chases a dog"), ("a dog runs", "the dog runs after")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cross-encoder with random weights, saved by transformers."""
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64, initializer_range=0.5,
        id2label={0: "contradiction", 1: "Entailment", 2: "neutral"},
        label2id={"contradiction": 0, "Entailment": 1, "neutral": 2},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )  # fmt: skip
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(tmp_path)  # fmt: skip
    return tmp_path


def probability(folder: Path, premise: str, claim: str) -> float:
    """The same by hand: one pair, no padding."""
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder).eval()
    first, second = (
        [WORDS.index(word) for word in text.split()]
        for text in (f"[CLS] {premise} [SEP]", f"{claim} [SEP]")
    )
    types = torch.tensor([[0] * len(first) + [1] * len(second)])
    logits = model(input_ids=torch.tensor([first + second]), token_type_ids=types).logits
    return float(logits.detach().softmax(-1)[0, 1])


def test_the_lower_of_both_directions_counts(folder: Path) -> None:
    found = Entailment(folder).both_ways(*zip(*PAIRS, strict=True))
    expected = [min(probability(folder, *pair), probability(folder, *pair[::-1])) for pair in PAIRS]
    assert found == pytest.approx(expected, abs=1e-5)
    assert abs(expected[0] - expected[1]) > 1e-3  # else the model reads nothing


def test_the_judge_rejects_by_it(folder: Path) -> None:
    question = Question(PAIRS[1][0], "the dog runs after a cat")
    (lower,) = Entailment(folder).both_ways([question.source], [question.answer])
    skipped = ("new content", "lost content", "drift")
    loose = Limits(nli=str(folder), skipped=skipped)

    def reason(least: float) -> str | None:
        limits = replace(loose, entailed=least)
        return Judge(limits, BagEncoder()).judge([question])[0].reason

    assert reason(lower - 0.01) is None
    assert reason(lower + 0.01) == "entailment"


def test_the_options_reach_the_limits(folder: Path) -> None:
    config = GenerateConfig("a.csv", Path("out"), nli=str(folder), min_entailed=0.7, max_fault=0.2)
    limits = config.filter_limits
    assert (limits.nli, limits.entailed, limits.fault) == (str(folder), 0.7, 0.2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no config.json"),
        ("{", "not JSON"),
        ("[1]", "not JSON"),
        (json.dumps({"id2label": {"0": "good", "1": "bad"}}), "no label `entailment`"),
        (json.dumps({"id2label": {"0": "entailment"}, "model_type": "bert"}), "cannot be loaded"),
        (json.dumps({"id2label": {"0": "entailment"}, "model_type": "none"}), "cannot be loaded"),
    ],
)
def test_a_folder_without_such_a_model_is_refused(tmp_path: Path, content, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        Entailment(tmp_path)
    assert "safetensors" in caught.value.hint


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded"):
        Entailment(folder)
