"""Adapters come, move, leave and are loaded again while answers are running."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
import torch

from tests.model.test_engine import prompt, request
from tests.model.test_lora import randomise, save
from tunesmith.core.errors import CorruptArtifactError, InputError, TunesmithError
from tunesmith.core.generation import TokenOut
from tunesmith.model.adapters import WEIGHTS
from tunesmith.model.engine import Engine
from tunesmith.model.load import load_base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.trainable import Options, make_trainable


@pytest.fixture(scope="module")
def folders(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("adapters")
    made = []
    for index in range(4):
        base = load_base(tiny_model, torch.float32)
        trainable = make_trainable("lora", base, Options(LoRASpec(2, 16), index, "tiny"))
        randomise(trainable)
        trainable.master.mul_(index + 1)
        made.append(save(trainable, root / str(index)))
    return made


def make(tiny_model: Path, **options: int) -> Engine:
    return Engine(load_base(tiny_model, torch.float32), **options)  # type: ignore[arg-type]


def tokens(engine: Engine, name: str, adapter: str, count: int = 12) -> list[int]:
    engine.submit(request(name, prompt(1, 10), adapter, max_tokens=count))
    return [out.token for out in finish(engine) if out.request_id == name]


def finish(engine: Engine) -> list[TokenOut]:
    outs: list[TokenOut] = []
    while not engine.idle:
        outs += engine.step()
    return outs


def test_an_answer_ends_on_the_adapter_that_it_began_on(tiny_model: Path, folders: list[Path]) -> None:
    engine = make(tiny_model)
    first, second = (engine.add_adapter(str(i), folders[i]) for i in (0, 1))
    wanted = {digest: tokens(engine, "x", digest) for digest in (first, second)}
    assert wanted[first] != wanted[second]
    engine.add_adapter("bot", folders[0])
    engine.submit(request("old", prompt(1, 10), "bot", max_tokens=12))
    outs = engine.step()
    assert engine.add_adapter("bot", folders[1]) == second == engine.adapters["bot"]
    engine.submit(request("new", prompt(1, 10), "bot", max_tokens=12))
    outs += finish(engine)
    assert [o.token for o in outs if o.request_id == "old"] == wanted[first]
    assert [o.token for o in outs if o.request_id == "new"] == wanted[second]


def test_a_removed_adapter_leaves_when_its_last_answer_is_over(tiny_model: Path, folders: list[Path]) -> None:
    engine = make(tiny_model)
    digest = engine.add_adapter("bot", folders[0])
    wanted = tokens(engine, "x", "bot")
    engine.submit(request("y", prompt(1, 10), "bot", max_tokens=12))
    engine.step()
    engine.remove_adapter("bot")
    assert engine.adapters == {}
    assert engine.residency.resident == (digest,)
    for name in ("bot", digest):
        if name == "bot":
            with pytest.raises(InputError, match="no adapter called 'bot' is loaded"):
                engine.submit(request("z", prompt(1, 10), name, max_tokens=2))
    assert [wanted[0], *(o.token for o in finish(engine))] == wanted
    assert engine.residency.resident == ()
    with pytest.raises(InputError, match="no adapter called"):
        engine.remove_adapter("bot")
    assert not any(getattr(m, "adapters", None) for m in engine.base.model.modules())


def test_many_are_known_and_few_are_resident(tiny_model: Path, folders: list[Path]) -> None:
    engine, all_at_once = make(tiny_model, max_resident=2), make(tiny_model)
    for index, folder in enumerate(folders):
        engine.add_adapter(str(index), folder, pinned=index == 0)
        all_at_once.add_adapter(str(index), folder)
    pinned = engine.adapters["0"]
    for index in (1, 2, 3, 1, 0, 3):
        assert tokens(engine, "x", str(index)) == tokens(all_at_once, "x", str(index))
        assert len(engine.residency.resident) <= 2
        assert pinned in engine.residency.resident
    with pytest.raises(InputError, match="there is no place for another adapter: 1 are pinned"):
        make_full(tiny_model, folders)


def make_full(tiny_model: Path, folders: list[Path]) -> None:
    engine = make(tiny_model, max_resident=1)
    engine.add_adapter("0", folders[0], pinned=True)
    engine.add_adapter("1", folders[1], pinned=True)


def test_others_go_on_while_an_adapter_is_loaded(tiny_model: Path, folders: list[Path]) -> None:
    engine = make(tiny_model, max_resident=1)
    for index in (0, 1):
        engine.add_adapter(str(index), folders[index])
    gate, place = threading.Event(), engine.residency._place
    engine.residency._place = lambda *a: (gate.wait(10), place(*a))[1]  # type: ignore[method-assign]
    engine.submit(request("late", prompt(1, 10), "1", max_tokens=3))
    engine.submit(request("base", prompt(1, 10), "", max_tokens=5))
    outs = [out for _ in range(5) for out in engine.step()]
    assert [(o.request_id, o.finished) for o in outs] == [("base", None)] * 4 + [("base", "length")]
    gate.set()
    assert [o.request_id for o in finish(engine)] == ["late"] * 3


def test_nobody_waits_for_ever_when_all_places_are_in_use(tiny_model: Path, folders: list[Path]) -> None:
    engine = make(tiny_model, max_resident=1)
    for index in (0, 1):
        engine.add_adapter(str(index), folders[index])
    for turn in range(6):
        engine.submit(request(str(turn), prompt(turn, 10), str(turn % 2), max_tokens=4))
    ended = [o.request_id for o in finish(engine) if o.finished]
    assert ended == [str(turn) for turn in range(6)]


def test_files_that_changed_since_are_refused_and_others_answer(
    tiny_model: Path, folders: list[Path], tmp_path: Path
) -> None:
    engine = make(tiny_model, max_resident=1)
    folder = shutil.copytree(folders[1], tmp_path / "adapter")
    engine.add_adapter("0", folders[0], pinned=False)
    engine.add_adapter("1", folder)
    assert engine.residency.resident == (engine.adapters["0"],)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-2] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))
    for problem in ("was changed since it was added", "cannot be loaded any more: FileNotFoundError"):
        engine.submit(request("bad", prompt(1, 10), "1", max_tokens=3))
        engine.submit(request("good", prompt(1, 10), "0", max_tokens=3))
        failures: list[tuple[str, TunesmithError]] = []
        outs: list[TokenOut] = []
        while not engine.idle:
            outs += engine.step()
            failures += engine.take_failures()
        assert [o.request_id for o in outs] == ["good"] * 3
        [(name, error)] = failures
        assert (name, type(error)) == ("bad", CorruptArtifactError)
        assert problem in str(error)
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folders[1], folder)
    assert len(tokens(engine, "x", "1", 3)) == 3


def test_using_an_adapter_loads_it_and_keeps_it(tiny_model: Path, folders: list[Path]) -> None:
    engine = make(tiny_model, max_resident=1)
    first, second = (engine.add_adapter(str(i), folders[i]) for i in (0, 1))
    with engine.using("1") as key:
        assert key == "1"
        assert engine.residency.resident == (second,)
        engine.submit(request("x", prompt(1, 10), "0", max_tokens=1))
        assert engine.step() == []
        with (
            pytest.raises(InputError, match="adapter '0' finds no place: all that are loaded are in use"),
            engine.using("0"),
        ):
            pass
    finish(engine)
    assert engine.residency.resident == (first,)


def test_changes_from_other_threads_under_load(tiny_model: Path, folders: list[Path]) -> None:
    """Every answer is that of exactly one adapter, and none fails, while a name moves to and fro."""
    engine = make(tiny_model, max_resident=2)
    digests = [engine.add_adapter(str(i), folder) for i, folder in enumerate(folders)]
    wanted = {digest: tokens(engine, "x", digest, 6) for digest in digests}
    engine.add_adapter("live", folders[0])
    stop, swaps = threading.Event(), []

    def swap() -> None:
        while not stop.is_set():
            swaps.append(engine.add_adapter("live", folders[len(swaps) % 4]))

    thread = threading.Thread(target=swap)
    thread.start()
    answers: dict[str, list[int]] = {}
    try:
        for number in range(120):
            engine.submit(request(str(number), prompt(1, 10), "live", max_tokens=6))
            for out in engine.step():
                answers.setdefault(out.request_id, []).append(out.token)
            assert engine.take_failures() == []
    finally:
        stop.set()
        thread.join()
    for out in finish(engine):
        answers.setdefault(out.request_id, []).append(out.token)
    assert len(answers) == 120
    assert len(swaps) > 4
    seen = {tuple(answer) for answer in answers.values()}
    assert seen <= {tuple(answer) for answer in wanted.values()}
    assert len(seen) > 1


def test_an_adapter_needs_a_name(tiny_model: Path, folders: list[Path]) -> None:
    with pytest.raises(InputError, match="an adapter has no name"):
        make(tiny_model).add_adapter("", folders[0])
