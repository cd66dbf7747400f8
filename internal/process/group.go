package process

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// groupAlive tells whether a process of the group is still running; the dead that wait to be reaped do not count.
func groupAlive(pgid int) bool {
	proc, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1) // what was read before an error counts
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		// All processes of the machine are asked, and few belong to the group: only their files are read.
		if group, err := unix.Getpgid(pid); err != nil || group != pgid {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // just ended
		}
		if state, group := readStat(stat); group == pgid && state != 'Z' && state != 'X' {
			return true
		}
	}
	return false
}

// readStat reads state and process group from /proc/PID/stat, proc_pid_stat(5): "PID (NAME) STATE PPID PGRP ...".
// The name may hold anything, parentheses included.
func readStat(stat []byte) (state byte, pgid int) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 3 || len(fields[0]) != 1 {
		return 0, 0
	}
	pgid, err := strconv.Atoi(string(fields[2]))
	if err != nil {
		return 0, 0
	}
	return fields[0][0], pgid
}
