package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// processors returns those on which this process may run.
func processors() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var list []int
	for cpu := 0; len(list) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list, nil
}

// pin makes the process run on these processors only. A new thread has them from the one that made it, so it looks for
// threads until there are none that it has not seen.
func pin(cpus []int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	seen := map[string]bool{}
	for more := true; more; {
		more = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, task := range tasks {
			if seen[task.Name()] {
				continue
			}
			seen[task.Name()], more = true, true
			id, err := strconv.Atoi(task.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(id, &set); err != nil {
				return fmt.Errorf("pin thread %d: %w", id, err)
			}
		}
	}
	return nil
}

// startOn starts a program that runs on this processor only, -1: on those of this process. A process has the processors of the
// thread that started it, which gets its own back.
func startOn(cmd *exec.Cmd, cpu int) error {
	if cpu < 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var own, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		return err
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &own))
}

// part gives the first processor to the server and all others to this process until the benchmark is over. Where there
// is only one, both share it.
func part(tb testing.TB) (server int) {
	tb.Helper()
	all, err := processors()
	if err != nil {
		tb.Fatal(err)
	}
	if len(all) < 2 {
		return all[0]
	}
	if err := pin(all[1:]); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := pin(all); err != nil {
			tb.Error(err)
		}
	})
	return all[0]
}
