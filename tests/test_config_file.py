"""Options from TOML: every shipped file parses, the command line overrides, errors name the key."""

from pathlib import Path

import pytest

from paraclip.cli import main, parse
from paraclip.errors import UserError
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


def test_of_two_files_the_last_one_is_read_and_recorded(tmp_path: Path) -> None:
    first, last = tmp_path / "first.toml", tmp_path / "last.toml"
    first.write_text("epochs = 7\nbatch_size = 8\n")
    last.write_text("epochs = 9\n")
    for words in (["--config", str(first), f"--config={last}"],
                  [f"--config={first}", "--config", str(last)]):  # fmt: skip
        config = parse(["train", "x.parquet", *words])
        assert (config.epochs, config.batch_size, config.config) == (9, 256, str(last))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bacth_size = 8", r"bacth_size: is not an option. Did you mean batch_size"),
        ("batch-size = 8\nbatch_size = 9", "batch_size: is given twice. Keep one spelling"),
        ("config = 'other.toml'", "config: is not an option"),
        ("epochs = 1.5", "epochs: 1.5 is not valid. It should be a valid integer"),
        ("epochs = '3'", "epochs: '3' is not valid"),
        ("precision = 'fp8'", "precision: 'fp8' .* 'auto', 'fp32' or 'bf16'"),
        ("weights = [1, 1]", r"weights: \(1, 1\) is not valid. It has too few values"),
        ("image_loss_on = ['title']", "image_loss_on: 'title' is not valid"),
        ("epochs = ", "is not TOML"),
        ("epochs = " + "9" * 5000, "is not TOML"),
        ("x = " + "[" * 100_000, "is nested too deeply"),
        ("learning_rate = nan", "learning_rate: nan is not valid. It should be a finite number"),
        (f"model = {['x' * 999]}", "model: .{60,70}[.]{3} is not valid"),
        ("columns = {}", "columns: is not an option"),
        ("[epochs]\nx = 1", "epochs: .* is not valid"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse(["train", "triples.parquet", "--config", written(tmp_path, text)])


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "x.parquet", "--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml: there is no such file" in capsys.readouterr().err
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not TOML"):
        read_options(binary, TrainConfig)
    binary.write_bytes(b"#" * (1 << 21))
    with pytest.raises(UserError, match="too large"):
        read_options(binary, TrainConfig)
