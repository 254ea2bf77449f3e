"""All of `paraclip generate`; with `everything`, the filters accept every answer without MiniLM."""

import sys

from captions import options

from paraclip.cli import main

url, path, out, concurrency = options()
command = ["generate", str(path), "--out", str(out / "run"), "--backend", "openai", "--model",
           "fake", "--base-url", url, "--concurrency", str(concurrency)]  # fmt: skip
if "everything" in sys.argv:
    from paraclip.paraphrase.filters import judge
    from paraclip.paraphrase.filters.judge import Verdict, clean

    class Everything(judge.Judge):
        """Accepts every answer."""

        def judge(self, questions):
            """See `Judge.judge`."""
            return [Verdict(clean(one.answer), None, 1.0, 0.0) for one in questions]

    judge.Judge = Everything
sys.exit(main([*command, *[word for word in sys.argv[5:] if word != "everything"]]))
