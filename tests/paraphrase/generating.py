"""Captions and options for tests of the two-step run."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fake_encoder import BagEncoder

from paraclip.data.captions import Caption
from paraclip.paraphrase.config import STRONG, GenerateConfig
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.generation import Generation, generate_from_source
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.run import generate


def name_of(number: int) -> str:
    """A made-up word for a number: 0 is "baba", 1 "babe"."""
    letters = "aeiou"
    sounds = [f"{c}{v}" for c in "bdfgklmnprst" for v in letters]
    return sounds[number // len(sounds) % len(sounds)] + sounds[number % len(sounds)] + "x"


def captions(count: int, start: int = 0) -> Iterator[Caption]:
    """Captions that differ in one made-up word."""
    for number in range(start, start + count):
        text = f"A baker carries {name_of(number)} bread through town."
        yield Caption(f"c{number}", text, f"picture{number}", None, f"captions.csv:{number + 2}")


def captions_file(folder: Path, count: int, start: int = 0) -> Path:
    """The captions as a CSV file."""
    path = folder / "captions.csv"
    rows = [f"{one.id},{one.caption}\n" for one in captions(count, start)]
    path.write_text("".join(["id,caption\n", *rows]))
    return path


def fake_config(url: str, out: Path, **changed: Any) -> GenerateConfig:
    """Options for the fake server."""
    options = {"model": "fake", "concurrency": 4} | changed
    return GenerateConfig("captions.csv", str(out), backend="openai", base_url=(url,), **options)


def bag_judge() -> Judge:
    """The default limits without weights."""
    return Judge(STRONG, BagEncoder())  # type: ignore[arg-type]


def generated(
    rows: Iterable[Caption], config: GenerateConfig, judge: Judge | None = None
) -> Summary:
    """A run over captions with the options."""
    return generate(rows, config.llm, judge or bag_judge(), config.outputs)


def generated_from_source(config: GenerateConfig, judge: Judge | None = None) -> Generation:
    """A run over the source that the options name."""
    return generate_from_source(
        config.captions, config.llm, judge or bag_judge(), config.outputs,
        to_file=config.to_file, from_file=config.from_file, part=config.one_part,
        ray_workers=config.ray_workers,
    )  # fmt: skip
