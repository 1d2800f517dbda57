"""A live copy of the metrics for another tool: a process of its own that reads the store and writes files, and is part of nothing else.

| module | what |
| --- | --- |
| `loop` | looks at the store again and again, and hands on what is new |
| `cursor` | how far each run is copied: kept with the copy, so that a mirror that is killed goes on where it stopped |
| `tensorboard` | writes event files that TensorBoard reads |
"""
