// Package testcluster has a real one-node Kubernetes run on a machine without a container engine, for tests.
//
// A cluster is one process tree: [Cluster.Up] starts this program again as the first process of a process, mount and network
// namespace of their own ([Init]); its child ([Run]) starts etcd, containerd and the parts of Kubernetes, waits until nodes and
// DNS are ready, and stays. So the kernel ends everything, containers, mounts and interfaces included, when that first process
// is killed, and what the parts write to fixed places below /var and /run goes to the folder of the cluster. Only that folder
// and the cgroups of the pods outlive it; [Cluster.Down] removes them, also after a start that was killed halfway: nothing that
// is left is ever taken up again.
//
// Nothing of it can be reached from outside but the socket of containerd: whoever talks to the cluster runs in its network
// namespace ([Cluster.Command]). So clusters of several checkouts run beside one another, with the same addresses.
//
// Pods and, where they ask for it, Services have addresses of both families, IPv4 first.
//
// It needs Linux and root, what `make kubernetes` and `make images` build, and Debian's etcd, containerd, runc, CNI plugins and
// iptables. Nothing can be pulled, and no packet leaves the cluster. [Server] is its API server, which package kubetest starts
// alone.
package testcluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// What is the same in every cluster.
const (
	// Domain is the cluster domain.
	Domain = "cluster.local"
	// ServiceRange has the ClusterIPs, and ServiceRange6 those of Services that want one of IPv6 too.
	ServiceRange  = "10.96.0.0/16"
	ServiceRange6 = "fd00:10:96::/112"
	// PodRange and PodRange6 have the addresses of pods: each has one of both.
	PodRange  = "10.244.0.0/16"
	PodRange6 = "fd00:10:244::/64"
	// Node is the name of the only node, and NodeAddress and NodeAddress6 its addresses.
	Node         = "node1"
	NodeAddress  = "10.99.0.1"
	NodeAddress6 = "fd00:10:99::1"
)

// serviceIP is the nth ClusterIP.
func serviceIP(n int) string { return fmt.Sprintf("10.96.0.%d", n) }

// Cluster says where a cluster runs.
type Cluster struct {
	// Root is the checkout whose binaries and images it is made of.
	Root string
	// Dir is the folder with everything that it writes. It is made, and removed as a whole.
	Dir string
}

// Default is the cluster of a checkout: each has another folder, below that for temporary files.
func Default(root string) Cluster {
	return Cluster{Root: root, Dir: filepath.Join(os.TempDir(), "lateen-cluster-"+short(root))}
}

// short makes a path a short name.
func short(path string) string {
	hash := sha256.Sum256([]byte(path))
	return hex.EncodeToString(hash[:4])
}

// Kubeconfig is the file of the cluster's administrator. It is of use in the cluster's network namespace only.
func (c Cluster) Kubeconfig() string { return c.path("pki", "admin.kubeconfig") }

// Logs is the folder with the log of each part.
func (c Cluster) Logs() string { return c.path("logs") }

func (c Cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.Dir}, elements...)...)
}

// socket is where containerd answers.
func (c Cluster) socket() string { return c.path("containerd.sock") }

// cgroup is the one below which all pods are, in each hierarchy.
func (c Cluster) cgroup() string { return "lateen-" + short(c.Dir) }

// Command returns a command that runs in the network namespace of the cluster, with KUBECONFIG set and kubectl on PATH. It is
// an error if the cluster is not up.
func (c Cluster) Command(name string, args ...string) (*exec.Cmd, error) {
	pid, up := c.up()
	if !up {
		return nil, errDown
	}
	nsenter, err := Program("nsenter")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(nsenter, append([]string{"--target", strconv.Itoa(pid), "--net", "--", name}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "PATH="+filepath.Join(c.Root, Folder)+":"+os.Getenv("PATH"))
	return cmd, nil
}

// up returns the process ID of the first process of the cluster, if the cluster is up: it became ready, and is not about to end.
func (c Cluster) up() (pid int, up bool) {
	pid, up = c.running()
	if !up {
		return 0, false
	}
	if _, err := os.Stat(c.path(readyFile)); err != nil {
		return 0, false
	}
	// The kernel takes the memory of a process first, and its command line with it.
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return pid, err == nil && len(line) > 0
}

// running returns the process ID of the first process of the cluster, if there is one, be it starting or ending.
func (c Cluster) running() (pid int, up bool) {
	text, err := os.ReadFile(c.path("pid"))
	if err != nil {
		return 0, false
	}
	first, born, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	pid, err = strconv.Atoi(first)
	return pid, err == nil && born != "" && bornAt(pid) == born
}

// bornAt returns when a process was started, in ticks since the start of the machine; "" if it has ended. So a process
// number that was used again is never taken for ours.
func bornAt(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// After the name, which may hold anything: the state is the first field, the start time the twentieth.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fields[19]
}
