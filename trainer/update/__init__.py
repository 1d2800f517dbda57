"""The update phase: several mini-batches on one step's experience, each one optimiser step on policy and MTP losses.

minibatch.py   what a mini-batch holds, and how it is cut into micro-batches without changing the update
losses.py      which losses a configuration has, and where the gradient of each may go
measure.py     what is measured of a mini-batch while it is used
phase.py       the phase itself: log-probs -> c_hat, v2_hat -> lambda -> losses -> AdamW
"""
