"""The method and the training program. Knows no queue, no database and no dashboard."""
