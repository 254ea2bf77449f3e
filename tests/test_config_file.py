"""Options from TOML: every shipped file parses, the command line overrides, errors name the key."""

from pathlib import Path

import pytest

from paraclip.cli import parse
from paraclip.data.config import Columns
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
    for name, value in read_options(path, "train", TrainConfig).items():
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


def test_old_names_in_a_file_are_accepted_with_a_warning(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, 'model = "ViT-B-32:openai"\n')
    assert parse(["train", "x.parquet", "--config", path]).base == "ViT-B-32:openai"
    assert f"{path}: model is now base;" in capsys.readouterr().err
    settings.write_text('[search]\nstore = "photos"\n')
    assert parse(["search", "x"]).index == "photos"
    assert "[search] store is now index;" in capsys.readouterr().err
    settings.write_text('[search]\nstore = "photos"\nindex = "photos"\n')
    with pytest.raises(UserError, match="index: is given twice"):
        parse(["search", "x"])


def test_of_two_files_the_last_one_is_read_and_recorded(tmp_path: Path) -> None:
    first, last = tmp_path / "first.toml", tmp_path / "last.toml"
    first.write_text("epochs = 7\nbatch_size = 8\n")
    last.write_text("epochs = 9\n")
    for words in (["--config", str(first), f"--config={last}"],
                  [f"--config={first}", "--config", str(last)]):  # fmt: skip
        config = parse(["train", "x.parquet", *words])
        assert (config.epochs, config.batch_size, config.config) == (9, 256, str(last))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `paraclip.toml` above the working folder; the user's own configuration is empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "photos" / "2024").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "photos" / "2024")
    return tmp_path / "photos" / "paraclip.toml"


def test_settings_are_defaults_that_the_command_line_overrides(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parse(["search", "x"]).k == 10
    settings.write_text(
        '[search]\nk = 30\ncutoff = "auto"\nplus = ["snow"]\nindex = "photos"\n'
        '[serve]\nport = 9000\n[index]\nbase = "ViT-B-32:w.safetensors"\n'
    )
    found = parse(["search", "x"])
    assert (found.query, found.k, found.cutoff, found.plus) == ("x", 30, "auto", ("snow",))
    assert (parse(["search", "x", "--k", "5"]).k, found.index) == (5, "photos")
    assert parse(["serve"]).port == 9000
    assert parse(["index", "."]).base == "ViT-B-32:w.safetensors"
    assert parse(["merge", "a", "b", "--out", "c"]).out == "c", "other commands have no settings"
    with pytest.raises(SystemExit, match="0"):
        parse(["search", "--help"])
    assert "default: 30" in " ".join(capsys.readouterr().out.split())


def test_settings_of_columns_are_those_of_the_command_line(settings: Path) -> None:
    settings.write_text('[index]\ncaption-column = "title"\nimages = "photos"\n')
    assert parse(["index", "a.csv"]).columns == Columns("title", "image", "photos")
    found = parse(["index", "a.csv", "--image-column", "file"]).columns
    assert found == Columns("title", "file", "photos")


def test_settings_know_the_home_folder(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    settings.write_text('[search]\nindex = "~/photos/index"\nplus = ["~/a", "b~/c"]\n')
    found = parse(["search", "x"])
    assert (found.index, found.plus) == ("/home/me/photos/index", ("/home/me/a", "b~/c"))


def test_settings_nearer_to_the_working_folder_count_alone(settings: Path, tmp_path: Path) -> None:
    own = tmp_path / "config" / "paraclip" / "paraclip.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[search]\nk = 1\n")
    assert parse(["search", "x"]).k == 1
    settings.write_text("[search]\nk = 2\n")
    assert parse(["search", "x"]).k == 2
    Path("paraclip.toml").write_text("[serve]\nport = 0\n")
    assert parse(["search", "x"]).k == 10


def test_the_file_of_settings_is_named_unless_quiet(
    settings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write_text("[search]\nk = 30\n")
    for quiet in ("0", "1"):
        monkeypatch.setenv("PARACLIP_QUIET", quiet)
        parse(["search", "x"])
        assert (str(settings) in capsys.readouterr().err) == (quiet == "0")
    monkeypatch.setenv("PARACLIP_QUIET", "0")
    parse(["serve"])
    assert not capsys.readouterr().err, "the file has no options of this command"
