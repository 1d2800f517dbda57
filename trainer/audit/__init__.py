"""The audit: exact gradients and the measured effect of the MTP part, beside a run that it does not change (docs/method.md, Audit).

gradients.py   c and v2 on the same samples and across two halves
effect.py      the change of the objective with and without the MTP part
audit.py       what one audited step measures, and under which names
"""
