"""Tests of two training workers: each with half of a batch, they agree with one that has the whole
batch, and their rows and banks are the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from limits import HANG

WORKERS = """
import os
import signal
import sys
import traceback
import torch
import torch._dynamo  # which DistributedDataParallel imports
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from wsss.methods.cpal import Bank
from wsss.methods.ssc.method import SSC, SSCConfig
from wsss.platform.method import PADDING, Batch, build_experiment, methods
from wsss.platform.models.backbones import build
from wsss.platform.ops.collectives import broadcast_from_first, gather_rows, mean_over_workers
from wsss.platform.stages.training.label_learners import Boundaries, Segmenter
from wsss.platform.stages.training.trainer import Step

other = os.fork()  # both workers have the imports, which take most of the time
rank = 1 if other else 0


def end_both(*error):
    # Otherwise the other worker would wait for this one.
    traceback.print_exception(*error)
    os.kill(other or os.getppid(), signal.SIGKILL)
    os._exit(1)


sys.excepthook = end_both
LABELS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 0]])


def batch(seed, part=slice(None), superpixels=True):
    # The second worker has more labels, and two images with padding.
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    cells = torch.arange(32) // 8
    valid = torch.ones(4, 32, 32, dtype=torch.bool)
    valid[2, 20:] = valid[3, :, 12:] = False
    plane = torch.where(valid, 4 * cells[:, None] + cells, PADDING)
    images = images * valid[:, None]
    shares = torch.rand(4, 4, 4, 4, generator=torch.Generator().manual_seed(seed)).softmax(1)
    plane = plane if superpixels else torch.where(plane == PADDING, plane, plane % 4)
    whole = {"images": images, "labels": LABELS, "valid": valid, "plane": plane}
    return Batch(**{k: v[part] for k, v in {**whole, "probabilities": shares}.items()})


def gradients(method, part, wrap):
    torch.manual_seed(0)
    name = method.name if method.name in chosen else "cam"
    backbone = build(build_experiment(name, preset="scenes").network.backbone)
    backbone.pretrained = True  # running statistics, as backbones with ImageNet weights have
    network = method.network(3, backbone).train()
    for module in network.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0  # blocks are skipped at random, on each worker differently
    module, superpixels = wrap(Step(network, method)), method.name in chosen
    for step in range(3):
        network.zero_grad()
        method.on_epoch_start(network, step)
        loss = torch.stack(list(module(batch(step, part, superpixels), 0.9).values())).sum()
        loss.backward()
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


chosen = {n: c(c.Config()) for n, c in methods().items() if c.trains and not c.trains_as}
label_learners = {
    "boundaries": Boundaries(radius=3),
    "segmenter": Segmenter(scales=()),
    "balanced": Segmenter(scales=(0.5,), balanced=True),
}
shared_length = SSC(SSCConfig(gradient_share=0.5, warm_up=1, delta=1))
learners = {**chosen, "shared length": shared_length, **label_learners}
alone = {n: gradients(learners[n], slice(None), lambda s: s) for n in [*learners][rank::2]}
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)

rows = torch.arange(4.0).reshape(2, 2) + 10 * rank
assert gather_rows(rows).tolist() == [[0, 1], [2, 3], [10, 11], [12, 13]]
assert gather_rows(torch.tensor([rank == 0])).tolist() == [True, False]
assert mean_over_workers(torch.tensor([1.0 + rank, 4.0])).tolist() == [1.5, 4.0]
own = torch.full((2,), float(rank))
broadcast_from_first(own)
assert own.tolist() == [0, 0]

bank = Bank(2, 2, 3, 2)
anchors = torch.arange(4.0).reshape(1, 2, 2) + 10 * rank
for step in range(3):
    bank.push(anchors + 100 * step, torch.tensor([[rank == 0, True]]))
bank.cluster(0)
mine = torch.cat([b.double().flatten() for b in bank.state_dict().values()])
both = gather_rows(mine[None])
assert torch.equal(both[0], both[1])
assert bank.pushed.tolist() == [3, 6]
assert bank.rows[1, :, 0].tolist() == [112, 202, 212]

for name, method in learners.items():
    half = slice(2 * rank, 2 * rank + 2)
    shared = gradients(method, half, lambda s: DistributedDataParallel(s, broadcast_buffers=False))
    both = gather_rows(torch.cat([gradient.flatten() for gradient in shared.values()])[None])
    assert torch.equal(both[0], both[1]), name
    if name not in alone:
        continue  # the other worker compares them
    assert shared.keys() == alone[name].keys(), name
    for parameter, expected in alone[name].items():
        worst = (shared[parameter] - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
        assert worst < 1e-3, f"{name} {parameter}: {worst:.1e}"
dist.destroy_process_group()
os.write(1, " ".join(["fine", *learners, chr(10)]).encode())  # at once, as both have one output
code = os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) if other else 0
# The threads of gloo now and then abort a process at its end, see pytorch/pytorch#190489.
os._exit(code)
"""


def test_two_workers_and_one_have_the_same_gradients_and_two_the_same_bank(tmp_path: Path) -> None:
    """All methods are compared, with their banks and clusters, and what learns from labels."""
    words = [sys.executable, "-c", WORKERS, str(tmp_path / "meeting")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        words = line.split()
        assert words[:3] == ["fine", "cam", "cpal"]
        assert words[-5:] == ["shared", "length", "boundaries", "segmenter", "balanced"]
