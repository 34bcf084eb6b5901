"""Files and jobs through the unmodified openai client. The work of a job is played: training is tested elsewhere."""

from __future__ import annotations

import concurrent.futures
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.jobs.conftest import chat_rows
from tests.project import build_base
from tests.serve.fakes import ADAPTERS, FakeEngine, fake_gateway
from tests.web.conftest import KEY
from tunesmith.core import store
from tunesmith.core.errors import StorageError
from tunesmith.core.store import Workspace
from tunesmith.jobs import FineTuning, Job, open_service
from tunesmith.jobs.alive import this_process
from tunesmith.jobs.records import NewEvent, TunedModel
from tunesmith.serve import Keyring, Server, add_key, start_server

ME = this_process("played")


def jsonl(rows: list[Any]) -> bytes:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


class Shop:
    """A server with files and jobs on a workspace of its own."""

    def __init__(self, home: Path, base: Path) -> None:
        self.service: FineTuning = open_service(Workspace.open(home), {"org/tiny": str(base)})
        gateway = fake_gateway(FakeEngine(ADAPTERS), max_body_bytes=300_000)
        keyring = Keyring(KEY.value, self.service.workspace)
        self.server: Server = start_server(gateway, key=KEY, keyring=keyring, beside=[self.service])
        self.client = openai.OpenAI(base_url=self.server.base_url, api_key=KEY.value, max_retries=0, timeout=20)
        self.http = httpx.Client(headers={"authorization": f"Bearer {KEY.value}"}, timeout=20)

    def url(self, path: str) -> str:
        return self.server.base_url + path

    def upload(self, rows: list[Any], name: str = "rows.jsonl") -> Any:
        return self.client.files.create(file=(name, io.BytesIO(jsonl(rows))), purpose="fine-tune")

    def create(self, **fields: Any) -> Any:
        values = {"model": "org/tiny", "training_file": self.good.id, **fields}
        return self.client.fine_tuning.jobs.create(**values)

    @property
    def good(self) -> Any:
        if not hasattr(self, "_good"):
            self._good = self.upload(chat_rows(40))
        return self._good

    def play(self, id: str) -> Job:
        """Claim a job and take it to `running`."""
        store = self.service.jobs
        claimed = store.claim(store.job(id), ME)
        assert claimed is not None
        queued = store.finish(claimed, "queued", [], lambda body: body.model_copy(update={"validated": True}))
        running = store.claim(queued, ME)
        assert running is not None
        return running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    made = Shop(folder / "home", build_base(folder / "tiny"))
    yield made
    made.client.close()
    made.http.close()
    made.server.stop()


