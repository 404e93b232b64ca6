"""Trains a small Llama on texts, byte by byte, where vLLM is installed: `python train.py FOLDER TEXT...`, with its config in the folder.

A model of random weights is unsure of everything. This one has seen the texts a few times, so that it is sure of some bytes and not of
others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, LlamaForCausalLM

STEPS, BATCH, LENGTH = 400, 16, 128


def main(folder: str, *texts: str) -> None:
    """Train, and write `model.safetensors` into the folder."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = torch.tensor(list(b"\n".join(Path(text).read_bytes() for text in texts)))
    model = LlamaForCausalLM(AutoConfig.from_pretrained(folder))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for step in range(STEPS):
        begins = torch.randint(0, len(data) - LENGTH, (BATCH,))
        batch = torch.stack([data[begin : begin + LENGTH] for begin in begins])
        loss = model(batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"{step + 1} steps, {loss.item():.2f} nats a byte", file=sys.stderr, flush=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, Path(folder, "model.safetensors"), {"format": "pt"})


if __name__ == "__main__":
    main(*sys.argv[1:])
