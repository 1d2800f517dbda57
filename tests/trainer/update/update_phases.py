"""Update phases on copies of a tiny model."""

import copy

import torch
from accelerate import Accelerator
from torch.distributed.device_mesh import init_device_mesh

from trainer.launch.sharding import shard
from trainer.objectives.tracker import CoefficientTracker
from trainer.update.phase import Updater

REGIMES = {
    "off": {"kind": "off"},
    "detach": {"kind": "detach"},
    "ce": {"kind": "ce", "coefficient": 0.5},
    "policy": {"kind": "policy", "coefficient": 0.5},
    "policy-own": {"kind": "policy", "coefficient": 0.5, "ratio": "own"},
    "occ": {"kind": "occ"},
    "occ-own": {"kind": "occ", "reference": "own", "ratio": "own", "clip": [0, 1]},
    "occ-loss": {"kind": "occ", "apply_to": "loss", "estimator": "token_mean"},
    "occ-previous": {"kind": "occ", "window": "previous", "ema": 0.5},
    "occ-ema": {"kind": "occ", "ema": 0.5},
    "occ-exact": {"kind": "occ", "exact_every": 2},
    "oracle": {"kind": "oracle"},
    "oracle-own": {"kind": "oracle", "ratio": "own", "clip": [0, 1]},
}

WARM = {"warm": {"kind": "warm"}, "warm-ce": {"kind": "warm", "loss": "ce"}}
"""Without a policy loss."""


class Phase:
    """One update phase on a copy of a model."""

    def __init__(self, joint, config, device="cpu"):
        self.joint = copy.deepcopy(joint).to(device)
        self.joint.mtp.requires_grad_(config.trains_heads)
        self.joint.trunk.requires_grad_(config.trains_trunk)
        if config.model.gradient_checkpointing:
            self.joint.recompute_blocks()
        if config.launch.sharding == "full":
            shard(self.joint, init_device_mesh(device, (config.launch.num_processes,)))
        trained = [parameter for parameter in self.joint.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=1.0)  # Adam would hide the size of a gradient
        tracker = CoefficientTracker(config.regime, self.joint.depths)
        self.updater = Updater(config, self.joint, optimizer, tracker, Accelerator(cpu=device == "cpu"))

    def run(self, experience):
        return list(self.updater.run(experience, self.updater.old_log_probs(experience.sequences)))

    def state(self, part):
        return {name: tensor.clone() for name, tensor in getattr(self.joint, part).state_dict().items()}


def same(first, second) -> bool:
    """Whether two state dicts are equal bit for bit."""
    return all(torch.equal(first[name], second[name]) for name in first)
