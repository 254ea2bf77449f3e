"""Questions in batches: OpenAI's batch API, and files for a runner such as `vllm run-batch`.

Modules in reading order: `requests` (files of questions), `results` (files of answers), `backend`
(looks up answers and writes questions), `journal` (submitted batches), `server` (OpenAI's API),
`rounds`.
"""
