package testcluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Folder is where `make kubernetes` puts what it builds, below the root of the checkout.
const Folder = "bin/kubernetes"

// Binary finds a program that `make kubernetes` builds, in the checkout that root is in: kube, coredns, pause or cluster.
// The error names the command that makes it.
func Binary(root, name string) (string, error) {
	file := filepath.Join(root, Folder, name)
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("there is no %s: `make kubernetes` builds it", filepath.Join(Folder, name))
	}
	return filepath.Abs(file)
}

// debian says in which package Debian has a program.
func debian() map[string]string {
	return map[string]string{
		"etcd": "etcd-server", "containerd": "containerd", "ctr": "containerd", "runc": "runc", "iptables": "iptables",
		"ip": "iproute2", "nsenter": "util-linux", "mount": "mount", "/usr/lib/cni/bridge": "containernetworking-plugins",
	}
}

// Program finds a program of the distribution. The error names the package that has it.
func Program(name string) (string, error) {
	found, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/usr/bin"} {
		if err == nil {
			break
		}
		found, err = exec.LookPath(filepath.Join(dir, filepath.Base(name))) // not everybody's PATH has sbin
	}
	if err != nil {
		return "", fmt.Errorf("there is no %s: `apt-get install %s` brings it", name, debian()[name])
	}
	return found, nil
}

// Root returns the root of the checkout of Lateen that a folder is in.
func Root(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "tools/cluster/kubernetes/go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is in no checkout of Lateen", dir)
		}
	}
}
