"""DSPy's fine-tuning through its OpenAI provider: ``python dspy_flow.py URL KEY MODEL ROWS``."""

from __future__ import annotations

import json
import os
import sys


def main(url: str, key: str, model: str, rows: str) -> dict[str, object]:
    os.environ |= {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": url, "OPENAI_API_BASE": url}
    from dspy.clients.openai import OpenAIProvider, TrainingJobOpenAI
    from dspy.clients.utils_finetune import TrainDataFormat

    with open(rows) as file:
        train = [json.loads(line) for line in file]
    job = TrainingJobOpenAI()
    tuned = OpenAIProvider.finetune(
        job=job, model=model, train_data=train, train_data_format=TrainDataFormat.CHAT, train_kwargs={"n_epochs": 2}
    )
    return {"model": tuned, "job": job.provider_job_id, "status": str(job.status())}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
