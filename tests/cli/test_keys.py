"""``tunesmith keys``: a key is shown once, listed without its secret, and revoked."""

from __future__ import annotations

from pathlib import Path

from tests.command import inside


def test_a_key_from_beginning_to_end(tmp_path: Path) -> None:
    home = {"TUNESMITH_HOME": str(tmp_path / "home")}
    made = inside("keys", "add", "shop-app", "--tenant", "shop", "--scope", "inference", "--json", at=tmp_path, **home)
    assert made.code == 0, made.err
    key = made.document["key"]
    assert key.startswith("sk-")
    listed = inside("keys", "list", at=tmp_path, **home)
    assert "shop-app" in listed.out
    assert "yes" in listed.out
    assert key not in listed.out
    assert inside("keys", "revoke", "shop-app", at=tmp_path, **home).code == 0
    assert "no, revoked" in inside("keys", "list", at=tmp_path, **home).out
    assert inside("keys", "revoke", "nobody", at=tmp_path, **home).code == 2
