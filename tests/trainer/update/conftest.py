"""What the update tests share."""

import pytest
import torch

from trainer.rollout.collect import Experience


@pytest.fixture
def experience(sequences) -> Experience:
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5, 0.0, 0.0, -0.3, 0.3])
    return Experience([], [], [], [], sequences, advantages, advantages, torch.zeros(sequences.mask.shape))
