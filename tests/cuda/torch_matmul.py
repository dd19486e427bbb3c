#!/usr/bin/env python3
"""What PyTorch's matmul reaches on this card for prefill's shape, in the same run as ours; NOT RUN where there is none."""

try:
    import torch
except ImportError:
    torch = None

if torch is None or not torch.cuda.is_available():
    print("NOT RUN: no PyTorch that sees a card")
    raise SystemExit(0)

TOKENS, ROWS, COLUMNS, ROUNDS = 2048, 14336, 4096, 20
x = torch.randn(TOKENS, COLUMNS, device="cuda", dtype=torch.bfloat16)
weights = torch.randn(ROWS, COLUMNS, device="cuda", dtype=torch.bfloat16)
for _ in range(3):
    x @ weights.T
times = []
for _ in range(ROUNDS):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    x @ weights.T
    end.record()
    torch.cuda.synchronize()
    times.append(begin.elapsed_time(end) / 1000)
seconds = sorted(times)[ROUNDS // 2]
print(f"figure torch_matmul_tflops {2 * TOKENS * ROWS * COLUMNS / seconds / 1e12:.1f} TFLOP/s")
