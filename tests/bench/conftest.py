"""The benchmarks stand beside the package, in the folder that they are run from."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
