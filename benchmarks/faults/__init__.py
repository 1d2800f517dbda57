"""Does the stack keep its promises when it is broken? Trials that kill, freeze and fill parts of it, and count what was lost.

    python -m benchmarks.faults [--seed 0] [--lanes 2] [--seconds S] [--only FAULT] [--report]

Each trial is a home of its own with a real Redis, a real worker and a real SQLite or PostgreSQL; some train with the real trainer, the others
with a stand-in (`benchmarks.faults.standin`). The parts: `plan` draws the trials, `stack` runs a home's services, `faults` breaks them,
`evidence` compares files with rows, `verdict` compares ends with what was done, `trial` makes one trial, `report` writes the table.
"""
