"""What a CPU needs of its own, in one place: the library that multiplies, and layers that compute in another way."""
