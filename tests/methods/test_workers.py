"""Two training workers, each with half of a batch, agree with one that has the whole batch."""

from __future__ import annotations

WORKER = """
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from wsss.platform.method import Batch, build_experiment, methods
from wsss.platform.models.backbones import build
from wsss.platform.stages.training.trainer import Step

rank, meeting = int(sys.argv[1]), sys.argv[2]
LABELS = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 1, 1], [1, 0, 0]])


def batch(seed, part=slice(None)):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    cells = torch.arange(32) // 8
    plane = (4 * cells[:, None] + cells).expand(4, 32, 32)
    valid = torch.ones(4, 32, 32, dtype=torch.bool)
    shares = torch.rand(4, 4, 4, 4, generator=torch.Generator().manual_seed(seed)).softmax(1)
    whole = {"images": images, "labels": LABELS, "valid": valid, "plane": plane}
    return Batch(**{k: v[part] for k, v in {**whole, "probabilities": shares}.items()})


def gradients(method, part, wrap):
    torch.manual_seed(0)
    backbone = build(build_experiment(method.name, preset="scenes").network.backbone)
    backbone.pretrained = True  # running statistics, as backbones with ImageNet weights have
    network = method.network(3, backbone).train()
    for module in network.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0  # blocks are skipped at random, on each worker differently
    module = wrap(Step(network, method))
    for step in range(3):
        network.zero_grad()
        method.on_epoch_start(network, step)
        loss = torch.stack(list(module(batch(step, part), 0.9).values())).sum()
        loss.backward()
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


chosen = {n: c(c.Config()) for n, c in methods().items() if c.trains and not c.trains_as}
alone = {n: gradients(m, slice(None), lambda s: s) for n, m in chosen.items()}
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
for name, method in chosen.items():
    half = slice(2 * rank, 2 * rank + 2)
    shared = gradients(method, half, lambda s: DistributedDataParallel(s, broadcast_buffers=False))
    assert shared.keys() == alone[name].keys(), name
    for parameter, expected in alone[name].items():
        worst = (shared[parameter] - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
        assert worst < 1e-3, f"{name} {parameter}: {worst:.1e}"
dist.destroy_process_group()
print("fine", *chosen)
"""


def test_two_workers_and_one_have_the_same_gradients(two_workers):
    """All methods are compared, with their banks and clusters."""
    for out in two_workers(WORKER):
        assert out.split()[:3] == ["fine", "cam", "cpal"]
