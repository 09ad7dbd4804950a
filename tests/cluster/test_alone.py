"""The Ray that a stage starts for itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.cluster.conftest import ROOT

pytestmark = pytest.mark.ray
SCRIPT = """
import json, os, psutil
from stages.common import cluster
from stages.common.compute import RayPlan
os.environ.pop("RAY_ADDRESS", None)
with cluster.joined(RayPlan()):
    found = list(cluster.in_order(RayPlan(), abs, iter([1, -2, 3])))
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    heard = [c.laddr.ip for p in processes for c in p.net_connections("inet") if c.status == "LISTEN"]
left = psutil.wait_procs(processes[1:], timeout=20)[1]
print(json.dumps([found, heard, [p.name() for p in left if p.is_running()]]))
"""


def test_it_listens_on_loopback_alone_and_ends_with_the_stage() -> None:
    pytest.importorskip("ray", reason="needs the extra: pip install -e '.[ray]'")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found, heard, left = json.loads(done.stdout.splitlines()[-1])
    assert found == [1, 2, 3]
    assert heard and {ip.removeprefix("::ffff:") for ip in heard} == {"127.0.0.1"}
    assert left == []
