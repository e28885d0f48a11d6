"""Training: the task, the loop around it, and the checkpoints that make it resumable."""
