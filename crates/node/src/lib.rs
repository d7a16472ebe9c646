//! The node's agent: kubelet, service proxy, DNS.
