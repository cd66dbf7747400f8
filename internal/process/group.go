package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// groupAlive tells whether a process of the group is still running; the dead that wait to be reaped do not count.
func groupAlive(pgid int) bool {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return false
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
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