def refused(call: Callable[[], object], code: str, param: str, *words: str) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    error = caught.value
    assert (error.code, error.param) == (code, param), error.message
    for text in words:
        assert text in str(error.body["message"]), error.body  # type: ignore[index]
    return error


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_goes_in_and_comes_out_as_it_was(shop: Shop) -> None:
    content = jsonl(chat_rows(12))
    made = shop.client.files.create(
        file=("mine.jsonl", io.BytesIO(content)),
        purpose="fine-tune",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (made.object, made.bytes, made.filename, made.status) == ("file", len(content), "mine.jsonl", "processed")
    assert made.expires_at == pytest.approx(made.created_at + 3600, abs=1)
    report = made.model_extra["validation_report"]
    assert (report["valid"], report["nlines"], report["dataset_format"]) == (True, 12, "chat")
    assert shop.client.files.retrieve(made.id) == made
    assert shop.client.files.content(made.id).read() == content
    assert shop.client.files.wait_for_processing(made.id).id == made.id
    assert shop.client.files.delete(made.id).deleted
    refused(lambda: shop.client.files.retrieve(made.id), "file_not_found", "file_id", "there is no file".capitalize())


def test_equal_bytes_are_kept_once_and_go_with_the_last_file(shop: Shop) -> None:
    one, two = shop.upload(chat_rows(11)), shop.upload(chat_rows(11))
    assert one.id != two.id
    path = shop.service.shelf.path(shop.service.shelf.file(one.id, ""))
    shop.client.files.delete(one.id)
    assert path.exists()
    shop.client.files.delete(two.id)
    assert not path.exists()


def test_files_come_in_pages_both_ways(shop: Shop) -> None:
    made = [shop.upload(chat_rows(10, first=n)).id for n in range(5)]
    newest = [f.id for f in shop.client.files.list(limit=2, purpose="fine-tune")]
    assert newest[:5] == made[::-1], "the client asks on, page after page"
    oldest = [f.id for f in shop.client.files.list(limit=3, order="asc", extra_query={"purpose": "fine-tune"})]
    assert oldest[-5:] == made
    refused(lambda: shop.client.files.list(after="file-none"), "file_not_found", "after")
    refused(lambda: shop.client.files.list(limit=0), "invalid_value", "limit", "1 to 10000")


BAD_ROWS: list[tuple[str, Any, str]] = [
    ("data_type", "[1, 2]", "a list, not an object"),
    ("data_type", '{"messages": [', "is not valid JSON"),
    ("missing_messages_list", {"text_": "x"}, "messages"),
    ("missing_messages_list", {"messages": []}, "messages is empty"),
    ("unrecognized_role", {"messages": [{"role": "bot", "content": "x"}]}, "unknown role 'bot'"),
    ("message_unrecognized_key", {"messages": [{"role": "user", "kontent": "x"}]}, "unknown key 'kontent'"),
    ("missing_content", {"messages": [{"role": "user", "content": 3}]}, "content is a number"),
    ("example_missing_assistant_message", {"messages": [{"role": "user", "content": "x"}]}, "has no assistant turn"),
]


@pytest.mark.parametrize(
    ("name", "row", "words"), BAD_ROWS, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(BAD_ROWS)]
)
def test_a_bad_row_is_reported_with_line_and_the_cookbooks_name_and_refused_by_a_job(
    shop: Shop, name: str, row: Any, words: str
) -> None:
    made = shop.upload([*chat_rows(12), row, *chat_rows(2)], "bad.jsonl")
    report = made.model_extra["validation_report"]
    assert (made.status, report["valid"], report["unreadable"]) == ("error", False, 1)
    finding = report["findings"][0]
    assert (finding["line"], finding["error_type"]) == (13, name)
    assert words in finding["what"]
    assert finding["fix"]
    error = refused(
        lambda: shop.create(training_file=made.id), "invalid_training_file", "training_file", "bad.jsonl:13", words
    )
    assert error.status_code == 400


def test_an_upload_that_is_not_served_is_refused(shop: Shop) -> None:
    rows = ("rows.jsonl", io.BytesIO(jsonl(chat_rows(10))))
    refused(lambda: shop.client.files.create(file=rows, purpose="vision"), "invalid_value", "purpose", "'vision'")
    refused(
        lambda: shop.client.files.create(
            file=rows, purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 5}
        ),
        "invalid_value",
        "expires_after[seconds]",
        "3600",
    )
    for body, headers, words in (
        (b"{}", {"content-type": "application/json"}, "The body is not an upload"),
        (b"--x\r\n", {"content-type": "multipart/form-data; boundary=x"}, "The upload cannot be read"),
        (b"junk", {"content-type": "multipart/form-data; boundary=x"}, "The upload cannot be read"),
        (
            b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--x--\r\n',
            {"content-type": "multipart/form-data; boundary=x"},
            "No file came in",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n--x--\r\n',
            {"content-type": "multipart/form-data; boundary=x"},
            "The field 'purpose' is missing",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="p"\r\n\r\n' + b"1" * 2000 + b"\r\n--x--\r\n",
            {"content-type": "multipart/form-data; boundary=x"},
            "is longer than 1024 bytes",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n' * 2 + b"--x--\r\n",
            {"content-type": "multipart/form-data; boundary=x"},
            "Two files came in",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="p"\r\n\r\n1\r\n' * 20 + b"--x--\r\n",
            {"content-type": "multipart/form-data; boundary=x"},
            "There are more than 16 fields",
        ),
    ):
        answer = shop.http.post(shop.url("/files"), content=body, headers=headers)
        assert answer.status_code == 400, answer.text
        assert words in answer.json()["error"]["message"]
    leftovers = list((shop.service.workspace.root / "tmp").iterdir())
    assert leftovers == [], "nothing of a refused upload stays"


def test_a_file_that_a_job_needs_is_not_deleted(shop: Shop) -> None:
    file = shop.upload(chat_rows(10))
    job = shop.create(training_file=file.id)
    refused(lambda: shop.client.files.delete(file.id), "file_in_use", "file_id", job.id)
    shop.client.fine_tuning.jobs.cancel(job.id)
    assert shop.client.files.delete(file.id).deleted


