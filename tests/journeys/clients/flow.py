"""The whole flow with the `openai` client that is installed where this runs: ``python flow.py URL KEY MODEL ROWS``.

Prints one JSON document of what it saw. Nothing of ours is imported.
"""

from __future__ import annotations

import json
import sys
import time

import openai


def main(url: str, key: str, model: str, rows: str) -> dict[str, object]:
    client = openai.OpenAI(base_url=url, api_key=key, timeout=60)
    with open(rows, "rb") as file:
        uploaded = client.files.create(file=file, purpose="fine-tune")
    uploaded = client.files.wait_for_processing(uploaded.id)
    hyper = {"n_epochs": 8, "batch_size": 4}
    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=uploaded.id,
        suffix="flow",
        seed=7,
        method={"type": "supervised", "supervised": {"hyperparameters": hyper}},
        extra_body={"eval_steps": 12, "lora_r": 8},
    )
    seen = [job.status]
    end = time.monotonic() + 240
    while job.status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < end, job
        time.sleep(0.2)
        job = client.fine_tuning.jobs.retrieve(job.id)
        if seen[-1] != job.status:
            seen.append(job.status)
    assert job.status == "succeeded", job.error
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=25))
    points = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    with open(rows) as text:
        *question, wanted = json.loads(text.readline())["messages"]

    def ask(name: str) -> str:
        answer = client.chat.completions.create(model=name, messages=question, temperature=0, max_tokens=16)
        return answer.choices[0].message.content or ""

    assert job.fine_tuned_model is not None
    answers = {name: ask(name) for name in (model, job.fine_tuned_model, points[-1].fine_tuned_model_checkpoint)}
    table = client.files.content(job.result_files[0]).read().decode()
    listed = [m.id for m in client.models.list()]
    retrieved = client.models.retrieve(job.fine_tuned_model).id
    deleted = client.models.delete(job.fine_tuned_model).deleted
    try:
        ask(job.fine_tuned_model)
        after = "answered"
    except openai.NotFoundError as error:
        after = str(error.code)
    return {
        "version": openai.__version__,
        "states": seen,
        "model": job.fine_tuned_model,
        "events": [event.message for event in events],
        "checkpoints": [point.fine_tuned_model_checkpoint for point in points],
        "answers": answers,
        "wanted": wanted["content"],
        "result": table.splitlines()[0],
        "listed": listed,
        "retrieved": retrieved,
        "deleted": deleted,
        "after": after,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
