package mariadb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// program is an installed MariaDB.
type program struct {
	server    string // path of mariadbd
	base      string // folder above its sbin and share
	tables    string // path of the SQL that makes the system tables
	libraries string // folders for LD_LIBRARY_PATH; empty for what the machine has
}

// find finds the server that the tests of this checkout use.
func find() (program, error) {
	root, err := checkout()
	if err != nil {
		return program{}, err
	}
	return findIn(filepath.Join(root, "bin", "mariadb"), os.Getenv("PATH")+":/usr/sbin")
}

// checkout returns the folder of the checkout in which this test runs.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working folder")
		}
		dir = filepath.Dir(dir)
	}
}

// findIn looks in what was fetched, then in the folders of path.
func findIn(fetched, path string) (program, error) {
	const name = "mariadbd"
	if server := filepath.Join(fetched, "usr", "sbin", name); runnable(server) {
		p, err := beside(server)
		p.libraries = strings.Join(libraries(fetched), ":")
		return p, err
	}
	for _, dir := range filepath.SplitList(path) {
		if server := filepath.Join(dir, name); runnable(server) {
			return beside(server)
		}
	}
	return program{}, errors.New("this test needs a MariaDB server, and there is none (`make mariadb` fetches one)")
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// beside finds what belongs to a server. The names differ by version.
func beside(server string) (program, error) {
	server, err := filepath.EvalSymlinks(server)
	if err != nil {
		return program{}, err
	}
	base := filepath.Dir(filepath.Dir(server))
	tables, err := filepath.Glob(filepath.Join(base, "share", "m*", "m*_system_tables.sql"))
	if err != nil {
		return program{}, err
	}
	if len(tables) == 0 {
		return program{}, fmt.Errorf("%s has no share/mysql/mysql_system_tables.sql: `make mariadb` fetches a MariaDB that has", base)
	}
	return program{server: server, base: base, tables: tables[0]}, nil
}

// libraries are the folders of shared libraries that came with what was fetched.
func libraries(fetched string) []string {
	var all []string
	for _, parent := range []string{"usr/lib", "lib"} {
		found, _ := filepath.Glob(filepath.Join(fetched, parent, "*-linux-gnu*")) // the pattern is good
		all = append(all, found...)
	}
	return all
}
