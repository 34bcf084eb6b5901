"""Keys: made once, kept as digests, bound to a tenant and scopes, revoked within a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.core.errors import InputError
from tunesmith.core.store import Workspace
from tunesmith.serve import Keyring, add_key, open_keyring, revoke_key, stored_keys
from tunesmith.serve import keys as keys_module


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("TUNESMITH_API_KEY", raising=False)
    monkeypatch.setattr(keys_module, "FRESH_SECONDS", -1.0)
    return Workspace.open(tmp_path / "home")


def test_the_owners_key_is_made_at_the_first_start_and_goes_on_counting(workspace: Workspace) -> None:
    first, keyring = open_keyring(workspace)
    assert first.made
    owner = keyring.principal(first.value)
    assert owner is not None
    assert owner.may("metrics")
    second, again = open_keyring(workspace)
    assert (second.made, second.value) == (False, "")
    assert again.principal(first.value) == owner
    everything = b"".join(path.read_bytes() for path in workspace.root.rglob("*") if path.is_file())
    assert first.value.encode() not in everything


def test_the_variable_comes_first(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_API_KEY", "sk-mine")
    key, keyring = open_keyring(workspace)
    assert (key.value, key.made) == ("sk-mine", False)
    assert keyring.principal("sk-mine") is not None
    assert stored_keys(workspace) == []


def test_a_key_of_a_tenant_may_do_what_its_scopes_say(workspace: Workspace) -> None:
    key = add_key(workspace, "shop-app", "shop", ["inference"])
    principal = Keyring("", workspace).principal(key)
    assert principal is not None
    assert (principal.tenant, principal.key) == ("shop", "shop-app")
    assert principal.may("inference")
    assert not principal.may("jobs")
    assert Keyring("", workspace).principal(key + "x") is None
    assert Keyring("").principal(key) is None


def test_revoked_and_expired_keys_count_no_longer(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = Keyring("", workspace)
    key, brief = add_key(workspace, "a"), add_key(workspace, "b", days=1)
    assert keyring.principal(key)
    revoke_key(workspace, "a")
    assert keyring.principal(key) is None
    assert add_key(workspace, "a") != key
    now = keys_module.time.time()
    monkeypatch.setattr(keys_module.time, "time", lambda: now + 86_401)
    assert keyring.principal(brief) is None


def test_what_cannot_be_a_key(workspace: Workspace) -> None:
    add_key(workspace, "app")
    for arguments, text in [
        (("app",), "there is a key called 'app' already"),
        (("Big App",), "'Big App' cannot be used as a name"),
        (("x", "Ünit"), "cannot be used as a name"),
        (("x", "", ["jobz"]), "there is no scope 'jobz'"),
        (("x", "", []), "a key without a scope may do nothing"),
    ]:
        with pytest.raises(InputError) as caught:
            add_key(workspace, *arguments)
        assert text in str(caught.value)
    with pytest.raises(InputError, match="there is no key 'nobody'"):
        revoke_key(workspace, "nobody")
