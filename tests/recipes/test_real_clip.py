"""A tiny run of every stage of the recipe for pretrained CLIPs, over a server in miniature."""

import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_world import PIECES, TEACHER, World, teacher_config, teachers_tokenizer, zipped

import paraclip
from extent import ALL
from paraclip.errors import UserError
from recipes import downloads
from recipes.real_clip import data, tables
from recipes.real_clip.__main__ import Run, check_published, read_json
from recipes.real_clip.languages import language_sets
from recipes.real_clip.settings import SETTINGS, read_settings
from study.rivals import labclip
from tiny import small_clip

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "recipes" / "tiny_world.py"
STAGES = ("bases", "pictures", "tune", "measure", "publish")
BASE = "ViT-B-32:openai"
KILLS = 10 if ALL else 3
VAL = "images.cocodataset.org/zips/val2017.zip"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """All servers but CIFAR's, whose pictures take a minute."""
    with World(tmp_path) as made:
        yield made


def variables_of(world: World, work: Path) -> dict[str, str]:
    """The hub of the server, and caches of the run's own."""
    return os.environ | {
        "HF_ENDPOINT": f"{world.url}/huggingface.co", "HF_HOME": f"{work}-hub",
        "PARACLIP_CACHE": f"{work}-cache", "PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def start(world: World, settings: Path, work: Path, *stages: str, base: str = BASE):
    """Start stages as a user does, in another process, with caches of its own."""
    program = [sys.executable, str(TINY), "recipes.real_clip"]
    options = ["--base", base, "--work", str(work), "--settings", str(settings)]
    return subprocess.Popen(
        [*program, *stages, *options], env=variables_of(world, work), cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(*arguments, **options) -> str:
    """Run stages to their end; returns what they printed."""
    process = start(*arguments, **options)
    printed = process.communicate()[0]
    assert process.returncode == 0, printed[-4000:]
    return printed


def figures_of(work: Path) -> dict:
    """All figures of a run, and the hashes of the weights that they are of."""
    results = read_json(work / "ViT-B-32__openai" / "results.json")
    return {
        name: ([one["metrics"] for one in report["benchmarks"]], report["models"])
        for name, report in results["reports"].items()
    }


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(1800)
def test_from_downloads_to_weights_that_say_what_was_measured(tmp_path: Path) -> None:
    with World(tmp_path, cifar=True) as world:
        settings = world.write_settings(tmp_path)
        printed = finish(world, settings, tmp_path / "work", *STAGES)
        got = sum(world.got.values())
        again = finish(world, settings, tmp_path / "work", *STAGES)
        assert sum(world.got.values()) == got, "nothing is downloaded again"
    assert "alone: merged is given" in printed and "aro_attribution is left out" in printed
    assert "writing" not in again and "training" not in again
    folder = tmp_path / "work" / "ViT-B-32__openai"
    table = tables.table_of(read_json(folder / "results.json"))
    rows = ("both wordings", "two people's", "ITT", "R@1", "SICK-R", "CIFAR-100", "Imagenette")
    assert all(row in table for row in (*rows, TEACHER, "*command*: merged"))
    assert "VG-Relation" in table and "VG-Attribution" not in table
    assert "| language | XTD-10 R@1 |" in table and "XM3600 recall" in table and "| ko |" in table
    assert_that_all_models_are_scored(table)
    tables.main([str(folder / "results.json"), "--out", str(tmp_path / "tables")])
    shown = (tmp_path / "tables" / "real_clip.md").read_text()
    assert shown.startswith(f"{table}\n\nMeasured on ")
    published = folder / "published"
    folders = ("hf", "onnx", "immich", "fastembed")
    cards = [published / "model.md", *(published / name / "README.md" for name in folders)]
    assert all(card.read_text().count(table) == 1 for card in cards)
    assert TEACHER in cards[0].read_text().replace(table, "")
    sums = (published / "SHA256SUMS").read_text().splitlines()
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=published, check=False)
    assert done.returncode == 0 and len(sums) > 12


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(1800)
def test_no_model_is_published_if_the_run_says_to_keep_the_base(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOMMENDED", "base")
    finish(world, world.write_settings(tmp_path), tmp_path / "work", *STAGES)
    published = tmp_path / "work" / "ViT-B-32__openai" / "published"
    names = {path.name for path in published.iterdir()}
    assert names == {"README.md", "results.json", "SHA256SUMS"}
    shown = (published / "README.md").read_text()
    assert "base is given" in shown and shown.count("says to keep base") == 2


def assert_that_all_models_are_scored(table: str) -> None:
    """The teacher, of another width, and its text encoder in the index of the base among them."""
    rows = {row.split(" | ")[0]: row.split(" | ") for row in table.splitlines()}
    assert rows["| ViT-B-32:openai"][2:] == [*tables.LABELS[1:-1], "teacher |"]
    for name in ("AO@10, rewordings by an LLM", "AO@10, two people's captions"):
        assert len(rows[f"| {name}"]) == 9 and "- |" not in rows[f"| {name}"]
    assert rows["| STS-B"][5:] == ["-", "-", "-", "- |"], "their pictures would take hours"
    assert rows["| STS-B"][4] != "-", "LABCLIP has the base's pictures"


WORKFLOWS = ROOT / ".github" / "workflows"
STUB = """#!/bin/bash
case "$(basename "$0") $1 $2" in
  "python -m pip") echo "$0 $*" >> "{log}" ;;
  "python -m recipes.real_clip") exec "{python}" "{tiny}" "${{@:2}}" ;;
  *) echo "$(basename "$0") $*" >> "{log}" ;;
esac
"""


@dataclass(frozen=True)
class Finished:
    """All stages by the lines of the workflow, and what its stand-ins for pip, gh and hf noted."""

    world: World
    settings: Path
    work: Path
    called: str
    archives: set[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """Every line of the workflow as written, in its order, with other values of its variables."""
    folder = tmp_path_factory.mktemp("workflow")
    whole = yaml.safe_load((WORKFLOWS / "real-clip.yml").read_text())
    stage = yaml.safe_load((WORKFLOWS / "real-clip-stage.yml").read_text())["jobs"]["stage"]
    log, binaries, temporary = folder / "log", folder / "bin", folder / "runner"
    temporary.mkdir()
    binaries.mkdir()
    for name in ("python", "gh", "hf"):
        (binaries / name).write_text(STUB.format(log=log, python=sys.executable, tiny=TINY))
        (binaries / name).chmod(0o755)
    with World(folder) as world:
        variables = variables_of(world, folder / "work") | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "RUNNER_TEMP": str(temporary),
        }  # fmt: skip
        own = {"BASE": BASE, "TAG": "v1", "REPOSITORY": "owner/name", "WORK": str(folder / "work")}
        own["SETTINGS"] = str(world.write_settings(folder))
        assert stage["env"].keys() <= {*own, *variables, "STAGES"}, "each variable is set here"
        for job in whole["jobs"].values():
            stages = job["with"]["stages"]
            for step in stage["steps"]:
                if "run" in step and ("publish" in stages or "publish" not in step.get("if", "")):
                    subprocess.run(
                        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                        cwd=ROOT, env=variables | own | {"STAGES": stages}, check=True,
                    )  # fmt: skip
        archives = {path.name for path in temporary.iterdir()}
        settings = Path(own["SETTINGS"])
        yield Finished(world, settings, folder / "work", log.read_text(), archives)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(1800)
def test_every_line_of_the_workflow_runs_as_written(finished: Finished) -> None:
    called, archives = finished.called, finished.archives
    assert "hf upload owner/name" in called and "gh release upload v1 --clobber README.md" in called
    assert archives == {"hf.tar", "onnx.tar", "immich.tar", "fastembed.tar"}
    files = (*archives, "model.safetensors", "model.md")
    assert all(name in called for name in files)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(1800)
def test_the_notebook_goes_on_from_a_run_to_two_queries(finished: Finished) -> None:
    work, settings = str(finished.work), str(finished.settings)
    parameters = f"BASE, WORK, SETTINGS = {BASE!r}, {work!r}, {settings!r}"
    done = subprocess.run(
        [sys.executable, str(TINY), "notebooks/real_clip.ipynb", parameters], cwd=ROOT,
        env=variables_of(finished.world, finished.work) | {"MPLBACKEND": "Agg"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "published/immich" in done.stdout and "both wordings" in done.stdout


def test_the_workflow_offers_the_bases_of_the_settings_and_passes_what_its_stage_takes() -> None:
    whole, stage = (
        yaml.safe_load((WORKFLOWS / name).read_text())
        for name in ("real-clip.yml", "real-clip-stage.yml")
    )
    inputs = whole[True]["workflow_dispatch"]["inputs"]  # YAML 1.1 reads `on` as true
    assert inputs["base"]["options"] == list(read_settings(SETTINGS).bases)
    for job in whole["jobs"].values():
        assert job["with"].keys() <= stage[True]["workflow_call"]["inputs"].keys()
        assert job["uses"] == "./.github/workflows/real-clip-stage.yml"
    needed = [job.get("needs") for job in whole["jobs"].values()]
    assert needed == [None, *list(whole["jobs"])[:-1]]
    assert " ".join(job["with"]["stages"] for job in whole["jobs"].values()).split() == [*STAGES]


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(1800)
def test_a_run_that_is_killed_ends_with_the_same_figures(
    finished: Finished, tmp_path: Path
) -> None:
    run, moments = (finished.world, finished.settings, tmp_path / "killed"), random.Random(5)
    for _ in range(KILLS):
        process = start(*run, *STAGES)
        for _ in range(moments.randint(1, 14)):
            process.stdout.readline()
        time.sleep(moments.random())
        process.kill()
        process.communicate()
    finish(*run, *STAGES)
    assert figures_of(tmp_path / "killed") == figures_of(finished.work)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSE", 0.0)


@pytest.fixture
def get(world: World, tmp_path: Path, no_pause: None):
    """Downloads everything into `work`."""
    settings = read_settings(world.write_settings(tmp_path))
    return lambda: data.get_data(settings, tmp_path / "work")


def test_passing_faults_of_servers_lose_nothing(world: World, get, tmp_path: Path) -> None:
    world.faults[VAL] = ["short", 429, 503]
    world.faults["images.cocodataset.org/val2014/COCO_val2014_000000000101.jpg"] = ["short", 429]
    get()
    assert len(list((tmp_path / "work" / "data" / "coco" / "val2017").iterdir())) == 30
    assert len(list((tmp_path / "work" / "karpathy" / "coco" / "val2014").iterdir())) == 12
    got = world.got.copy()
    get()
    assert world.got == got, "nothing is downloaded again"


@pytest.mark.parametrize(
    ("path", "faults", "words"),
    [
        (VAL, [404], "val2017.zip: cannot be read .*404"),
        (VAL, ["short"] * 5, "only .* of .* bytes arrived"),
        (VAL, [429] * 5, "429"),
        ("images.cocodataset.org/val2014/COCO_val2014_000000000103.jpg", [404], "rows are broken"),
    ],
)
def test_lasting_faults_are_named_and_what_was_there_stays(
    world: World, get, path: str, faults: list, words: str
) -> None:
    world.faults[path] = faults.copy()
    with pytest.raises(UserError, match=words):
        get()
    before = world.got.copy()
    get()
    assert world.got[path] == 1 and all(world.got[name] == 1 for name in before)


def test_a_file_that_has_changed_is_refused(world: World, get, tmp_path: Path) -> None:
    world.files[VAL] = zipped({"val2017/000000000001.jpg": b"another picture"})
    with pytest.raises(UserError, match=r"val2017\.zip: has changed: its MD5"):
        get()
    assert world.got[VAL] == 1 and not (tmp_path / "work" / "data" / "coco").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_full_disk_is_named(get, monkeypatch: pytest.MonkeyPatch) -> None:
    full = lambda *_: open("/dev/full", "wb")  # noqa: E731, SIM115 closed by the download
    monkeypatch.setattr(downloads, "open", full, raising=False)
    with pytest.raises(UserError, match="the disk is full"):
        get()


def test_one_in_a_hundred_pictures_may_be_missing(world: World, no_pause, tmp_path: Path) -> None:
    files = {f"{world.url}/{n}.jpg": tmp_path / "got" / f"{n}.jpg" for n in range(101)}
    world.files |= {f"{n}.jpg": b"picture" for n in range(100)}
    assert downloads.download_all(files).count == 1
    del world.files["99.jpg"]
    assert downloads.download_all(files).count == 1, "those that are there are not asked for"


def test_the_command_of_the_readme_is_what_is_trained(tmp_path: Path) -> None:
    settings = read_settings(SETTINGS)
    run = Run(BASE, settings, tmp_path)
    lines = (ROOT / "README.md").read_text().splitlines()
    (words,) = [line.split() for line in lines if line.startswith("paraclip train scenes ")]
    options = {"--base", "--bank", "--teacher", "--out"}
    assert {word for word in words if word.startswith("--")} == options
    first = words.index("--teacher") + 1
    teachers = words[first : first + 2]
    assert words[2] == settings.triples and teachers == ["base", settings.teacher]
    assert run.options("command") == {"bank": tmp_path / "bank", "teacher": teachers}
    assert run.options("alone") == {"bank": tmp_path / "bank"}
    assert settings.teacher in (ROOT / "docs" / "guide" / "train.md").read_text()


LOAD_TEACHER = """
import json, sys
import open_clip.factory
open_clip.factory._MODEL_CONFIGS[sys.argv[1]] = json.loads(sys.argv[2])
import paraclip
model = paraclip.load_model(sys.argv[3], "cpu")
texts = ["A RED, disc!", "a red disc", "a disc"]
vectors = paraclip.encode_texts(model, texts).tolist()
print(json.dumps({"ids": model.tokenize([texts[0], ""]).ids.tolist(), "vectors": vectors}))
"""


@pytest.mark.slow
def test_the_teacher_is_loaded_with_its_tokenizer_from_the_hub(
    world: World, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer

    # In a process of its own, since the hub's client reads the address when it is imported.
    words = [TEACHER, json.dumps(teacher_config()), read_settings(SETTINGS).teacher]
    done = subprocess.run(
        [sys.executable, "-c", LOAD_TEACHER, *words], env=variables_of(world, tmp_path / "work"),
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    own = Tokenizer.from_str(teachers_tokenizer()["tokenizer.json"])
    expected = own.encode("a red disc").ids[:-1]  # the end token also pads
    assert found["ids"][0] == expected and PIECES[found["ids"][0][2]] == "\u2581red"
    first, second, other = found["vectors"]
    assert first == second and first != other


def test_no_picture_is_in_two_sets(get, tmp_path: Path) -> None:
    get()
    work = tmp_path / "work"
    folders = (work / "bank", work / "data/coco/val2017", work / "karpathy/coco/val2014")
    bank, pool, test = ({path.name for path in folder.iterdir()} for folder in folders)
    assert (len(bank), len(pool), len(test)) == (12, 30, 12) and not bank & (pool | test)
    pairs = json.loads((work / "data" / "sugar_crepe_pp" / "replace_obj.json").read_text())
    assert {row["filename"] for row in pairs} == pool


def test_a_language_has_one_caption_of_each_picture(world: World, get, tmp_path: Path) -> None:
    get()
    work, languages = tmp_path / "work", read_settings(SETTINGS).languages
    sets = {one.name: one.shown for one in language_sets(work, languages)}
    assert [*sets] == [f"{name}-{one}" for name in ("xtd10", "xm3600") for one in languages]
    for name, shown in sets.items():
        assert len(shown.captions) == 12 and all(Path(one).exists() for one in shown.references)
        assert all(text.startswith(f"{name[-2:]} ") for text in shown.captions)
    assert Path(sets["xtd10-ja"].references[4]).name == "COCO_val2014_000000000305.jpg"
    large, small, *_ = sets["xm3600-ja"].references
    for path, size in ((large, (1024, 768)), (small, (64, 48))):  # of 2048 x 1536, and unchanged
        with Image.open(path) as picture:
            assert picture.size == size


def test_without_its_archive_a_set_of_languages_is_left_out(
    world: World, get, tmp_path: Path
) -> None:
    archive = "open-images-dataset.s3.amazonaws.com/crossmodal-3600/images.tgz"
    world.files[archive] = b"no archive"
    get()
    assert not (tmp_path / "work" / "downloads" / "xm3600_pictures").exists()
    assert [one.name for one in language_sets(tmp_path / "work", ["ko"])] == ["xtd10-ko"]


def test_labclips_map_is_of_the_text_vectors(world: World, get, tmp_path: Path) -> None:
    get()
    file = tmp_path / "work" / read_settings(SETTINGS).bases[BASE].labclip
    base, texts = small_clip(), ["a red disc", "a blue hat"]
    mapped = paraclip.encode_texts(labclip(base, file), texts)
    assert np.allclose(mapped, np.roll(paraclip.encode_texts(base, texts), 1, axis=1), atol=1e-6)
    with pytest.raises(UserError, match="no map of 8 numbers"):
        labclip(small_clip(embed_dim=8), file)


def test_archives_write_nowhere_else_and_have_a_limit(tmp_path: Path, monkeypatch) -> None:
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as archive:
        for name in ("images/../../out.jpg", "images/1.jpg", "/images/2.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    assert downloads.unpack(evil, r"images/[\w./]+\.jpg", tmp_path / "to") == 2
    assert {path.name for path in tmp_path.rglob("*.jpg")} == {"1.jpg", "2.jpg"}
    with pytest.raises(UserError, match="holds nothing like"):
        downloads.unpack(evil, "others", tmp_path / "to")
    monkeypatch.setattr(downloads, "MOST_BYTES", 5)
    with pytest.raises(UserError, match="more than"):
        downloads.unpack(evil, r"images/\d\.jpg", tmp_path / "to")
    evil.write_text("no archive")
    with pytest.raises(UserError, match="is no archive"):
        downloads.unpack(evil, ".*", tmp_path / "to")


def test_figures_of_the_base_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    from paraclip.evaluation.report import Line, Report, Section
    from paraclip.evaluation.statistics import Interval

    settings = read_settings(SETTINGS)
    run = Run(BASE, settings, tmp_path)

    def report(value: float) -> Report:
        values = {"base": Interval(value, value, value)}
        lines = [Line(name, True, 1, values, {}) for name in settings.bases[BASE].published]
        return Report({"base": {}}, [Section("coco-retrieval", "", {}, lines[:1])], {})

    with pytest.raises(UserError, match=r"29\.00, and 30\.44 is published"):
        check_published(run, report(29.0))
    with pytest.raises(UserError, match="I2T"):
        check_published(run, report(30.5))


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("bank = 5000", 'bank = 5000\ntraining.recipes = "taught"', "recipes"),
        ("bank = 5000", "banks = 5000", "bank"),
        ("bank = 5000", 'bank = "many"', "bank"),
        ("keep = 'dataset_coco", "kept = 'dataset_coco", "kept"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path: Path, right: str, wrong: str, words: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(SETTINGS.read_text().replace(right, wrong))
    with pytest.raises(UserError, match=words):
        read_settings(path)


def test_the_table_of_languages_has_both_models_and_what_immich_averages() -> None:
    values = {"base": (20.0, 40.0, 60.0), "command": (22.0, 44.0, 66.0), "alone": (1.0, 1.0, 1.0)}
    change = {"value": 2.0, "low": 0.5, "high": 3.0}
    metrics = [
        {"name": f"T2I R@{k}", "differences": {"command - base": change},
         "values": {label: {"value": row[place]} for label, row in values.items()}}
        for place, k in enumerate((1, 5, 10))
    ]  # fmt: skip
    report = {"benchmarks": [{"name": "xtd10-zh", "metrics": metrics}]}
    reports = dict.fromkeys((tables.LANGUAGES, *(row[0] for row in tables.ROWS.values())), report)
    results = {"base": BASE, "teacher": "large", "choices": {}, "reports": reports}
    shown = tables.table_of({**results, "immich": 59.37})
    assert "| zh | 20.0 → 22.0 (+2.0*) | 60.0 → 66.0 (+2.0*) | 40.0 → 44.0 |" in shown
    assert "59.37" in shown and "XM3600 R@1" not in shown


def test_the_table_has_the_date_of_the_figures(tmp_path: Path) -> None:
    report = {"benchmarks": [], "provenance": {"time": "2020-02-03T04:05:06+00:00"}}
    reports = dict.fromkeys((tables.LANGUAGES, *(row[0] for row in tables.ROWS.values())), report)
    results = {"base": BASE, "teacher": "large", "choices": {}, "reports": reports, "immich": None}
    (tmp_path / "results.json").write_text(json.dumps(results))
    tables.main([str(tmp_path / "results.json"), "--out", str(tmp_path)])
    assert "Measured on 3 February 2020." in (tmp_path / "real_clip.md").read_text()
