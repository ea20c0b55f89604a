"""How fast headwater works, and against whom: the same work, the same job, round by round in turn."""
