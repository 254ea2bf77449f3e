"""What a run of R finds out by itself: its learning rate, and the share of tuned to use."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from gradients import rows_of_all_kinds
from torch.nn.functional import normalize
from training_rows import (
    Stop,
    Tuned,
    before_step,
    make_features,
    planned,
    stop,
    tune,
    weights_of,
)

from paraclip.errors import UserError
from paraclip.evaluation.unlabelled import (
    ALIKE,
    CONTRAST,
    HUBS_LOWERED,
    KEPT,
    measure_hubs,
)
from paraclip.merging import merge
from paraclip.training import ranking
from paraclip.training import train as loop
from paraclip.training.choice import RATES, SHARES, SceneJudge, make_judge
from paraclip.training.config import LEARNING_RATE
from paraclip.training.data import Bank, Teacher, TrainingData
from paraclip.training.distributed import Processes
from paraclip.training.ranking import TEACHERS, Ranker, choose_sample, rank_pictures
from tiny import EMBED_DIM, TinyModel, make_triples, retuned

RANKED = {
    "recipe": "taught", "loss_weights": {"S": 0.0}, "epochs": 2,
    "learning_rate": None,
}  # fmt: skip


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture
def data() -> TrainingData:
    bank = Bank(unit(30, EMBED_DIM, 1), None)
    return TrainingData(TinyModel(), make_triples(), None, bank=bank)


def run(data: TrainingData, out, fresh: bool = False, **changes) -> Tuned:
    return tune(out, data=data, fresh=fresh, **RANKED | changes)


@pytest.fixture
def asked(monkeypatch) -> list[float]:
    """The losses of the judge, in order; the third rate has the smallest, then half of tuned."""
    script, asked = [4.0, 3.0, 2.0, math.nan, 9.0, 1.0, 5.0], list[float]()

    def loss(self: SceneJudge, model: TinyModel) -> float:
        asked.append(script[len(asked) % len(script)])
        return asked[-1]

    monkeypatch.setattr(SceneJudge, "loss", loss)
    return asked


def test_a_hub_is_what_texts_of_the_bank_like() -> None:
    texts, pictures, scale = unit(20, 6, 2), unit(5, 6, 3), 7.0
    best = {max(range(20), key=lambda row: float(texts[row] @ one)) for one in pictures}
    wanted = [
        math.log(sum(math.exp(scale * float(texts[row] @ one)) for row in best) / len(best))
        for one in pictures
    ]
    torch.testing.assert_close(measure_hubs(texts, pictures, scale), torch.tensor(wanted))


def test_the_target_of_two_teachers_is_lowered_where_their_hubs_are(data) -> None:
    texts, pictures, hubs = unit(3, 6, 4), unit(7, 6, 5), torch.randn(2, 7)
    rankers = [
        Ranker("base", 0.25, 5.0, data.model, pictures[:, :4], hubs[0]),
        Ranker("other", 0.75, 3.0, data.model, pictures[:, 4:], hubs[1]),
    ]
    logits = [
        5.0 * texts[:, :4] @ pictures[:, :4].T - hubs[0],
        3.0 * texts[:, 4:] @ pictures[:, 4:].T - hubs[1],
    ]
    wanted = 0.25 * logits[0].softmax(1) + 0.75 * logits[1].softmax(1)
    torch.testing.assert_close(rank_pictures(rankers, texts, pictures, hubs), wanted)
    examples, objective, _ = planned(data, **RANKED)
    ranking = objective.losses["R"]
    found = ranking.constants(np.arange(len(examples)), None)[TEACHERS]
    [ranker] = ranking.rankers
    hub = measure_hubs(found, data.bank.vectors, ranker.scale)
    torch.testing.assert_close(ranker.hubs, HUBS_LOWERED * hub)


def judge_of(data: TrainingData) -> SceneJudge:
    """The judge of a run of R over data."""
    _, objective, _ = planned(data, **RANKED)
    ranking = objective.losses["R"]
    return make_judge(data.model, ranking.bank, ranking.rankers)


def test_the_judge_is_the_target_over_the_whole_bank(data) -> None:
    judge = judge_of(data)
    assert judge.target.shape == (len(judge.queries.texts), 30)
    torch.testing.assert_close(judge.target.sum(1), torch.ones(len(judge.target)))
    assert judge.firsts["base"].tolist() == judge.target.argmax(1).tolist()
    other = replace(data, teachers=(Teacher("other", retuned(data.model)),))
    assert judge_of(other).firsts.keys() == {"base", "other"}
    means = judge.read(data.model).means()
    assert means[KEPT] == 1 and 0 <= means[CONTRAST] <= 1 and 0 <= means[ALIKE] <= 1
    assert judge.loss(data.model) >= float(
        -(judge.target * judge.target.log()).sum(1).mean()
    )  # Gibbs


def test_the_best_rate_of_short_runs_trains_from_the_base(data, asked, tmp_path) -> None:
    found = run(data, tmp_path / "found")
    assert asked[:4] == pytest.approx([4.0, 3.0, 2.0, math.nan], nan_ok=True)
    assert found.summary["identity"]["learning_rate"] == RATES[2]
    again = TrainingData(TinyModel(), data.triples, None, bank=data.bank)
    given = run(again, tmp_path / "given", learning_rate=RATES[2])
    ours, theirs = weights_of(found.checkpoint), weights_of(given.checkpoint)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_stopped_run_keeps_its_rate(data, asked, tmp_path, monkeypatch) -> None:
    with before_step(1, lambda: len(asked) < 4 or stop()), pytest.raises(Stop):
        run(data, tmp_path)
    assert len(asked) == 4
    asked[:] = [0.0] * 4  # what is asked next is about shares
    again = TrainingData(TinyModel(), data.triples, None, bank=data.bank)
    assert run(again, tmp_path).summary["identity"]["learning_rate"] == RATES[2]
    assert len(asked) == 7
    third = TrainingData(TinyModel(), data.triples, None, bank=data.bank)
    monkeypatch.setattr(loop, "make_judge", None)  # a finished run asks nothing
    run(third, tmp_path)


def test_rates_that_all_diverge_are_an_error(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(SceneJudge, "loss", lambda *_: math.nan)
    with pytest.raises(UserError, match="--learning-rate"):
        run(data, tmp_path)


def test_a_short_run_that_diverges_names_no_file_that_is_gone(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "find_divergence", lambda *_: "the loss is nan")
    with pytest.raises(UserError, match="the loss is nan") as raised:
        run(data, tmp_path)
    assert "--learning-rate" in raised.value.hint and "inspect" not in raised.value.hint


def test_a_short_run_that_diverges_leaves_nothing_to_the_next(data, tmp_path, monkeypatch) -> None:
    rates, steps = [], iter(range(9))

    def diverges(*_: object) -> str | None:
        # In the second step: gradients of the first are those of every run, and clipped alike.
        return "the loss is nan" if len(rates) == 2 and next(steps) else None

    whole = loop.make_optimizer

    def made(weights, parts, rate, decay):
        rates.append(rate)
        return whole(weights, parts, rate, decay)

    monkeypatch.setattr(loop, "make_optimizer", made)
    monkeypatch.setattr(loop, "find_divergence", diverges)
    found = run(data, tmp_path / "found")
    assert rates == [*RATES[:2], RATES[0]]
    again = TrainingData(TinyModel(), data.triples, None, bank=data.bank)
    given = run(again, tmp_path / "given", learning_rate=RATES[0])
    ours, theirs = weights_of(found.checkpoint), weights_of(given.checkpoint)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_too_few_rows_for_the_processes_are_refused_before_a_short_run(
    data, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(loop, "this_process", lambda: Processes(0, 99))
    monkeypatch.setattr(Processes, "from_first", lambda self, value: value)
    with pytest.raises(UserError, match="99 processes"), before_step(1, stop):
        run(data, tmp_path)


def test_of_a_bank_with_too_many_pictures_a_sample_is_taken(monkeypatch) -> None:
    assert choose_sample(5, 0).tolist() == [0, 1, 2, 3, 4]
    monkeypatch.setattr(ranking, "_MOST", 5)
    found = choose_sample(40, 0).tolist()
    assert len(set(found)) == 5 and found == sorted(found) and found[-1] < 40
    assert found != choose_sample(40, 1).tolist()


def test_a_full_disk_chooses_no_rate(data, tmp_path) -> None:
    full = iter([False, True])  # in the second short run, and never again

    def fill() -> None:
        if next(full, False):
            raise UserError("metrics.jsonl", "the disk is full", "Free some space.")

    with before_step(1, fill), pytest.raises(UserError, match="disk is full"):
        run(data, tmp_path)


def test_the_share_of_merged_is_found_and_recorded(data, asked, tmp_path) -> None:
    base = TinyModel()
    tuned = run(data, tmp_path)
    chosen = tuned.summary["choice"]
    assert chosen["share"] == SHARES[1] and chosen["use"] in ("base", "merged", "tuned")
    assert chosen["measured"].keys() == {"base", "merged", "tuned"}
    assert json.dumps(chosen["reason"]) in tuned.merged.with_suffix(".md").read_text()
    wanted = merge(base, data.model, SHARES[1]).state_dict()
    for name, value in weights_of(tuned.merged).items():
        torch.testing.assert_close(value, wanted[name])


@pytest.mark.parametrize("recipe", ["paper", "consistent"])
@pytest.mark.parametrize(
    ("shown", "changes", "judged"),
    [
        ("rows", {}, True),
        ("bank", {"loss_weights": {"L1": 0.0}}, True),
        ("nothing", {"loss_weights": {"L1": 0.0}}, False),
        ("rows", {"control": True}, False),
        ("rows", {"image_learning_rate": 1e-6}, False),
    ],
)
def test_a_run_without_r_is_judged_where_there_are_pictures_at_a_small_rate(
    data, tmp_path, recipe, shown, changes, judged
) -> None:
    if shown != "bank":
        features = make_features(data.triples) if shown == "rows" else None
        data = replace(data, bank=None, features=features)
    if "image_learning_rate" in changes:
        triples = rows_of_all_kinds(tmp_path / "pictures")
        data = replace(data, triples=triples, features=make_features(triples, missing=(3, 8)))
    tuned = run(data, tmp_path / "run", recipe=recipe, **{"loss_weights": {}} | changes)
    assert tuned.summary["identity"]["learning_rate"] == LEARNING_RATE
    assert ("choice" in tuned.summary) == judged
    if judged:
        measured = tuned.summary["choice"]["measured"]
        assert measured.keys() == {"base", "merged", "tuned"} and "first picture of base" in str(
            measured["tuned"].keys()
        )


@pytest.mark.parametrize(("epochs", "said"), [(1, "--epochs 17 would make 51"), (17, "")])
def test_a_run_of_few_steps_names_the_epochs_that_would_be_enough(
    epochs, said, tmp_path, capsys
) -> None:
    tune(tmp_path, epochs=epochs)  # of three steps
    notices = [line for line in capsys.readouterr().err.splitlines() if "--epochs" in line]
    assert len(notices) == bool(said) and said in "".join(notices)
