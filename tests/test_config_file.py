"""Options from TOML: every shipped file parses, the command line overrides, errors name the key."""

from pathlib import Path

import pytest

from paraclip.cli import parse
from paraclip.options import read_options
from paraclip.training.config import TrainConfig

SHIPPED = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


def written(folder: Path, text: str) -> str:
    path = folder / "run.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_a_run(path: Path) -> None:
    config = parse(["train", "triples.parquet", "--config", str(path)])
    assert isinstance(config, TrainConfig) and config.triples == "triples.parquet"
    for name, value in read_options(path, TrainConfig).items():
        assert getattr(config, name) == value
    assert path.read_text().startswith("# ")


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    text = 'triples = "mine.parquet"\nepochs = 7\nlearning-rate = 1\nweights = [1, 0, 2.5]\n'
    path = written(tmp_path, "\ufeff" + text)  # as Windows editors save it
    config = parse(["train", "--config", path])
    assert (config.triples, config.epochs, config.weights) == ("mine.parquet", 7, (1.0, 0.0, 2.5))
    assert type(config.learning_rate) is float and config.config == path
    config = parse(["train", "other.parquet", f"--config={path}", "--epochs", "2"])
    assert (config.triples, config.epochs) == ("other.parquet", 2)


def test_a_file_knows_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    path = written(tmp_path, 'out = "~/run"\ntexts = ["~/a", "b~/c"]\n')
    config = parse(["train", "x.parquet", "--config", path])
    assert (config.out, config.texts) == ("/home/me/run", ("/home/me/a", "b~/c"))


def test_of_two_files_the_last_one_is_read_and_recorded(tmp_path: Path) -> None:
    first, last = tmp_path / "first.toml", tmp_path / "last.toml"
    first.write_text("epochs = 7\nbatch_size = 8\n")
    last.write_text("epochs = 9\n")
    for words in (["--config", str(first), f"--config={last}"],
                  [f"--config={first}", "--config", str(last)]):  # fmt: skip
        config = parse(["train", "x.parquet", *words])
        assert (config.epochs, config.batch_size, config.config) == (9, 256, str(last))