def test_a_file_whose_time_is_over_is_gone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shop.client.files.create(
        file=("short.jsonl", io.BytesIO(jsonl(chat_rows(13)))),
        purpose="fine-tune",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    path = shop.service.shelf.path(shop.service.shelf.file(file.id, ""))
    job = shop.create(training_file=file.id)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 4000)
    refused(lambda: shop.client.files.retrieve(file.id), "file_not_found", "file_id")
    assert shop.service.shelf.remove_expired() == 0, "a job reads it"
    assert path.exists()
    shop.service.jobs.ask(job.id, "cancel")
    assert shop.service.shelf.remove_expired() == 1
    assert not path.exists()


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_job_is_created_with_every_automatic_value_worked_out(shop: Shop) -> None:
    job = shop.create(suffix="bot", metadata={"team": "legal"})
    assert (job.object, job.status, job.model) == ("fine_tuning.job", "validating_files", "org/tiny")
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (3, 8)
    assert job.method.supervised.hyperparameters.n_epochs == 3
    assert job.hyperparameters.learning_rate_multiplier == 1.0
    ours = job.model_extra["tunesmith"]
    assert ours["learning_rate"] == ours["base_learning_rate"] > 0
    assert str(shop.service.workspace.root) not in job.model_dump_json()
    assert shop.client.fine_tuning.jobs.retrieve(job.id) == job


def test_epochs_follow_the_cookbook() -> None:
    from tunesmith.jobs.hyperparameters import auto_epochs

    assert [auto_epochs(n) for n in (1, 3, 10, 33, 34, 100, 8333, 8334, 12_500, 60_000)] == [
        25, 25, 10, 3, 3, 3, 3, 2, 2, 1,
    ]  # fmt: skip


def test_the_old_form_of_hyperparameters_and_our_extras(shop: Shop) -> None:
    job = shop.create(
        hyperparameters={"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": 0.5},
        extra_body={"lora_r": 8, "max_seq_length": 256, "early_stopping_enabled": False, "train_on_inputs": True},
    )
    ours = job.model_extra["tunesmith"]
    assert (job.hyperparameters.n_epochs, job.hyperparameters.learning_rate_multiplier) == (2, 0.5)
    assert ours["learning_rate"] == ours["base_learning_rate"] / 2
    config = ours["config"]
    assert (config["lora_r"], config["lora_alpha"], config["max_length"]) == (8, 16.0, 256)
    assert (config["early_stopping_patience"], config["train_on"]) == (0, "all")
    wanted = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}}
    assert shop.create(method=wanted).hyperparameters.n_epochs == 5
    rate = shop.create(extra_body={"learning_rate": 1e-3}).model_extra["tunesmith"]["learning_rate"]
    assert rate == pytest.approx(1e-3)


REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"model": "org/tinny"}, "model_not_found", "model", "Did you mean 'org/tiny'?"),
    ({"training_file": "file-none"}, "invalid_training_file", "training_file", "There is no file 'file-none'"),
    ({"method": {"type": "dpo"}}, "unsupported_method", "method.type", "The method 'dpo' is not served yet"),
    ({"method": {"type": "magic"}}, "invalid_value", "method.type", "is no method of training"),
    ({"hyperparameters": {"n_epochs": 51}}, "invalid_value", "hyperparameters.n_epochs", "from 1 to 50"),
    ({"hyperparameters": {"epochs": 5}}, "unknown_parameter", "hyperparameters.epochs", "Did you mean 'n_epochs'?"),
    ({"hyperparameters": 3}, "invalid_value", "hyperparameters", "is not an object"),
    (
        {"hyperparameters": {"learning_rate_multiplier": 0}},
        "invalid_value",
        "hyperparameters.learning_rate_multiplier",
        "above 0",
    ),
    (
        {
            "hyperparameters": {"n_epochs": 1},
            "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        },
        "invalid_value", "hyperparameters", "are given twice",
    ),
    ({"suffix": "a:b"}, "invalid_value", "suffix", "cannot stand in the name"),
    ({"seed": -1}, "invalid_value", "seed", "0 to 2147483647"),
    ({"metadata": {"k": "v" * 600}}, "invalid_value", "metadata", "Metadata is not a small mapping"),
    ({"integrations": [{"type": "wandb"}]}, "unsupported_parameter", "integrations", "Integrations are not served"),
    ({"extra_body": {"lora_rank": 8}}, "unknown_parameter", "lora_rank", "Did you mean 'lora_r'?"),
    ({"extra_body": {"lora_r": 0}}, "invalid_value", "lora_r", "lora_r is 0"),
    ({"extra_body": {"chat_template": "/etc/passwd"}}, "invalid_value", "chat_template", "There is no chat template"),
    ({"extra_body": {"packing": False}}, "invalid_value", "packing", "Packing cannot be switched off"),
    ({"extra_body": {"train_on_inputs": 3}}, "invalid_value", "train_on_inputs", "train_on_inputs is 3"),
    ({"extra_body": {"adapter_method": "full"}}, "invalid_value", "adapter_method", "All weights cannot be trained"),
    ({"extra_body": {"adapter_method": "ia3", "lora_r": 4}}, "invalid_value", "lora_r", "means nothing to method: ia3"),
    ({"extra_body": {"max_seq_length": 9999}}, "invalid_value", "max_length", "the model's context is 512 tokens"),
    (
        {"hyperparameters": {"learning_rate_multiplier": 2}, "extra_body": {"learning_rate": 1e-4}},
        "invalid_value", "learning_rate", "are both given",
    ),
    ({"extra_body": {"test_file": ""}}, "missing_required_parameter", "test_file", "test_file"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "code", "param", "words"), REFUSED, ids=[f"{r[2]}-{n}" for n, r in enumerate(REFUSED)]
)
def test_what_cannot_be_done_is_refused_by_field(
    shop: Shop, fields: dict[str, Any], code: str, param: str, words: str
) -> None:
    before = len(shop.service.jobs.jobs(limit=1000)[0])
    refused(lambda: shop.create(**fields), code, param, words)
    assert len(shop.service.jobs.jobs(limit=1000)[0]) == before


