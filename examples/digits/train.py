"""Trains a small convolutional network on scikit-learn's bundled handwritten digits.

Writes `digits-v1.onnx` and `digits-v2.onnx` (same task, other weights: what an update rolls out),
`digits-v1.pt2` (the first as PyTorch's exported program), `digits-train.npz` with the images and labels that
both learned from, `digits-test.npz` with those that neither has seen, and `digits-expected.npz` with the
scores that PyTorch gives for the latter: the answers that a server must repeat.

    python examples/digits/train.py --out /tmp/digits
"""

import argparse
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

OPSET = 18
BATCH = 64


@dataclass(frozen=True)
class Variant:
    name: str
    seed: int
    channels: int
    epochs: int


VARIANTS = (
    Variant("digits-v1", seed=7, channels=32, epochs=60),
    Variant("digits-v2", seed=11, channels=48, epochs=60),
)


class DigitsNet(nn.Module):
    """8x8 grey image -> ten scores."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(2 * channels * 16, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    return train_test_split(images, digits.target, test_size=0.3, random_state=0, stratify=digits.target)


def trained(variant: Variant, images: np.ndarray, labels: np.ndarray) -> DigitsNet:
    torch.manual_seed(variant.seed)
    net = DigitsNet(variant.channels)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, variant.epochs)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(variant.epochs):
        for chosen in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimiser.step()
        schedule.step()
    return net.eval()


def program(net: DigitsNet) -> torch.export.ExportedProgram:
    return torch.export.export(
        net, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )


def exported(net: DigitsNet, path: Path) -> None:
    torch.onnx.export(
        net,
        (torch.zeros(2, 1, 8, 8),),
        str(path),
        input_names=["image"],
        output_names=["scores"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
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
    # The exporter looks for torchvision, which these networks do not use, and says so once an operator.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    train_x, test_x, train_y, test_y = split()
    np.savez_compressed(out / "digits-train.npz", image=train_x, labels=train_y.astype(np.int64))
    np.savez_compressed(out / "digits-test.npz", image=test_x, labels=test_y.astype(np.int64))
    expected: dict[str, np.ndarray] = {}
    for variant in VARIANTS:
        began = time.monotonic()
        net = trained(variant, train_x, train_y)
        with torch.no_grad():
            scores = net(torch.from_numpy(test_x)).numpy()
        expected[variant.name] = scores
        right = scores.argmax(1) == test_y
        path = out / f"{variant.name}.onnx"
        exported(net, path)
        if variant is VARIANTS[0]:
            torch.export.save(program(net), path.with_suffix(".pt2"))
        print(
            json.dumps(
                {
                    "model": path.name,
                    "accuracy": round(float(right.mean()), 4),
                    "testImages": len(test_y),
                    "bytes": path.stat().st_size,
                    "seconds": round(time.monotonic() - began, 1),
                }
            )
        )
    np.savez_compressed(out / "digits-expected.npz", **expected)


if __name__ == "__main__":
    main()
