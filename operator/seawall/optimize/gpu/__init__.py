"""What only NVIDIA GPUs need: quantised graphs that TensorRT reads, engines, and a pre-check without a GPU.

The libraries here (nvidia-modelopt, TensorRT-RTX) pin their own onnx and want PyTorch, so they live in an
environment of their own (tools/venv gpu) and are asked through a process: graphs cross over as files.
"""
