"""What leaves a run: a model with its card to a hub, a benchmark for another harness. Reads folders only."""
