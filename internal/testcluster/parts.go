package testcluster

import (
	"context"
	_ "embed" // the manifest of the DNS
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// cniPlugins is where Debian has the CNI plugins.
const cniPlugins = "/usr/lib/cni"

//go:embed coredns.yaml
var coredns string

// certificates makes those of the API server, and one for each part, with a kubeconfig.
func (r *runner) certificates(server Server) error {
	ca, err := server.MakePKI()
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name, user string
		groups     []string
		hosts      []string
	}{
		{name: "kube-controller-manager", user: "system:kube-controller-manager"},
		{name: "kube-scheduler", user: "system:kube-scheduler"},
		{name: "kube-proxy", user: "system:kube-proxy"},
		// The kubelet also serves with its own.
		{"kubelet", "system:node:" + Node, []string{"system:nodes"}, []string{NodeAddress, Node}},
	} {
		if err := ca.Issue(part.name, part.user, part.groups, part.hosts...); err != nil {
			return err
		}
		if _, err := ca.Kubeconfig(part.name, server.URL()); err != nil {
			return err
		}
	}
	return nil
}

// parts returns the command lines of what runs beside the API server.
func (r *runner) parts() map[string][]string {
	pki := func(file string) string { return r.path("pki", file) }
	kubeconfig := func(name string) string { return "--kubeconfig=" + pki(name+".kubeconfig") }
	delegated := func(name string) []string {
		file := pki(name + ".kubeconfig")
		return []string{
			r.programs.kube, name, "--kubeconfig=" + file, "--authentication-kubeconfig=" + file, "--authorization-kubeconfig=" + file,
			"--leader-elect=false", "--bind-address=127.0.0.1",
		}
	}
	return map[string][]string{
		"containerd": {r.programs.containerd, "--config", r.path("conf", "containerd.toml")},
		"kube-controller-manager": append(delegated("kube-controller-manager"),
			"--service-account-private-key-file="+pki("tokens.key"), "--use-service-account-credentials", "--root-ca-file="+pki("ca.crt"),
			"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key"), "--client-ca-file="+pki("ca.crt"),
			"--allocate-node-cidrs=false", "--cluster-cidr="+PodRange+","+PodRange6, "--service-cluster-ip-range="+ServiceRange+","+ServiceRange6, "--flex-volume-plugin-dir="+r.path("volumeplugins"),
			// The default is so low that the controllers take five seconds to start.
			"--kube-api-qps=200", "--kube-api-burst=400",
			// Else a node is taken as lost when the API server comes back after longer than this, until its kubelet has said otherwise, and
			// kube-proxy closes all Services meanwhile: tests have the API server away for two minutes.
			"--node-monitor-grace-period=10m"),
		"kube-scheduler": delegated("kube-scheduler"),
		"kubelet": {
			r.programs.kube, "kubelet", kubeconfig("kubelet"), "--config=" + r.path("conf", "kubelet.yaml"),
			"--root-dir=" + r.path("kubelet"), "--node-ip=" + NodeAddress + "," + NodeAddress6, "--hostname-override=" + Node,
		},
		"kube-proxy": {
			r.programs.kube, "kube-proxy", kubeconfig("kube-proxy"), "--proxy-mode=iptables", "--cluster-cidr=" + PodRange + "," + PodRange6,
			"--hostname-override=" + Node, "--iptables-min-sync-period=100ms",
			// These are not for a network namespace to set.
			"--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
		},
	}
}

// writeConfig writes the configuration of containerd, of its network and of the kubelet.
func (r *runner) writeConfig() error {
	for _, dir := range []string{"conf/cni", "cni-bin"} {
		if err := os.MkdirAll(r.path(dir), 0o755); err != nil {
			return err
		}
	}
	// Links in a folder of our own: a test may install a plugin there.
	plugins, err := filepath.Glob(cniPlugins + "/*")
	if err != nil {
		return err
	}
	var bad []error
	for _, plugin := range plugins {
		bad = append(bad, os.Symlink(plugin, r.path("cni-bin", filepath.Base(plugin))))
	}
	fill := strings.NewReplacer("${DIR}", r.Dir, "${SOCKET}", r.socket(), "${PAUSE}", pauseImage, "${PODS}", PodRange, "${PODS6}", PodRange6, "${CGROUP}", r.cgroup(), "${DNS}", serviceIP(10), "${DOMAIN}", Domain)
	for name, text := range map[string]string{"cni/10-lateen.conflist": networkConfig, "containerd.toml": containerdConfig, "kubelet.yaml": kubeletConfig} {
		bad = append(bad, os.WriteFile(r.path("conf", name), []byte(fill.Replace(text)), 0o644))
	}
	return errors.Join(bad...)
}

const networkConfig = `{"cniVersion": "0.4.0", "name": "lateen-test", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": {
    "type": "host-local", "dataDir": "${DIR}/ipam", "ranges": [[{"subnet": "${PODS}"}], [{"subnet": "${PODS6}"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`

// Nobody may lower the oom_score_adj of containers without CAP_SYS_RESOURCE, which a container that runs CI may lack.
const containerdConfig = `version = 2
root = "${DIR}/containerd/root"
state = "${DIR}/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "${SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE}"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${DIR}/cni-bin"
    conf_dir = "${DIR}/conf/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`

// Images are never collected, since they could not be pulled again, and a disk that others have filled evicts nobody.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /${CGROUP}
failCgroupV1: false
failSwapOn: false
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: ${DIR}/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: ${DIR}/pki/kubelet.crt
tlsPrivateKeyFile: ${DIR}/pki/kubelet.key
containerRuntimeEndpoint: unix://${SOCKET}
clusterDNS: ["${DNS}"]
clusterDomain: ${DOMAIN}
resolvConf: /dev/null
podLogsDir: ${DIR}/pod-logs
volumePluginDir: ${DIR}/volumeplugins
enforceNodeAllocatable: []
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%"}
imageGCHighThresholdPercent: 100
imageMaximumGCAge: 0s
serializeImagePulls: false
registryPullQPS: 0
`

// dns starts CoreDNS, and returns when it and the node are ready and the namespace default can be used.
func (r *runner) dns(ctx context.Context, step func(string)) error {
	kubectl := func(stdin string, args ...string) error {
		return run(ctx, stdin, r.programs.kube, append([]string{"kubectl", "--kubeconfig", r.Kubeconfig(), "--cache-dir", r.path("kubectl")}, args...)...)
	}
	manifest := strings.NewReplacer("${IMAGE}", dnsImage, "${ADDRESS}", serviceIP(10), "${DOMAIN}", Domain).Replace(coredns)
	if err := kubectl(manifest, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	wait := fmt.Sprintf("--timeout=%v", startTime)
	if err := poll(ctx, "the node", func() error { return kubectl("", "get", "node", Node) }); err != nil {
		return err
	}
	if err := kubectl("", "wait", "--for=condition=Ready", "node/"+Node, wait); err != nil {
		return err
	}
	step("node ready")
	if err := kubectl("", "--namespace=kube-system", "rollout", "status", "deployment/coredns", wait); err != nil {
		return err
	}
	return poll(ctx, "the ServiceAccount default", func() error { return kubectl("", "get", "serviceaccount", "default") })
}
