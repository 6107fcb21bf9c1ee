"""docs/how-to/deploy.md: what it names is there."""

from __future__ import annotations

import re

from tests.docs.infrastructure.support import INFRASTRUCTURE, read_template
from tests.docs.infrastructure.test_kubernetes import OLDEST
from tests.docs.support import ROOT

PAGE = ROOT / "docs/how-to/deploy.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_it_leads_to_every_file_that_one_pastes() -> None:
    linked = {(PAGE.parent / link).resolve() for link in re.findall(r"\]\((\.\./[^)#]+)", TEXT)}
    assert [str(path) for path in linked if not path.exists()] == []
    kinds = {".yaml", ".tf", ".py", ".service"}
    files = {path for path in INFRASTRUCTURE.rglob("*") if path.suffix in kinds}
    for folder in ("container/app", "kubernetes"):  # "the files beside it", and the README's own
        files -= set((INFRASTRUCTURE / folder).rglob("*"))
    assert files <= linked


def test_commands_are_typed_where_their_files_are() -> None:
    for block in re.findall(r"```sh\n(cd .*?)```", TEXT, re.DOTALL):
        folder = ROOT / re.search(r"cd (\S+)", block)[1]  # type: ignore[index]  # it matched above
        for name in re.findall(r"[\w-]+\.(?:yaml|py|service)\b", block):
            assert (folder / name).exists(), name
        for name in re.findall(r"kubectl apply -f (\S+)", block):
            assert list((folder / name).glob("*.yaml"))


def test_outputs_and_parameters_are_those_of_the_templates() -> None:
    outputs = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    made = read_template("messages")["Outputs"].keys()
    assert outputs == made - {"QueueName", "QueueArn"}  # which only the other templates need
    given = set(re.findall(r"\b(\w+)=\S", TEXT[TEXT.index("--parameter-overrides") :]))
    assert {"Messages", "Image", "Subnets", "SecurityGroups"} <= given
    parameters = read_template("ecs")["Parameters"]
    needed = {name for name, each in parameters.items() if "Default" not in each}
    assert needed < {"Messages", "Image", "Subnets", "SecurityGroups"} <= parameters.keys()


def test_versions_are_those_that_are_checked() -> None:
    tools = (INFRASTRUCTURE.parents[1] / "tests/docs/infrastructure/requirements.txt").read_text()
    newest = re.search(r"kubernetes-validate==(\d+\.\d+)", tools)
    assert newest
    assert f"Kubernetes {OLDEST} and {newest[1]} " in TEXT
