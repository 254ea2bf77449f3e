"""Captions and options for tests of the two-step run."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_encoder import BagEncoder
from fake_server import FakeServer

from paraclip.commands.generate import GenerateConfig, generate_command
from paraclip.data.captions import Caption
from paraclip.data.triples import read_triples
from paraclip.paraphrase.config import Limits
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
    options = {"model": "fake", "concurrency": 4, "base_url": (url,)} | changed
    return GenerateConfig("captions.csv", str(out), **options)


def bag_judge() -> Judge:
    """The default limits without weights, and so without the checker."""
    return Judge(Limits(fault=1.0), BagEncoder())  # type: ignore[arg-type]


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


class Runs:
    """Runs in one folder, `out`, over a server."""

    def __init__(self, server: FakeServer, out: Path) -> None:
        self.server, self.out, self._seen = server, out, 0

    def __call__(
        self, rows: int | Iterable[Caption] = 5, judge: Judge | None = None, **changed: Any
    ) -> Summary:
        """A run over captions, or over so many."""
        rows = captions(rows) if isinstance(rows, int) else rows
        return generated(rows, self.config(**changed), judge)

    def config(self, **changed: Any) -> GenerateConfig:
        """Options for this server, or for another `url`."""
        return fake_config(changed.pop("url", self.server.url), self.out, **changed)

    def command(self, source: int | Path = 5, **changed: Any) -> None:
        """The command over a file, or over one of so many captions beside the folder."""
        file = captions_file(self.out.parent, source) if isinstance(source, int) else source
        config = replace(self.config(), **changed)
        generate_command(replace(config, source=str(file)))

    def asked(self) -> int:
        """The number of questions since the last call."""
        before, self._seen = self._seen, self.server.asked.total()
        return self._seen - before

    def triples(self) -> list[dict[str, Any]]:
        """The rows of the triples."""
        rows: list[dict[str, Any]] = read_triples(self.out / "triples.parquet").to_pylist()
        return rows

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The objects of a JSONL file of the folder."""
        return [json.loads(line) for line in (self.out / name).read_text("utf-8").splitlines()]
