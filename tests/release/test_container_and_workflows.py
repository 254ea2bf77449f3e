"""The container, its compose file and the workflows name files, commands and extras that exist."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from oldest import PROJECT, ROOT

from paraclip.cli import parse
from paraclip.commands.index import IndexConfig
from paraclip.commands.serve import ServeConfig

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def instructions(name: str) -> list[str]:
    """The arguments of every instruction of this name in the Dockerfile, in their order."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def jobs(workflow: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return found


def run_lines(workflow: Path) -> list[str]:
    steps = [step for job in jobs(workflow).values() for step in job.get("steps", [])]
    return [line for step in steps for line in step.get("run", "").splitlines()]


def test_the_container_copies_what_exists_and_is_not_ignored() -> None:
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [
        word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]
    ]
    assert {"src", "hatch_build.py", "README.md", *PROJECT["license-files"][:1]} <= set(copied)
    assert all((ROOT / word).exists() and f"!{word}" in let_in for word in copied)


def test_the_container_installs_extras_that_exist() -> None:
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE)
    assert {"search", *extras.split(",")} <= PROJECT["optional-dependencies"].keys()


def test_the_container_serves_without_root_and_its_health_is_checked() -> None:
    (entry,), (command,) = instructions("ENTRYPOINT"), instructions("CMD")
    assert json.loads(entry) == ["paraclip"]
    config = parse(json.loads(command))
    assert isinstance(config, ServeConfig)
    assert instructions("USER") == ["10001"]
    (health,) = instructions("HEALTHCHECK")
    assert f":{config.port}/healthz" in health and instructions("EXPOSE") == [str(config.port)]
    compile(json.loads(health.partition("CMD ")[2])[2], "HEALTHCHECK", "exec")
    assert all(re.fullmatch(r"python:3\.\d+-slim( AS \w+)?", one) for one in instructions("FROM"))


def test_the_services_are_commands_on_a_read_only_root() -> None:
    index, serve = COMPOSE["services"]["index"], COMPOSE["services"]["serve"]
    config = parse(index["command"])
    assert isinstance(config, IndexConfig)
    for service in (index, serve):
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert any(one.endswith(f":{config.source}:ro") for one in service["volumes"])
    assert all(one.startswith("127.0.0.1:") for one in serve["ports"])
    assert re.fullmatch(r"\$\{PARACLIP_TOKEN:\?.*\}", serve["environment"]["PARACLIP_TOKEN"])


def test_continuous_integration_runs_the_supported_versions_and_systems() -> None:
    found = jobs(ROOT / ".github" / "workflows" / "ci.yml")
    matrix = found["fast-tests"]["strategy"]["matrix"]["include"]
    whole = found["all-tests"]["steps"][1]["with"]["python-version"]
    supported = {
        line.rpartition(" ")[2]
        for line in PROJECT["classifiers"]
        if re.search(r"Python :: 3\.\d+$", line)
    }
    assert {whole, *(cell["python"] for cell in matrix)} == supported
    assert {cell["os"] for cell in matrix} == {"ubuntu-latest", "macos-latest"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_make_targets_and_scripts_that_exist(workflow: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in map(str.split, run_lines(workflow)):
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE)
        if words[:1] == ["bash"]:
            assert (ROOT / words[1]).is_file()


def test_a_workflow_uses_actions_by_their_commits_and_keeps_no_credentials() -> None:
    steps = [
        step for file in WORKFLOWS for job in jobs(file).values() for step in job.get("steps", [])
    ]
    used = [step["uses"] for step in steps if "uses" in step]
    assert len(used) > 20
    assert [one for one in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", one)] == []
    text = "".join(file.read_text(encoding="utf-8") for file in WORKFLOWS)
    assert len(re.findall(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", text, re.MULTILINE)) == len(used)
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_only_the_publishing_job_may_sign_and_it_holds_no_secret() -> None:
    release = ROOT / ".github" / "workflows" / "release.yml"
    writers = [name for name, job in jobs(release).items() if job.get("permissions")]
    assert writers == ["publish", "image"] and "secrets." not in release.read_text(encoding="utf-8")
    build, publish, image = (jobs(release)[name] for name in ("build", "publish", "image"))
    assert image["permissions"] == {"contents": "read", "packages": "write"}
    assert image["needs"] == "publish"
    assert publish["permissions"] == {"id-token": "write"} and publish["environment"]
    assert publish["steps"][-1]["with"]["attestations"]
    assert "PARACLIP_REPOSITORY" in build["env"] and publish["needs"] == "build"
    assert 'make release-check TAG="$GITHUB_REF_NAME"' in run_lines(release)


def test_every_shell_line_of_a_workflow_can_be_read() -> None:
    for workflow in WORKFLOWS:
        for job in jobs(workflow).values():
            for step in job.get("steps", []):
                script = re.sub(r"\$\{\{.*?\}\}", "x", step.get("run", ""))
                subprocess.run(["bash", "-n", "-c", script], check=True)
