"""Optimisers: Muon for the matrices of the blocks, AdamW for everything else.

Muon (Keller Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024) replaces the
momentum of a matrix by the nearest orthogonal one, found by five Newton-Schulz steps.
"""
import torch


def orthogonal(g):
    """Nearest (semi-)orthogonal matrices of a stack [n, rows, cols], by quintic Newton-Schulz in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    flip = x.shape[1] > x.shape[2]
    if flip:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        m = x @ x.transpose(1, 2)
        x = a * x + (b * m + c * (m @ m)) @ x
    return (x.transpose(1, 2) if flip else x).float()


class Muon(torch.optim.Optimizer):
    """Steps whose size per entry is about that of AdamW with the same rate (scaled to rms 0.2)."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(list(params), dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            alike = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append(p)
            for (rows, cols), ps in alike.items():
                updates = []
                for p in ps:
                    m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    m.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(m, group["momentum"]))
                for p, u in zip(ps, orthogonal(torch.stack(updates))):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(u, alpha=-group["lr"] * 0.2 * max(rows, cols) ** 0.5)
