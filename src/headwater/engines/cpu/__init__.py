"""What is computed in another way on a CPU than elsewhere; all of it is here, and none of it runs on a GPU."""
