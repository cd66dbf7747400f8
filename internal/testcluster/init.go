package testcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Init is the first process of a cluster: it makes the mounts, starts the child that does everything else ([ArgRun]), and
// reaps whoever has lost its parent. It returns when the child has ended, and the kernel ends all others when it exits.
func Init(c Cluster) error {
	if os.Getpid() != 1 {
		return errors.New("only `up` starts this, in namespaces of its own")
	}
	if err := c.mount(); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", ArgRun, c.Root, c.Dir)
	cmd.Dir = c.Dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{os.NewFile(lifelineFD, "lifeline"), os.NewFile(reportFD, "report")}
	if err := cmd.Start(); err != nil {
		return err
	}
	// The ends of the pipes are the child's alone.
	for _, file := range cmd.ExtraFiles {
		_ = file.Close()
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case pid == cmd.Process.Pid:
			return fmt.Errorf("process %d ended: exit status %d, signal %d", pid, status.ExitStatus(), status.Signal())
		}
	}
}

// mount makes what the parts see of the file system. Nothing of it is seen outside, and it goes with the last process.
func (c Cluster) mount() error {
	// Private, so that nothing spreads outwards; then shared, as pods with mount propagation want it.
	for _, propagation := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("/: %w", err)
		}
	}
	upper, work := c.path("var", "upper"), c.path("var", "work")
	for _, dir := range []string{upper, work, c.path("tmp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// libcni, containerd and the kubelet write to fixed places below /var and /run.
	for _, m := range []struct{ kind, target, data string }{
		{"proc", "/proc", ""},
		{"overlay", "/var", fmt.Sprintf("lowerdir=/var,upperdir=%s,workdir=%s", upper, work)},
		{"tmpfs", "/run", "mode=755"},
	} {
		if err := unix.Mount(m.kind, m.target, m.kind, unix.MS_NOSUID|unix.MS_NODEV, m.data); err != nil {
			return fmt.Errorf("%s: %w", m.target, err)
		}
	}
	return nil
}
