//! What containerd, the kubelet, kube-proxy and the CNI plugins are told.

use std::path::Path;

use serde_json::{Value, json};

use super::super::address::{self, PODS};
use super::Plan;

/// containerd's TOML: its own places are below `/run` and `/var/lib`, which are the node's own.
pub(super) fn containerd(pause: &str, shim: &Path, plugins: &Path) -> String {
    let (shim, plugins) = (shim.display(), plugins.display());
    // Without a right that the harness may lack itself, no sandbox would start.
    format!(
        "version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{pause}'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
runtime_path = '{shim}'
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{plugins}']
conf_dir = '/run/cni/net.d'
use_internal_loopback = true
[plugins.'io.containerd.internal.v1.opt']
path = '/run/opt'
[plugins.'io.containerd.nri.v1.nri']
disable = true
"
    )
}

/// Pods have a link to the node each, and addresses of the node's prefixes.
pub(super) fn network(plan: &Plan) -> Value {
    let ((v4, v4_length), (v6, v6_length)) = address::pods(plan.number);
    json!({
        "cniVersion": "1.0.0",
        "name": "cluster",
        "plugins": [{
            "type": "ptp",
            "mtu": 1500,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni/ipam",
                "ranges": [
                    [{ "subnet": format!("{v4}/{v4_length}") }],
                    [{ "subnet": format!("{v6}/{v6_length}") }],
                ],
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
            },
        }],
    })
}

/// A short node lease makes a lost node known within ten seconds. Pods are never evicted for this machine's disk.
pub(super) fn kubelet() -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "nodeLeaseDurationSeconds": 8,
        "makeIPTablesUtilChains": false,
        "resolvConf": "/run/resolv.conf",
        "evictionHard": {
            "memory.available": "1Mi",
            "nodefs.available": "0%",
            "imagefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
    })
}

/// Settings of connection tracking belong to the whole machine: they stay as they are.
pub(super) fn proxy(plan: &Plan) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": { "kubeconfig": plan.proxy_config },
        "conntrack": {
            "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
        },
        "clusterCIDR": PODS,
    })
}
