//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Programs that run in pods of BookInfo.
const (
	application = "lateen" // as `lateen bookinfo`
	proxy       = "envoy"
	agent       = "lateen-agent"
)

// processes are those of a pod, named by its UID, that run a program; "": all of them, what holds its network together included. They are found on
// this machine, so that the cluster must be the project's own.
func (s *space) processes(uid, program string) []int {
	s.t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		s.t.Fatal(err)
	}
	var all []int
	for _, group := range groups {
		text, err := os.ReadFile(group)
		if err != nil || !bytes.Contains(text, []byte("pod"+uid)) {
			continue // it has ended, or is another's
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(group), "cmdline"))
		name, _, _ := bytes.Cut(line, []byte{0})
		if err != nil || len(line) == 0 || program != "" && filepath.Base(string(name)) != program {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(group)))
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, pid)
	}
	return all
}

// kill ends the processes of a pod that run a program, as kill -9 does.
func (s *space) kill(uid, program string) {
	s.t.Helper()
	all := s.processes(uid, program)
	if len(all) == 0 {
		s.t.Fatalf("no process of pod %s runs %q on this machine", uid, program)
	}
	for _, pid := range all {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Fatal(err)
		}
	}
}

// runsAgain returns when other processes than those of before run a program in a pod.
func (s *space) runsAgain(uid, program string, before []int) {
	s.t.Helper()
	s.await(program+" runs again", func() error {
		for _, pid := range s.processes(uid, program) {
			if !slices.Contains(before, pid) {
				return nil
			}
		}
		return errors.New("there is no new process")
	})
}

// podOf is the one pod of a selector, and its UID.
func (s *space) podOf(selector string) (name, uid string) {
	s.t.Helper()
	both := strings.Fields(s.kubectl("get", "pods", "--selector="+selector, "-o", "jsonpath={.items[*]['metadata.name','metadata.uid']}"))
	if len(both) != 2 {
		s.t.Fatalf("the pods of %s are %v", selector, both)
	}
	return both[0], both[1]
}

// podName is the one pod of a selector.
func (s *space) podName(selector string) string {
	s.t.Helper()
	name, _ := s.podOf(selector)
	return name
}

// A process of a pod that is killed costs no more than the requests that were in its hands, whichever it is: the application, its Envoy, the agent
// beside it, or all of them. What was on its way to a pod that cannot take it is taken by another.
func TestLoadKills(t *testing.T) {
	s, table, versions := patientBookInfo(t), newLoadTable(t), []string{"v2", "v3", "v1"}[:tenth(3)]
	s.open(reviewsCalled)
	for _, c := range []struct{ what, program string }{
		{"the application of a pod is killed", application},
		{"the Envoy of a pod is killed", proxy},
		{"the agent of a pod is killed", agent},
		{"everything in a pod is killed", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := &space{t, s.name}
			load := s.startLoads(table, reviewsCalled, "--expect=reviewer")
			for _, version := range versions {
				pod, uid := s.podOf("app=reviews,version=" + version)
				back := cmp.Or(c.program, application)
				had := s.processes(uid, back)
				s.kill(uid, c.program)
				s.runsAgain(uid, back, had)
				s.ready(pod)
			}
			load.stopWith(fmt.Sprintf("%d times %s", len(versions), c.what), len(versions))
			if seen := s.stars("", 12); seen["no reviews"] > 0 {
				t.Errorf("afterwards the pages show %v", seen)
			}
			s.await("pages of all versions", func() error {
				if seen := s.stars("", 12); seen["none"]*seen["black"] == 0 || len(seen) != 2 { // v3 runs the program of v2
					return fmt.Errorf("the pages show %v", seen)
				}
				return nil
			})
		})
	}
}
