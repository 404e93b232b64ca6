"""Why an engine ended, read from the last lines of its log: vLLM says the cause somewhere above its last line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from blocks.wording import one_line, without_secrets

Cause = Literal["gpu-out-of-memory", "no-kv-cache-memory", "weights-unloadable", "shared-memory-full", "node-disk-full"]

#: What vLLM, PyTorch and safetensors print, by cause; the first cause that matches counts. Memory comes first: a failed
#: allocation is often followed by errors about a model that is only half there.
_SAID: tuple[tuple[Cause, re.Pattern[str]], ...] = (
    (
        "no-kv-cache-memory",
        re.compile(
            r"No available memory for the cache blocks"
            r"|larger than the available KV cache memory"
            r"|larger than the maximum number of tokens that can be stored in KV cache"
        ),
    ),
    (
        "gpu-out-of-memory",
        re.compile(
            r"\bOutOfMemoryError\b|(?:CUDA|HIP|XPU)(?: error:)? out of memory|less than desired GPU memory utilization"
            r"|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED"
        ),
    ),
    # Before the disk, whose error is the same: only the name tells that it is the memory-backed volume at /dev/shm. PyTorch calls its files
    # there torch_<pid>_…, Python's multiprocessing psm_… and sem.…, NCCL nccl-….
    (
        "shared-memory-full",
        re.compile(
            r"/dev/shm\b.*No space left on device|No space left on device.*/dev/shm\b"  # noqa: S108 - it is looked for, not written to
            r"|No space left on device: '?/?(?:psm_|torch_|sem\.|nccl-)|/(?:psm_|torch_|nccl-)\S*>?:? No space left on device"
            r"|insufficient shared memory \(shm\)|[Uu]nable to (?:open|allocate) shared memory.*No space left on device"
            r"|Error while creating shared memory segment"
        ),
    ),
    ("node-disk-full", re.compile(r"No space left on device")),
    (
        "weights-unloadable",
        re.compile(
            r"Cannot find any model weights|SafetensorError|weights were not initialized from checkpoint"
            r"|Attempted to load weight|size mismatch for|There is no module or parameter named"
            r"|cannot read the weight file|is not (?:a )?valid JSON|does not hold a JSON object|not the path to a directory containing"
            r"|Model architectures .* (?:are not supported|failed to be inspected)|Unrecognized model in"
            r"|greater than the derived max_model_len|must be divisible by tensor parallel size"
            r"|contains custom code|trust_remote_code=True|config\.json is unusable|ValidationError: .* validation errors? for ModelConfig"
            r"|Unknown quantization method|is not a local folder"
        ),
    ),
)

#: Lines that only say that something went wrong elsewhere.
_POINTERS = re.compile(r"See root cause above|Engine core initialization failed|EngineDeadError|Traceback \(most recent call last\)")
_ERROR = re.compile(r"\b\w*(?:Error|Exception)\b\s*:|\bFATAL\b|\bcore dumped\b|Segmentation fault")


#: What is read of a log, from its end.
_READ_CHARACTERS = 1_000_000

#: Longest line that is quoted.
_QUOTED_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class LogFinding:
    """The line that tells why, and the cause that it names; no cause where the line is only the last error."""

    line: str
    cause: Cause | None


def read_log(text: str) -> LogFinding | None:
    """The line of a log that tells best why the process ended; none if there is no line at all."""
    # Before it is cut into lines: a key has many, of which only the first says what it is.
    lines = [line.strip() for line in without_secrets(text[-_READ_CHARACTERS:], _READ_CHARACTERS).splitlines() if line.strip()]
    for cause, said in _SAID:
        for line in lines:
            if said.search(line):
                return LogFinding(line=quoted(line), cause=cause)
    if not lines:
        return None
    errors = [line for line in lines if _ERROR.search(line) and not _POINTERS.search(line)]
    # Python prints an error below its traceback, so the last one is what ended the process.
    return LogFinding(line=quoted((errors or lines)[-1]), cause=None)


def quoted(line: str) -> str:
    """A line as it may be shown: without secrets and hidden signs, and not too long."""
    return one_line(line, _QUOTED_CHARACTERS)
