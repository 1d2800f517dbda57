"""What a run will need, said before it is queued: memory, time, disk, devices. No torch; nothing heavier than headers and JSON is read."""
