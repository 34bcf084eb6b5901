"""What every rival that trains through TRL is told; imported by the rivals' own Pythons, so nothing of ours."""

from __future__ import annotations

from typing import Any

Job = dict[str, Any]


def trainer_arguments(job: Job, steps: int, output: str, **own: Any) -> Any:
    """TRL's configuration: batch, order, optimiser and rate of the job, no recompute, no saving; ``own`` is added."""
    from trl import SFTConfig

    return SFTConfig(
        output_dir=output,
        use_cpu=True,
        gradient_checkpointing=False,
        max_length=None,
        per_device_train_batch_size=job["batch"],
        max_steps=steps,
        train_sampling_strategy="sequential",
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=job["weight_decay"],
        max_grad_norm=job["max_grad_norm"],
        optim="adamw_torch_fused",
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        logging_steps=1,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        dataloader_pin_memory=False,
        seed=job["seed"],
        **own,
    )