def test_too_few_rows_and_files_for_something_else(shop: Shop) -> None:
    few = shop.upload(chat_rows(9))
    refused(
        lambda: shop.create(training_file=few.id), "invalid_training_file", "training_file", "has 9 rows", "at least 10"
    )
    other = shop.client.files.create(file=("x.bin", io.BytesIO(b"x")), purpose="user_data")
    refused(lambda: shop.create(training_file=other.id), "invalid_training_file", "training_file", "was uploaded for")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model": "\\ud800"}', b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_request_is_refused(shop: Shop, body: bytes) -> None:
    answer = shop.http.post(shop.url("/fine_tuning/jobs"), content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_a_retried_creation_makes_one_job(shop: Shop) -> None:
    body = {"model": "org/tiny", "training_file": shop.good.id, "suffix": "once"}
    retry = {"x-stainless-retry-count": "1"}
    first = shop.http.post(shop.url("/fine_tuning/jobs"), json=body).json()["id"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        again = list(
            pool.map(lambda _: shop.http.post(shop.url("/fine_tuning/jobs"), json=body, headers=retry), range(8))
        )
    assert {answer.json()["id"] for answer in again} == {first}
    assert shop.http.post(shop.url("/fine_tuning/jobs"), json=body).json()["id"] != first


def test_jobs_are_listed_by_page_and_metadata(shop: Shop) -> None:
    made = [shop.create(metadata={"batch": "one", "n": str(n)}).id for n in range(3)]
    plain = shop.create().id
    jobs = shop.client.fine_tuning.jobs
    assert [job.id for job in jobs.list(limit=2, metadata={"batch": "one"})] == made[::-1]
    assert [job.id for job in jobs.list(metadata={"batch": "one", "n": "1"})] == [made[1]]
    without = [job.id for job in jobs.list(limit=100, extra_query={"metadata": "null"})]
    assert plain in without
    assert not set(made) & set(without)


def test_cancel_pause_resume_and_what_they_refuse(shop: Shop) -> None:
    jobs = shop.client.fine_tuning.jobs
    job = shop.create()
    assert jobs.pause(job.id).status == "paused"
    assert jobs.resume(job.id).status == "validating_files"
    assert jobs.cancel(job.id).status == "cancelled"
    error = refused(lambda: jobs.cancel(job.id), "invalid_job_state", "fine_tuning_job_id", "cannot be cancelled")
    assert error.status_code == 400
    refused(lambda: jobs.resume(job.id), "invalid_job_state", "fine_tuning_job_id", "not paused")
    refused(lambda: jobs.retrieve("ftjob-nobody"), "job_not_found", "fine_tuning_job_id")
    refused(lambda: jobs.list_events("ftjob-nobody"), "job_not_found", "fine_tuning_job_id")
    refused(lambda: jobs.checkpoints.list("ftjob-nobody"), "job_not_found", "fine_tuning_job_id")


def test_cancel_waits_for_the_worker(shop: Shop) -> None:
    running = shop.play(shop.create().id)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(shop.client.fine_tuning.jobs.cancel, running.id)
        while shop.service.jobs.wish_of(running) != "cancel":
            time.sleep(0.01)
        shop.service.jobs.finish(running, "cancelled", [NewEvent(message="The job was cancelled")])
        assert asked.result(10).status == "cancelled"


def test_events_are_newest_first_and_paged_by_the_client(shop: Shop) -> None:
    running = shop.play(shop.create().id)
    for n in range(30):
        event = NewEvent(message=f"Step {n}", type="metrics", data={"step": n})
        shop.service.jobs.record(running, [event], n)
    events = list(shop.client.fine_tuning.jobs.list_events(running.id, limit=7))
    assert [event.message for event in events[:2]] == ["Step 29", "Step 28"]
    assert events[-1].message.startswith("Created fine-tuning job")
    assert len({event.id for event in events}) == len(events) == 33
    assert (events[0].object, events[0].type, events[0].data) == ("fine_tuning.job.event", "metrics", {"step": 29})


class Lines:
    """Server-sent events of a job, read one by one."""

    def __init__(self, shop: Shop, job: str, last: str) -> None:
        headers = {"accept": "text/event-stream", "last-event-id": last}
        self._stream = shop.http.stream("GET", shop.url(f"/fine_tuning/jobs/{job}/events"), headers=headers)
        self._lines = self._stream.__enter__().iter_lines()

    def read(self, most: int) -> tuple[list[int], bool]:
        """Up to ``most`` numbers, and whether the stream said that it is over."""
        found: list[int] = []
        for line in self._lines:
            if line.startswith("id: "):
                found.append(int(line[4:]))
            if line == "data: [DONE]":
                return found, True
            if len(found) >= most:
                break
        return found, False

    def close(self) -> None:
        self._stream.__exit__(None, None, None)


def test_a_stream_that_is_cut_and_taken_up_again_loses_and_repeats_nothing(shop: Shop) -> None:
    """``TUNESMITH_EVENTS`` says how many are written meanwhile; in ``make torture``, 100,000."""
    running = shop.play(shop.create().id)
    total = int(os.environ.get("TUNESMITH_EVENTS", "400"))

    def write() -> None:
        for n in range(0, total, 8):
            shop.service.jobs.record(running, [NewEvent(message=f"{n + k}") for k in range(8)], n)
        shop.service.jobs.finish(running, "cancelled", [NewEvent(message="The job was cancelled")])

    writer = threading.Thread(target=write)
    writer.start()
    heard: list[int] = []
    over = False
    for _ in range(200):
        lines = Lines(shop, running.id, str(heard[-1] if heard else 0))
        numbers, over = lines.read(max(43, total // 100))
        heard += numbers
        lines.close()
        if over:
            break
    writer.join()
    assert over
    assert heard == list(range(1, len(heard) + 1))
    assert len(heard) == total + 4
    answer = shop.http.get(
        shop.url(f"/fine_tuning/jobs/{running.id}/events"),
        headers={"accept": "text/event-stream", "last-event-id": "x"},
    )
    assert "Last-Event-ID is 'x'" in answer.json()["error"]["message"]


def test_an_estimate_counts_tokens_exactly_and_says_what_is_not_measured(shop: Shop) -> None:
    body = {"model": "org/tiny", "training_file": shop.good.id, "hyperparameters": {"n_epochs": 2}, "price_per_hour": 3}
    found = shop.http.post(shop.url("/fine_tuning/estimate"), json=body).json()
    assert found["estimated_tokens"] == 2 * found["tokens_per_epoch"] > 0
    assert (found["estimated_seconds"], found["estimated_price"]) == (None, None)
    assert found["based_on"] == "not measured: no job on this base has ended yet; measure: true runs a few real steps"


# --- tenants and disks -----------------------------------------------------------------------------------------------


def test_a_tenant_sees_nothing_of_another_ones(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every route with the id of something that is somebody else's: as if it were not there."""
    monkeypatch.setattr("tunesmith.serve.keys.FRESH_SECONDS", -1.0)
    keys = {name: add_key(shop.service.workspace, name, tenant=name, scopes=["jobs", "inference"]) for name in "ab"}
    mine = openai.OpenAI(base_url=shop.server.base_url, api_key=keys["a"], max_retries=0, timeout=20)
    file = mine.files.create(file=("a.jsonl", io.BytesIO(jsonl(chat_rows(10)))), purpose="fine-tune")
    job = mine.fine_tuning.jobs.create(model="org/tiny", training_file=file.id)
    assert job.organization_id == "a"
    other = httpx.Client(headers={"authorization": f"Bearer {keys['b']}"}, timeout=20)
    jobs, files = f"/fine_tuning/jobs/{job.id}", f"/files/{file.id}"
    for method, path in (
        *(("GET", path) for path in (jobs, f"{jobs}/events", f"{jobs}/checkpoints", files, f"{files}/content")),
        *(("POST", f"{jobs}/{verb}") for verb in ("cancel", "pause", "resume")),
        ("GET", f"/fine_tuning/jobs?after={job.id}"),
        ("GET", f"/files?after={file.id}"),
        ("DELETE", files),
    ):
        answer = other.request(method, shop.url(path))
        assert answer.status_code == 404, (method, path, answer.text)
        assert "a.jsonl" not in answer.text
    assert other.get(shop.url("/files")).json()["data"] == []
    assert other.get(shop.url("/fine_tuning/jobs")).json()["data"] == []
    body = {"model": "org/tiny", "training_file": file.id}
    assert other.post(shop.url("/fine_tuning/jobs"), json=body).json()["error"]["code"] == "invalid_training_file"
    assert mine.fine_tuning.jobs.retrieve(job.id).status == "validating_files"
    weak = add_key(shop.service.workspace, "weak", tenant="a", scopes=["inference"])
    assert httpx.get(shop.url("/files"), headers={"authorization": f"Bearer {weak}"}).status_code == 403
    mine.close()
    other.close()


def test_a_full_disk_refuses_an_upload_and_keeps_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.http.get(shop.url("/files")).json()["data"]

    def full(path: Path, data: bytes) -> None:
        raise StorageError("the disk is full", where=str(path))

    monkeypatch.setattr(store, "append_bytes", full)
    answer = shop.http.post(
        shop.url("/files"), data={"purpose": "fine-tune"}, files={"file": ("x.jsonl", jsonl(chat_rows(10)))}
    )
    monkeypatch.undo()
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_room")
    assert answer.headers["x-should-retry"] == "false"
    assert str(shop.service.workspace.root) not in answer.text
    assert shop.http.get(shop.url("/files")).json()["data"] == before


# --- tuned models ----------------------------------------------------------------------------------------------------


class FakeRegistry:
    """What a server can be called by, as a list."""

    base_fingerprint = "base-weights"

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.needed: dict[str, list[str]] = {}

    def add(self, name: str, folder: Path, tenant: str) -> None:
        assert folder.is_dir()
        self.names[name] = tenant

    def remove(self, name: str, tenant: str) -> None:
        del self.names[name]

    def users(self, name: str, tenant: str) -> list[str]:
        return self.needed.get(name, [])


def test_what_a_job_made_can_be_called_and_goes_with_its_bytes(shop: Shop) -> None:
    registry = FakeRegistry()
    shop.service.serve_by(registry)
    running = shop.play(shop.create().id)
    artifact = shop.service.workspace.publish("adapter", lambda folder: (folder / "x").write_text(running.id) and None)

    def model(name: str, base: str = "base-weights") -> TunedModel:
        return TunedModel(
            name=name, tenant="", job=running.id, artifact=artifact.digest, adapter_digest="d", base="org/tiny",
            base_fingerprint=base, created_at=1.0,
        )  # fmt: skip

    name = "ft:org/tiny:tunesmith::12345678"
    shop.service.jobs.finish(running, "succeeded", [], model=model(name))
    shop.client.fine_tuning.jobs.retrieve(running.id)
    assert registry.names == {name: ""}
    registry.needed[name] = ["alias support-bot"]
    refused(lambda: shop.client.models.delete(name), "model_in_use", "model", "alias support-bot")
    registry.needed.clear()
    assert shop.client.models.delete(name).deleted
    assert (registry.names, artifact.path.exists()) == ({}, False)
    refused(lambda: shop.client.models.delete(name), "model_not_found", "model")
    again = shop.play(shop.create().id)
    shop.service.jobs.finish(again, "succeeded", [], model=model("ft:other", base="other-weights"))
    shop.service.sync()
    assert registry.names == {}, "an adapter of another base is never called"


def test_a_model_with_a_slash_is_deleted_raw_and_encoded(shop: Shop) -> None:
    for path in ("ft:org/tiny:x", "ft:org%2Ftiny:x"):
        answer = shop.http.delete(shop.url(f"/models/{path}"))
        assert answer.json()["error"]["message"].startswith("There is no fine-tuned model 'ft:org/tiny:x'")
