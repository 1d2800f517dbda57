"""The store: tables, migrations, engine, writes, claims and bounded reads. Knows the trainer's events, nothing above it."""
