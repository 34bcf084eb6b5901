"""A probe finds an adapter that is not applied, another version, and a base that its neighbours change."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.cli.test_promote import write_run
from tests.command import inside
from tests.serve.fakes import ADAPTERS, FakeEngine, fake_gateway
from tunesmith.core.artifacts import AdapterCard, Canary
from tunesmith.core.generation import TokenOut
from tunesmith.core.store import write_manifest
from tunesmith.serve import ApiKey, start_server
from tunesmith.serve.probe import run_checks

CANARIES = [Canary(tokens=(1, 2, 3), logprobs=(-1.0, -2.0)), Canary(tokens=(4, 5), logprobs=(-0.5,))]


def outcome(ask) -> dict[str, bool]:
    return {check.name: check.passed for check in run_checks(ask, CANARIES, "tuned", "base", 0.05)}


def honest(name: str, canary: Canary) -> list[float]:
    return [value - (name == "base") for value in canary.logprobs]


def test_an_endpoint_that_serves_what_was_trained() -> None:
    assert all(outcome(honest).values())


def test_what_goes_wrong_is_found() -> None:
    plain = outcome(lambda name, canary: honest("base", canary))
    assert (plain["adapter alone"], plain["adapter is applied"]) == (False, False)
    older = outcome(lambda name, canary: [v + 0.2 for v in honest(name, canary)])
    assert (older["adapter alone"], older["adapter is applied"]) == (False, True)

    def contaminated(name: str, canary: Canary) -> list[float]:
        in_company = threading.current_thread() is not threading.main_thread()
        return honest("tuned" if in_company else name, canary)

    found = outcome(contaminated)
    assert (found["adapter in company"], found["base in company"]) == (True, False)


class Scoring(FakeEngine):
    """The base is less sure than its adapters."""

    def score(self, tokens: tuple[int, ...], adapter: str = "", top: int = 0) -> list[TokenOut]:
        return [TokenOut("", token, -0.25 if adapter else -0.75, None) for token in tokens[1:]]


@pytest.mark.parametrize(("stored", "code"), [(-0.25, 0), (-0.5, 1)])
def test_the_command_against_a_server(tmp_path: Path, stored: float, code: int) -> None:
    run = write_run(tmp_path, "run")
    path = run / "adapter" / "tunesmith.json"
    card = AdapterCard.model_validate_json(path.read_bytes())
    canaries = (Canary(tokens=(65, 66, 67), logprobs=(stored, stored)),)
    path.write_text(card.model_copy(update={"canaries": canaries}).model_dump_json())
    write_manifest(run / "adapter")
    home = {"TUNESMITH_HOME": str(tmp_path / "home"), "TUNESMITH_REMOTE_KEY": "sk-x"}
    with start_server(fake_gateway(Scoring(ADAPTERS)), key=ApiKey("sk-x", made=False)) as server:
        command = ["probe", server.base_url, "--adapter", run, "--model", "legal", "--base", "tiny"]
        ran = inside(*command, "--json", at=tmp_path, **home)
        assert ran.code == code, ran.err
        assert ran.document["passed"] is (code == 0)
        missing = inside(*command[:-1], "nobody", at=tmp_path, **home)
        assert (missing.code, "gave no log-probabilities of a given text" in missing.err) == (3, True)


def test_an_adapter_without_canaries(tmp_path: Path) -> None:
    run = write_run(tmp_path, "run")
    command = ["probe", "http://127.0.0.1:1/v1", "--adapter", run, "--model", "a", "--base", "b"]
    ran = inside(*command, at=tmp_path, TUNESMITH_HOME=str(tmp_path / "home"))
    assert (ran.code, "has no stored log-probabilities" in ran.err) == (2, True)
