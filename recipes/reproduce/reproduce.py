"""Runs the paper's method on pretrained CLIPs: captions, paraphrases, training, evaluation, export.

    python -m recipes.reproduce.reproduce --work runs/reproduce --stages data generate
    python -m recipes.reproduce.reproduce --work runs/reproduce --stages train evaluate export

For a machine with network access, one GPU and an LLM server with OpenAI's interface, which must be
stopped before the second command if it uses the same GPU. Every stage resumes: run the same command
again. `--settings` names a file to use instead of `settings.toml` next to this script.

This has not been run yet. Each stage is tested at a tiny scale.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import paraclip
from paraclip.commands.evaluate import EvaluateConfig
from paraclip.commands.generate import GenerateConfig
from paraclip.data.captions import Caption, Problems
from paraclip.data.reading import braces, read_captions
from paraclip.errors import UserError, nearest
from paraclip.files import atomic_path, read_bounded
from paraclip.models.sources import check_model
from paraclip.options import read_toml
from paraclip.training.config import RunOptions
from recipes.downloads import download

SETTINGS = Path(__file__).with_name("settings.toml")
CAPTION_WORDS = (2, 15)  # as in the paper's official script


@dataclass(frozen=True)
class Settings:
    """The settings; each is a table or key of the settings file.

    Args:
        shards: addresses of tar files of pictures with captions (WebDataset).
        captions: number of captions to use, from the first shard on.
        bases: models by label, as for `paraclip train --base`.
        generation: options of `paraclip.generate`.
        training: options of `paraclip.train`, for all rows.
        rows: further options by label of the row; the base is a row too.
        evaluation: options of `paraclip.evaluate`.
    """

    shards: tuple[str, ...]
    captions: int
    bases: Mapping[str, str]
    generation: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)


def read_settings(path: Path) -> Settings:
    """The settings of a file; a range such as `{0..9}` in an address names several shards.

    Raises:
        UserError: the file cannot be read, a key, option or base is unknown or missing, or a file
            of a base is.
    """
    content = read_toml(path)
    check_names(content, Settings, path)
    try:
        shards = [name for address in content.pop("shards") for name in braces(address)]
        settings = Settings(tuple(shards), **with_tuples(content))
    except (KeyError, TypeError) as error:
        raise UserError(path, f"lacks a setting ({error})", "See settings.toml.") from error
    check_names(settings.generation, GenerateConfig, path)
    for options in (settings.training, *settings.rows.values()):
        check_names(options, RunOptions, path)
    check_names(settings.evaluation, EvaluateConfig, path)
    for name in settings.bases.values():
        check_model(name)
    return settings


def check_names(options: Mapping[str, Any], config: type, path: Path) -> None:
    """Refuse an unknown name now; its stage may begin only after days."""
    known = [one.name for one in fields(config)]
    for name in options.keys() - set(known):
        raise UserError(f"{path}: {name}", "is not a setting", nearest(name, known))


def with_tuples(value: Any) -> Any:
    """The same value with tuples instead of lists, as in options."""
    if isinstance(value, dict):
        return {name: with_tuples(inner) for name, inner in value.items()}
    return tuple(value) if isinstance(value, list) else value


def get_data(settings: Settings, work: Path) -> None:
    """Download shards until there are enough captions, and list the captions to use."""
    problems = Problems(max_share=1.0)  # a broken shard costs its captions alone
    found = captions_of(settings.shards, work / "shards", problems)
    shortest, longest = CAPTION_WORDS
    fitting = (row for row in found if shortest <= len(row.caption.split()) <= longest)
    count = 0
    with (
        atomic_path(work / "captions.jsonl") as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        for row in islice(fitting, settings.captions):  # one at a time: there may be millions
            line = {"id": row.id, "image": row.image, "caption": row.caption}
            file.write(f"{json.dumps(line)}\n")
            count += 1
    if problems.count:
        print(problems.summary())
    print(f"{count:,} captions of {shortest} to {longest} words")
    if count < settings.captions:
        print(f"`shards` hold no more; `captions` asks for {settings.captions:,}")


def captions_of(addresses: Sequence[str], folder: Path, problems: Problems) -> Iterator[Caption]:
    """The captions of all shards in turn; a missing shard is downloaded when it is reached.

    Their ids contain the shard's name, because shards may number their rows alike. Names of people,
    which Conceptual 12M replaces by a mark, become words that a language model can reword.
    """
    for address in addresses:
        path = folder / address.rsplit("/", 1)[-1]
        if not path.exists():
            print(f"getting {address}", flush=True)
            download(address, path)
        for row in read_captions(str(path), problems=problems):
            caption = row.caption.replace("<PERSON>", "a person")
            yield replace(row, id=f"{path.stem}/{row.id}", caption=caption)


def generate(settings: Settings, work: Path) -> None:
    """Two-step paraphrases of the captions.

    A second run retries failed captions, so it may change the triples. Models that were trained on
    them could then not be resumed.
    """
    if (work / "models").exists() and all_captions_done(work):
        print("the triples stay as they are: training on them has begun")
        return
    paraclip.generate(work / "captions.jsonl", out=work / "triples", **settings.generation)


def all_captions_done(work: Path) -> bool:
    """Whether a run of `generate` ended with as many captions as there are now."""
    summary = work / "triples" / "summary.json"
    with (work / "captions.jsonl").open("rb") as lines:
        count = sum(1 for _ in lines)
    return summary.exists() and json.loads(read_bounded(summary))["captions"] == count


def train(settings: Settings, work: Path) -> None:
    """Train every row on every base."""
    for base, name in settings.bases.items():
        for row, options in settings.rows.items():
            print(f"training {row} on {base}", flush=True)
            paraclip.train(
                name, triples(work), out=work / "models" / base / row,
                **{**settings.training, **options},
            )  # fmt: skip


def evaluate(settings: Settings, work: Path) -> None:
    """Write a report for each base: base, rows, and the last row merged half and half with base."""
    for base, name in settings.bases.items():
        models: dict[str, Any] = {"base": paraclip.load_model(name)}
        for row in settings.rows:
            models[row] = paraclip.load_model(str(checkpoint(work, base, row)))
        last = list(settings.rows)[-1]
        models["merged"] = paraclip.merge(models["base"], models[last], 0.5)
        report = paraclip.evaluate(models, out=work / "reports" / base, **settings.evaluation)
        print(f"{base}\n{report.table()}")


def export(settings: Settings, work: Path) -> None:
    """Export the weights of the last row for open_clip, one file per base."""
    for base in settings.bases:
        last = list(settings.rows)[-1]
        out = work / "exported" / f"{base}_{last}.safetensors"
        out.parent.mkdir(parents=True, exist_ok=True)
        paraclip.export(checkpoint(work, base, last), out)


def triples(work: Path) -> Path:
    """The file of triples."""
    return work / "triples" / "triples.parquet"


def checkpoint(work: Path, base: str, row: str) -> Path:
    """The last checkpoint of a row."""
    return work / "models" / base / row / "last.safetensors"


STAGES: Mapping[str, Callable[[Settings, Path], None]] = {
    "data": get_data, "generate": generate, "train": train, "evaluate": evaluate, "export": export,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages in order."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"), help="folder")
    parser.add_argument("--settings", type=Path, default=SETTINGS)
    parser.add_argument("--stages", nargs="+", choices=STAGES, required=True, help="in order")
    chosen = parser.parse_args(arguments)
    settings = read_settings(chosen.settings)
    for name in chosen.stages:
        print(f"== {name}", flush=True)
        STAGES[name](settings, chosen.work.resolve())  # captions name pictures by their paths


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        sys.exit(2)
