"""TRL's trainers as both rivals use them; imported by the rivals' own Pythons, so nothing of ours.

Rows are given as ids, in the order of the job; the trainers are kept from reading, cutting or mixing them.
"""

from __future__ import annotations

from typing import Any

from benchmarks.load import StepClock

Job = dict[str, Any]


def make_trainer(job: Job, steps: int, output: str, model: Any, tokenizer: Any, own: dict[str, Any]) -> Any:
    """A trainer for the job: supervised, or of preferences. ``own`` is added to what both rivals are told."""
    from datasets import Dataset

    columns = pairs(job, steps) if job["method"] == "dpo" else rows(job, steps)
    given = {"model": model, "train_dataset": Dataset.from_dict(columns), "processing_class": tokenizer}
    if job["method"] == "dpo":
        from trl import DPOConfig, DPOTrainer

        class Given(DPOTrainer):  # type: ignore[misc]
            """Takes the ids as they are."""

            def _prepare_dataset(self, dataset: Any, *_arguments: Any, **_options: Any) -> Any:
                return dataset

        own = {name: value for name, value in own.items() if name != "padding_free"}
        return Given(args=DPOConfig(**_told(job, steps, output), beta=job["beta"], **own), **given)
    from trl import SFTConfig, SFTTrainer

    own = {"dataset_kwargs": {"skip_prepare_dataset": True}, "packing": False, "remove_unused_columns": False, **own}
    return SFTTrainer(args=SFTConfig(**_told(job, steps, output), **own), **given)


def _told(job: Job, steps: int, output: str) -> dict[str, Any]:
    """Batch, order, optimiser and rate of the job, no recompute, no saving."""
    return {
        "output_dir": output,
        "use_cpu": job.get("device", "cpu") == "cpu",
        "gradient_checkpointing": False,
        "max_length": None,
        "per_device_train_batch_size": job["batch"],
        "max_steps": steps,
        "train_sampling_strategy": "sequential",
        "learning_rate": job["learning_rate"],
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": job["weight_decay"],
        "max_grad_norm": job["max_grad_norm"],
        "optim": "adamw_torch_fused",
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "logging_steps": 1,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
        "dataloader_pin_memory": False,
        "seed": job["seed"],
    }


def rows(job: Job, steps: int) -> dict[str, list[list[int]]]:
    """The rows of all steps in their order, as columns that are ready for the supervised trainer."""
    chosen = [job["rows"][i] for step in range(steps) for i in job["order"][step % len(job["order"])]]
    return {
        "input_ids": [row["input_ids"] for row in chosen],
        "labels": [row["labels"] for row in chosen],
        "attention_mask": [[1] * len(row["input_ids"]) for row in chosen],
    }


def pairs(job: Job, steps: int) -> dict[str, list[list[int]]]:
    """The same for the trainer of preferences. Ids behind the last trained one, which change nothing, are left out."""
    columns: dict[str, list[list[int]]] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
    for step in range(steps):
        part = [job["rows"][i] for i in job["order"][step % len(job["order"])]]
        half = len(part) // 2
        for better, worse in zip(part[:half], part[half:], strict=True):
            begin = _first_trained(better)
            if better["input_ids"][:begin] != worse["input_ids"][:begin] or begin != _first_trained(worse):
                raise ValueError("a pair's answers must stand behind the same ids")
            columns["prompt_ids"].append(better["input_ids"][:begin])
            columns["chosen_ids"].append(_answer(better, begin))
            columns["rejected_ids"].append(_answer(worse, begin))
    return columns


def _first_trained(row: dict[str, list[int]]) -> int:
    return next(i for i, label in enumerate(row["labels"]) if label != -100)


def _answer(row: dict[str, list[int]], begin: int) -> list[int]:
    end = max(i for i, label in enumerate(row["labels"]) if label != -100) + 1
    return row["input_ids"][begin:end]


def recorder(clock: StepClock, losses: list[float]) -> Any:
    """A callback that times the steps and keeps their losses."""
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_args: Any, **_options: Any) -> None:
            clock.start()

        def on_step_end(self, *_args: Any, **_options: Any) -> None:
            clock.step_ended()

        def on_log(self, *_args: Any, logs: dict[str, float], **_options: Any) -> None:
            losses.extend([float(logs["loss"])] if "loss" in logs else [])

    return Recorder()
