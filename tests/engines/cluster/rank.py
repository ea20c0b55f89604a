"""One rank of the tests: runs the case that a line on its input names, and answers with a line.

python rank.py RANK RANKS STORE      (STORE: a file over which the ranks find each other)
"""

import datetime
import json
import sys
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
import cases  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch.distributed.device_mesh import DeviceMesh  # noqa: E402

import conftest  # noqa: F401, E402  shapes are checked here too


def main(rank, ranks, store):
    patience = datetime.timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks, timeout=patience)
    meshes = {n: DeviceMesh("cpu", list(range(n))) for n in range(1, ranks + 1)}
    for line in sys.stdin:
        asked = json.loads(line)
        mesh = meshes[asked["ranks"]]
        try:
            answer = {"found": cases.CASES[asked["case"]](mesh, **asked["given"])} if rank < mesh.size() else {}
        except Exception:  # noqa: BLE001  whatever it is, the test that asked must see it
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=ANSWERS, flush=True)


if __name__ == "__main__":
    ANSWERS, sys.stdout = sys.stdout, sys.stderr
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
