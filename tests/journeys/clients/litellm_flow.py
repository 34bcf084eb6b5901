"""LiteLLM against our server: ``python litellm_flow.py URL KEY MODEL ROWS``.

Files and fine-tuning go through its library: in its proxy those routes want a licence of its maker. A chat goes through
a running proxy.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path


def through_proxy(url: str, key: str, model: str, question: list[dict[str, str]]) -> str:
    """One chat through a LiteLLM proxy that routes to us."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parameters = {"model": f"openai/{model}", "api_base": url, "api_key": key}
    config = {"model_list": [{"model_name": "tuned", "litellm_params": parameters}]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(json.dumps(config))
        program = Path(sys.executable).with_name("litellm")
        command = [str(program), "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
        log = (Path(folder) / "log").open("wb")
        environment = {**os.environ, "LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        proxy = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
        try:
            body = json.dumps({"model": "tuned", "messages": question, "temperature": 0, "max_tokens": 16}).encode()
            headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)
            end = time.monotonic() + 120
            while True:
                try:
                    with urllib.request.urlopen(request, timeout=60) as answer:
                        return json.load(answer)["choices"][0]["message"]["content"]
                except OSError:
                    if time.monotonic() > end or proxy.poll() is not None:
                        raise
                    time.sleep(0.5)
        finally:
            proxy.kill()
            proxy.wait()
            log.close()


def main(url: str, key: str, model: str, rows: str) -> dict[str, object]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    place = {"custom_llm_provider": "openai", "api_base": url, "api_key": key}
    with open(rows, "rb") as file:
        uploaded = litellm.create_file(file=file, purpose="fine-tune", **place)
    job = litellm.create_fine_tuning_job(
        model=model, training_file=uploaded.id, hyperparameters={"n_epochs": 8, "batch_size": 4}, suffix="lite", **place
    )
    end = time.monotonic() + 240
    while job.status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < end, job
        time.sleep(0.3)
        job = litellm.retrieve_fine_tuning_job(job.id, **place)
    assert job.status == "succeeded", job.error
    with open(rows) as text:
        *question, wanted = json.loads(text.readline())["messages"]
    tuned = str(job.fine_tuned_model)
    direct = litellm.completion(
        model=f"openai/{tuned}", messages=question, temperature=0, max_tokens=16, api_base=url, api_key=key
    )
    return {
        "model": tuned,
        "direct": direct.choices[0].message.content,
        "proxy": through_proxy(url, key, tuned, question),
        "wanted": wanted["content"],
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
