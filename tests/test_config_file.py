"""Options from TOML: every shipped file parses, the command line overrides, errors name the key."""

from pathlib import Path

import pytest

from paraclip.cli import main, parse
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
        ("x = " + "[" * 10_000, "is nested too deeply"),
        ("learning_rate = nan", "learning_rate: nan is not valid. It should be a finite number"),
        (f"model = {['x' * 999]}", "model: .{60,70}[.]{3} is not valid"),
        ("columns = {}", "columns: is not an option"),
        ("[epochs]\nx = 1", "epochs: .* is not valid"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse(["train", "triples.parquet", "--config", written(tmp_path, text)])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"a = 1\n{'a.' * 101}a = 1", r"run.toml:2: has more than 100 dots"),
        (f"[{'a.' * 101}a]", "run.toml:1: has more than 100 dots"),
        ("# a comment\n" * 1500, "too large for a file of options"),
    ],
)
def test_a_file_that_would_take_long_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str
) -> None:
    monkeypatch.delattr("paraclip.options.tomllib.loads")
    with pytest.raises(UserError, match=complaint):
        parse(["train", "x.parquet", "--config", written(tmp_path, text)])


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
        '[search]\nk = 30\ncutoff = "auto"\nplus = ["snow"]\nstore = "photos"\n'
        '[serve]\nport = 9000\n[index]\nmodel = "ViT-B-32:w.safetensors"\n'
    )
    found = parse(["search", "x"])
    assert (found.query, found.k, found.cutoff, found.plus) == ("x", 30, "auto", ("snow",))
    assert (parse(["search", "x", "--k", "5"]).k, found.store) == (5, "photos")
    assert parse(["serve"]).port == 9000
    assert parse(["index", "."]).model == "ViT-B-32:w.safetensors"
    assert parse(["merge", "a", "b", "--out", "c"]).out == "c", "other commands have no settings"
    with pytest.raises(SystemExit, match="0"):
        parse(["search", "--help"])
    assert "default: 30" in " ".join(capsys.readouterr().out.split())


def test_settings_of_columns_are_those_of_the_command_line(settings: Path) -> None:
    settings.write_text('[index]\ncaption-column = "title"\nimages = "photos"\n')
    assert parse(["index", "a.csv"]).columns == Columns("title", "image", "photos")
    found = parse(["index", "a.csv", "--image-column", "file"]).columns
    assert found == Columns("title", "file", "photos")
    for text in ("[index]\ncaption-column = 3", "[index]\ncolumns = {caption = 'title'}"):
        settings.write_text(text)
        with pytest.raises(UserError, match=r"\[index\] (caption-column: 3|columns: is not an)"):
            parse(["index", "a.csv"])


def test_settings_know_the_home_folder(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    settings.write_text('[search]\nstore = "~/photos/index"\nplus = ["~/a", "b~/c"]\n')
    found = parse(["search", "x"])
    assert (found.store, found.plus) == ("/home/me/photos/index", ("/home/me/a", "b~/c"))


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


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[search]\nkk = 3", r"paraclip\.toml: \[search\] kk: is not an option"),
        ("[search]\nk = '3'", r"paraclip\.toml: \[search\] k: '3' is not valid"),
        ("[search]\nk = 0", r"\[search\] k: 0 is not valid"),
        ("[train]\nepochs = 3", "train: is not the table of a command. Put options into .index"),
        ("k = 3", "k: is not the table of a command"),
        ("search = 3", "search: is not the table of a command"),
        ("[[search]]\nk = 3", "search: is not the table of a command"),
    ],
)
def test_what_is_wrong_in_settings_is_named(settings: Path, text: str, complaint: str) -> None:
    settings.write_text(text)
    with pytest.raises(UserError, match=complaint):
        parse(["search", "x"])
    parse(["merge", "a", "b", "--out", "c"])
