package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mariadb returns the folder below which MariaDB is installed: what `make mariadb` fetches, else the system, which tools/mariadb/fetch takes
// then too; "" if there is none.
func mariadb(bin, system string) string {
	fetched, err := filepath.Abs(filepath.Join(bin, "mariadb"))
	if err != nil {
		return ""
	}
	for _, root := range []string{fetched, system} {
		if _, err := os.Stat(filepath.Join(root, mariadbServer)); err == nil {
			return root
		}
	}
	return ""
}

const mariadbServer = "usr/sbin/mariadbd"

// mariadbFiles are the server and what it reads, where Debian has them: messages, character sets and the tables of the system, and the libraries
// that came with it or that this machine has.
func mariadbFiles(root string) (files, error) {
	all := files{"/data": {fs.ModeDir | 0o755, nil}}
	read := func(path string) error {
		data, err := os.ReadFile(path)
		if err == nil {
			all["/"+strings.TrimPrefix(strings.TrimPrefix(path, root), "/")] = file{0o755, data}
		}
		return err
	}
	server := filepath.Join(root, mariadbServer)
	own, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	if err != nil {
		return nil, err
	}
	needed, err := libraries(server, own...)
	if err != nil {
		return nil, err
	}
	for _, pattern := range []string{"english/errmsg.sys", "charsets/*.xml", "m*_system_tables.sql"} {
		found, err := filepath.Glob(filepath.Join(root, "usr/share/m*", pattern))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s has no usr/share/mysql/%s", root, pattern)
		}
		needed = append(needed, found...)
	}
	for _, path := range append(needed, server) {
		if err := read(path); err != nil {
			return nil, err
		}
	}
	return all, nil
}
