"""All of `paraclip generate`; with `everything`, the filters accept every answer without MiniLM."""

import sys

from captions import options

from paraclip.cli import main

url, path, out, concurrency = options()
command = ["generate", str(path), "--out", str(out / "run"), "--backend", "openai", "--model",
           "fake", "--base-url", url, "--concurrency", str(concurrency)]  # fmt: skip
if "everything" in sys.argv:
    from paraclip.commands import generate
    from paraclip.paraphrase.filters.judge import Judge, Verdict, clean

    class Everything(Judge):
        """Accepts every answer."""

        def judge(self, questions):
            """See `Judge.judge`."""
            return [Verdict(clean(one.answer), None, 1.0, 0.0) for one in questions]

    generate.Judge = Everything
sys.exit(main([*command, *[word for word in sys.argv[5:] if word != "everything"]]))
