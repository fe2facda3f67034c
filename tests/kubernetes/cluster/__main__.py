"""`make cluster`: a cluster of one node that stays until Ctrl-C."""

import signal
import sys
import time

from tests.kubernetes.cluster.node import running_node
from tests.kubernetes.cluster.programs import ClusterMissing


def main() -> None:
    """Run one, and say how to use it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        with running_node() as node:
            print(f"A cluster of one node, up after {time.monotonic() - began:.0f} s.")
            print(f"  export KUBECONFIG={node.kubeconfig}")
            print(f"Processes of this machine are at {node.address} for its pods. Stop with Ctrl-C.", flush=True)
            signal.pause()
    except ClusterMissing as missing:
        sys.exit(f"No cluster can be run here: {missing}")
    except KeyboardInterrupt:
        print("\nStopped.")


if __name__ == "__main__":
    main()
