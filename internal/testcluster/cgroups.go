package testcluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hierarchies returns where the hierarchies of cgroups are mounted: several of version 1, one of version 2, or both.
func hierarchies() ([]string, error) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && (fields[2] == "cgroup" || fields[2] == "cgroup2") {
			all = append(all, fields[1])
		}
	}
	return all, nil
}

// makeCgroups makes the cgroup of the pods in each hierarchy, since the kubelet wants to find it.
func (c Cluster) makeCgroups() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range all {
		dir := filepath.Join(hierarchy, c.cgroup())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// A cpuset of version 1 is empty at first, and takes no process.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			parent, err := os.ReadFile(filepath.Join(hierarchy, name))
			if err != nil {
				continue // another hierarchy
			}
			if err := os.WriteFile(filepath.Join(dir, name), parent, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeCgroups removes the cgroups of the pods, the innermost first. It fails as long as processes are in them.
func (c Cluster) removeCgroups() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	var bad []error
	for _, hierarchy := range all {
		var dirs []string
		err := filepath.WalkDir(filepath.Join(hierarchy, c.cgroup()), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			bad = append(bad, err)
		}
		for _, dir := range slices.Backward(dirs) {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				bad = append(bad, err)
			}
		}
	}
	return errors.Join(bad...)
}
