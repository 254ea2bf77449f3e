"""Questions in files of OpenAI's batch format, for a batch API or `vllm run-batch`.

Modules in reading order: `requests` (files of questions), `results` (files of answers), `backend`
(looks up answers and writes questions), `files` (a round).
"""
