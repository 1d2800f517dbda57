"""One run in several processes, on one host or several: starting them, what each of them sees, and how they end together.

`launcher` and `rank` import no torch before they must, so that a refusal comes at once and a SIGTERM is heeded from the start.
"""
