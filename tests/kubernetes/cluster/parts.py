"""What each part of the cluster is told."""

from pathlib import Path
from typing import Any

from tests.kubernetes.cluster.bridge import Bridge

__all__ = [
    "API_PORT",
    "CONTAINERD",
    "NODE",
    "SOCKET",
    "api_server",
    "controllers",
    "etcd",
    "kubelet",
    "kubelet_settings",
]

NODE = "node0"
API_PORT = 6443
SOCKET = "containerd.sock"

CONTAINERD = """version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  # Where CAP_SYS_RESOURCE is missing, runc cannot lower a score, and ends with "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "{pause}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def kubelet_settings(folder: Path, bridge: Bridge) -> dict[str, Any]:
    """For the node's agent: signed by our authority, cgroups of its own, and never short of anything."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(folder / "pki" / "ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "address": bridge.address,
        "tlsCertFile": str(folder / "pki" / "kubelet.crt"),
        "tlsPrivateKeyFile": str(folder / "pki" / "kubelet.key"),
        "healthzPort": 0,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{bridge.name}",
        "containerRuntimeEndpoint": f"unix://{folder}/{SOCKET}",
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "5s",
    }


def etcd(folder: Path, port: int, peers: int) -> list[str]:
    """On loopback."""
    return [
        "--data-dir", str(folder / "etcd"),
        "--listen-client-urls", f"http://127.0.0.1:{port}",
        "--advertise-client-urls", f"http://127.0.0.1:{port}",
        "--listen-peer-urls", f"http://127.0.0.1:{peers}",
    ]  # fmt: skip


def api_server(folder: Path, address: str, etcd_port: int, patience_seconds: int | None) -> list[str]:
    """On the bridge, where pods could reach it."""
    pki = folder / "pki"
    taints = () if patience_seconds is None else ("not-ready", "unreachable")
    return [
        *(f"--default-{taint}-toleration-seconds={patience_seconds}" for taint in taints),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={pki}/api.crt",
        f"--tls-private-key-file={pki}/api.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--service-account-key-file={pki}/accounts.pub",
        f"--service-account-signing-key-file={pki}/accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=Node,RBAC",
        f"--kubelet-client-certificate={pki}/admin.crt",
        f"--kubelet-client-key={pki}/admin.key",
        "--kubelet-preferred-address-types=InternalIP",  # the node's name is in no DNS
    ]


def controllers(folder: Path, kubeconfig: Path, patience_seconds: int | None) -> list[str]:
    """Without a port of their own."""
    pki = folder / "pki"
    patience = [] if patience_seconds is None else [f"--node-monitor-grace-period={patience_seconds}s"]
    return [
        *patience,
        f"--kubeconfig={kubeconfig}",
        f"--service-account-private-key-file={pki}/accounts.key",
        f"--root-ca-file={pki}/ca.crt",
        "--allocate-node-cidrs=false",
        "--leader-elect=false",
        "--secure-port=0",
    ]


def kubelet(folder: Path, address: str) -> list[str]:
    """With `kubelet_settings` in kubelet.yaml."""
    return [
        f"--config={folder / 'kubelet.yaml'}",
        f"--kubeconfig={folder / 'kubelet.kubeconfig'}",
        f"--root-dir={folder / 'kubelet'}",
        f"--hostname-override={NODE}",
        f"--node-ip={address}",
    ]
