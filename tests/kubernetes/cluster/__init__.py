"""A real Kubernetes of one node, for tests and for the curious: API server, etcd, controllers, scheduler, kubelet,
containerd.

Nothing of it is a stand-in. Kubernetes is compiled from its Go module, the rest are Debian's packages. It listens on
loopback and on a bridge of its own, and its pods reach that bridge and nothing else.
"""
