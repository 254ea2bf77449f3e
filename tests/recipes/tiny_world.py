"""The servers of a real run in miniature: COCO's, a hub's and others' files, with drawn pictures.

As a program, it runs a module, or the cells of a notebook with other parameters, on open_clip's own
names with tiny random weights. These learn nothing in a few steps, so the model that a run
recommends is given: that of the environment variable `RECOMMENDED`, or merged.

    python tests/recipes/tiny_world.py recipes.real_clip bases --settings SETTINGS
    python tests/recipes/tiny_world.py notebooks/real_clip.ipynb PARAMETERS
"""

import hashlib
import io
import json
import os
import re
import runpy
import string
import sys
import tarfile
import threading
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

NAMES = ("ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-32-256", "ViT-B-16", "ViT-B-16-quickgelu")
SUBSETS = ("replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
COLOURS = {
    "red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220), "white": (250, 250, 250)
}  # fmt: skip
THINGS = ("disc", "hat", "car", "door", "cup", "boat")
SHIPPED = Path(__file__).parents[2] / "recipes" / "real_clip" / "settings.toml"
SMALL = """\
evaluation.resamples = 20
training.epochs = 1
training.batch_size = 8
"""
COMMIT = "0" * 40
XTD, XTD_NAMES = "d77ff16148468c84287f3efcbf602a015c5e4954", "test_image_names.txt"
LABCLIP = "09b408d8e2235584ac68cfeb5687d924a34711af"
SCPP = "cfdcd827e2725427752fdc582f82d1695d983417"


TEACHER, TEACHERS_HUB = "ViT-B-16-SigLIP", "timm/ViT-B-16-SigLIP"


def teacher_config() -> dict[str, Any]:
    """The configuration that open_clip has for the teacher, with few and narrow layers."""
    import open_clip

    config = open_clip.get_model_config(TEACHER)
    image = {"image_size": 32, "patch_size": 16}
    image["timm_model_args"] = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    text = {"vocab_size": len(PIECES), "width": 24, "heads": 2, "layers": 1}
    return {
        **config, "embed_dim": 24, "vision_cfg": {**config["vision_cfg"], **image},
        "text_cfg": {**config["text_cfg"], **text},
    }  # fmt: skip


PIECES = ["<pad>", "</s>", "<unk>", "\u2581", *string.ascii_lowercase, "re", "red", "\u2581red"]


def teachers_tokenizer() -> dict[str, str]:
    """The files of a tokenizer of the teacher's kind, that knows letters and a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram([(piece, -1 - len(piece) / 9) for piece in PIECES], 2))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    special = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 64}
    return {
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps({**special, **settings}),
        "special_tokens_map.json": json.dumps(special),
    }


def use_tiny_models() -> None:
    """Give open_clip's names of the bases a tiny architecture, in this process."""
    import open_clip.factory

    from paraclip.training import choice
    from study import rivals
    from tiny import SMALL_CLIP

    use = os.environ.get("RECOMMENDED", "merged")
    choice.recommend = lambda readings: (use, f"{use} is given.")
    rivals.DRAWN = 128  # scenes, as many as NNN looks at

    for name in NAMES:
        open_clip.factory._MODEL_CONFIGS[name] = SMALL_CLIP
    open_clip.factory._MODEL_CONFIGS[TEACHER] = teacher_config()


def tiny_weights(**changes: object) -> bytes:
    """Random weights, as open_clip saves them."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save

    from tiny import SMALL_CLIP

    torch.manual_seed(3)
    return save(CLIP(**SMALL_CLIP | changes).state_dict())


def teachers_weights() -> bytes:
    """Random weights of the teacher."""
    import torch
    from safetensors.torch import save

    from paraclip.models.openclip import ClipSpec, build_clip

    torch.manual_seed(4)
    return save(build_clip(ClipSpec(TEACHER, teacher_config(), {})).state_dict())


def sentence(number: int, wording: int) -> str:
    """One of several wordings of a picture's content."""
    colours = list(COLOURS)
    colour, thing = colours[number % len(colours)], THINGS[number % len(THINGS)]
    forms = ("a {0} {1} number {2}", "there is a {1} of {0}, number {2}", "{1} {2}, painted {0}")
    return forms[wording % 3].format(colour, thing, number)


def zipped(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: Mapping[str, bytes], mode: Literal["w", "w:gz"] = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


def cifar_archives() -> dict[str, bytes]:
    """Both of CIFAR's, with as many pictures as the real ones."""
    pixels = bytes(range(256)) * 12
    rows = {width: (bytes(width - 1) + b"\1" + pixels) * 10_000 for width in (1, 2)}
    names = {count: "\n".join(f"class_{n}" for n in range(count)).encode() for count in (10, 100)}
    files = {
        10: {"batches-bin/test_batch.bin": rows[1], "batches-bin/batches.meta.txt": names[10]},
        100: {"binary/test.bin": rows[2], "binary/fine_label_names.txt": names[100]},
    }
    return {
        f"www.cs.toronto.edu/~kriz/cifar-{count}-binary.tar.gz": tarred(
            {f"cifar-{count}-{name}": content for name, content in members.items()}, "w:gz"
        )
        for count, members in files.items()
    }


def served_files(folder: Path, cifar: bool) -> dict[str, bytes]:
    """All files by HOST/PATH."""
    from text_sets import write_sts

    from tiny import jpeg

    coco, pool, test = "images.cocodataset.org", range(1, 31), range(101, 113)
    unlabelled = [f"{number:012d}.jpg" for number in range(201, 231)]
    annotations = [
        {"image_id": number, "caption": sentence(number, n)} for number in pool for n in range(3)
    ]
    split = [
        {
            "filename": f"COCO_val2014_{number:012d}.jpg", "filepath": "val2014", "split": "test",
            "sentences": [{"raw": sentence(number, n)} for n in range(3)],
        }
        for number in test
    ]  # fmt: skip
    scpp = {
        f"scpp-cfdcd82/data/{name}.json": as_json([
            {
                "id": n, "filename": f"{number:012d}.jpg", "caption": sentence(number, 0),
                "caption2": sentence(number, 1), "negative_caption": sentence(number + 1, 0),
            }
            for n, number in enumerate(pool)
        ])
        for name in SUBSETS
    }  # fmt: skip
    scpp["scpp-cfdcd82/VLMs/data/replace_obj.json"] = b"an older copy"
    aro = [
        {
            "image_path": f"{n}.jpg", "true_caption": "the hat is on the door",
            "false_caption": "the door is on the hat", "relation_name": "on",
            "bbox_x": 1, "bbox_y": 1, "bbox_w": 20, "bbox_h": 20,
        }
        for n in range(6)
    ]  # fmt: skip
    sts = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(write_sts(folder).rglob("*.*"))
        if path.is_file()
    }
    wnids = re.findall(r"n\d{8}", (SHIPPED.parent / "data.py").read_text())
    drive = "drive.usercontent.google.com/download?id="
    senteval = "huggingface.co/datasets/princeton-nlp/datasets-for-simcse"
    hub = "huggingface.co/{}/resolve/main/open_clip_model.safetensors"
    return {
        f"{coco}/zips/val2017.zip": zipped({f"val2017/{n:012d}.jpg": jpeg(n) for n in pool}),
        f"{coco}/annotations/annotations_trainval2017.zip": zipped(
            {"annotations/captions_val2017.json": as_json({"annotations": annotations})}
        ),
        f"{coco}/annotations/image_info_unlabeled2017.zip": zipped({
            "annotations/image_info_unlabeled2017.json": as_json(
                {"images": [{"file_name": name} for name in unlabelled]}
            )
        }),
        **{f"{coco}/unlabeled2017/{name}": jpeg(int(name[:12])) for name in unlabelled},
        **{f"{coco}/val2014/COCO_val2014_{n:012d}.jpg": jpeg(n) for n in test},
        "cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip": zipped(
            {"dataset_coco.json": as_json({"images": split})}
        ),
        f"codeload.github.com/Sri-Harsha/scpp/zip/{SCPP}": zipped(scpp),
        **language_files(tomllib.loads(SHIPPED.read_text())["languages"]),
        f"{senteval}/resolve/main/senteval.tar": tarred(sts),
        **(cifar_archives() if cifar else {}),
        "s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz": tarred({
            f"imagenette2-160/{part}/{wnid}/{part}_{wnid}_{n}.JPEG": jpeg(n * 11)
            for part in ("train", "val") for wnid in wnids for n in range(2)
        }, "w:gz"),
        f"{drive}1kX2iCHEv0CADL8dSO1nMdW-V0NqIAiP3&export=download&confirm=t": as_json(aro),
        f"{drive}1qaPlrwhGNMrR3a11iopZUT_GPP_LrgP9&export=download&confirm=t": zipped(
            {f"images/{n}.jpg": jpeg(n) for n in range(6)}
        ),
        hub.format("timm/vit_base_patch32_clip_224.openai"): tiny_weights(quick_gelu=True),
        hub.format("timm/vit_base_patch16_clip_224.openai"): tiny_weights(quick_gelu=True),
        hub.format("laion/CLIP-ViT-B-32-laion2B-s34B-b79K"): tiny_weights(),
        hub.format(TEACHERS_HUB): teachers_weights(),
        **{
            f"huggingface.co/{TEACHERS_HUB}/resolve/main/{name}": text.encode()
            for name, text in teachers_tokenizer().items()
        },
        hub.format("laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K"): tiny_weights(),
    }  # fmt: skip


def language_files(languages: Iterable[str], width: int = 16) -> dict[str, bytes]:
    """XTD-10, Crossmodal-3600 and LABCLIP's maps by HOST/PATH, with the languages' captions."""
    import torch

    from tiny import jpeg

    numbers = range(301, 313)
    names = [f"COCO_{'val' if n % 5 == 0 else 'train'}2014_{n:012d}.jpg" for n in numbers]
    xtd = {f"XTD10/{XTD_NAMES}": "\n".join(names)}
    folders = {"de": "MIC", "fr": "MIC", "ja": "STAIR"}
    for language in languages:
        file = f"test_1kcaptions_{'jp' if language == 'ja' else language}.txt"
        texts = [f"{language} {sentence(number, 0)}" for number in numbers]
        xtd[f"{folders.get(language, 'XTD10')}/{file}"] = "\r\n".join(texts)
    keys = [f"{number:016x}" for number in numbers]
    rows = [
        {"image/key": key, **{one: {"caption": [f"{one} {sentence(number, 0)}", "another"]}
                              for one in languages}}
        for key, number in zip(keys, numbers, strict=True)
    ]  # fmt: skip
    captions = "".join(json.dumps(row) + "\n" for row in rows).encode()
    saved = io.BytesIO()
    torch.save({"t": torch.zeros(()), "linear.weight": torch.eye(width).roll(1, 0)}, saved)
    whole = "codeload.github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10/zip"
    maps = f"raw.githubusercontent.com/jayn2u/CLIP-not-BoW-unimodally/{LABCLIP}/alignment/weights"
    return {
        **{
            f"images.cocodataset.org/{name.split('_')[1]}/{name}": jpeg(number)
            for name, number in zip(names, numbers, strict=True)
        },
        f"{whole}/{XTD}": zipped({
            f"Cross-lingual-Test-Dataset-XTD10-{XTD}/{name}": text.encode()
            for name, text in xtd.items()
        }),
        "google.github.io/crossmodal-3600/web-data/captions.zip": zipped(
            {"captions.jsonl": captions}
        ),
        "open-images-dataset.s3.amazonaws.com/crossmodal-3600/images.tgz": tarred(
            {
                f"./{key}.jpg": jpeg(number, 32 if number == 301 else 1)
                for key, number in zip(keys, numbers, strict=True)
            },
            "w:gz",
        ),
        **{f"{maps}/labclip_coco_neg_{size}.pt": saved.getvalue() for size in ("B32", "B16")},
    }  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # of 16 clients at once, those that find it full wait for a second


class World:
    """Use as a context manager: a server of all files, with faults.

    Attributes:
        url: address of the server; files are at HOST/PATH.
        files: content by HOST/PATH.
        faults: what happens to the next requests of a path, one after the other: an HTTP status,
            or `short` (the connection closes early).
        got: number of complete answers by path.
    """

    def __init__(self, folder: Path, cifar: bool = False) -> None:
        self.files = served_files(folder / "served_sts", cifar)
        self.cifar = cifar
        self.faults: dict[str, list[int | str]] = {}
        self.got: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "World":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def write_settings(self, folder: Path) -> Path:
        """The shipped settings, with these servers, files' hashes, and small numbers."""
        text = SHIPPED.read_text()
        if not self.cifar:
            text = re.sub(r"\[sources\.cifar.*?(?=\n\[)", "", text, flags=re.DOTALL)
        triples = folder / "triples.jsonl"
        rows = (
            {
                "index": n, "image_id": f"{n}.jpg", "caption": sentence(n, 0),
                "paraphrase_1": sentence(n, 1), "paraphrase_2": sentence(n, 2),
            }
            for n in range(16)
        )  # fmt: skip
        triples.write_text("".join(json.dumps(row) + "\n" for row in rows))
        for old, new in (
            ('triples = "scenes"', f'mirror = "{self.url}"\ntriples = "{triples}"'),
            ("bank = 5000", "bank = 12"), ("deviation = 0.3", f"deviation = 100.0\n{SMALL}"),
        ):  # fmt: skip
            assert text.count(old) == 1, old
            text = text.replace(old, new)

        def own_hash(found: re.Match[str]) -> str:
            content = self.files[found[2].split("://")[1]]
            return f'{found[1]}{found[2]}"\nmd5 = "{hashlib.md5(content).hexdigest()}"'

        text = re.sub(r'(address = ")(.*?)"\nmd5 = ".*?"', own_hash, text)
        path = folder / "settings.toml"
        path.write_text(text)
        return path

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True  # else each body waits 40 ms for its head

            def do_HEAD(self) -> None:
                world._answer(self, head=True)

            def do_GET(self) -> None:
                world._answer(self, head=False)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, to: BaseHTTPRequestHandler, head: bool) -> None:
        path = to.path.lstrip("/")
        with self._lock:
            waiting = self.faults.get(path, []) if not head else []
            fault = waiting.pop(0) if waiting else None
            content = self.files.get(path)
        status = fault if isinstance(fault, int) else 200 if content is not None else 404
        body = (content or b"") if status == 200 else b""
        to.send_response(status)
        to.send_header("Content-Length", str(len(body)))
        to.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        to.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            to.send_header("X-Error-Code", "EntryNotFound")  # of the hub; others send none
        if status == 429:
            to.send_header("Retry-After", "0")
        to.end_headers()
        if head:
            return
        complete = Counter([path] if status == 200 and fault is None else [])
        with self._lock:
            self.got += complete  # before the client, which then goes on, has all of it
        try:
            to.wfile.write(body[: len(body) // 2] if fault == "short" else body)
        except OSError:  # the client was killed
            with self._lock:
                self.got -= complete


def main() -> None:
    """Run a module or a notebook with tiny models."""
    module, *arguments = sys.argv[1:]
    sys.path[:0] = [str(Path(__file__).parents[level]) for level in (1, 2)]
    use_tiny_models()
    if module.endswith(".ipynb"):
        for number, cell in enumerate(json.loads(Path(module).read_text())["cells"]):
            tags, text = cell["metadata"].get("tags", []), "".join(cell["source"])
            if cell["cell_type"] == "code" and "install" not in tags:
                text = arguments[0] if "parameters" in tags else text
                exec(compile(text, f"cell {number}", "exec"), globals())
        return
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
