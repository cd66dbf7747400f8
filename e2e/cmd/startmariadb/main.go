// Command startmariadb is what the image lateen-mariadb starts: it prepares a data folder for BookInfo's ratings v2, and becomes MariaDB's server.
//
// The folder is prepared once; a start that was killed halfway is begun anew. Each start sees to it that there is the database `test` with the
// table `ratings` of the old sample, and a user who may read it, with the password that MYSQL_PASSWORD holds. Of the password only its hash is
// written. Nobody else can sign in over the network.
package main

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // what MariaDB stores of a password
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// settings say what runs, and where.
type settings struct {
	server   string // path of mariadbd
	base     string // folder above its share
	data     string // folder that it may write to
	port     string
	user     string
	password string
}

func main() {
	s := settings{server: "/usr/sbin/mariadbd", base: "/usr", data: "/data", port: "3306", user: "ratings", password: os.Getenv("MYSQL_PASSWORD")}
	err := s.prepare()
	if err == nil {
		command := s.command()
		err = syscall.Exec(command[0], command, os.Environ()) // it returns only when it cannot
	}
	fmt.Fprintln(os.Stderr, "startmariadb: error:", err)
	os.Exit(1)
}

var userForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// prepare makes the system tables unless they are there, and what every start runs.
func (s settings) prepare() error {
	if s.password == "" {
		return errors.New("there is no password: set MYSQL_PASSWORD, from a Secret")
	}
	if !userForm.MatchString(s.user) {
		return fmt.Errorf("user %.40q: want small letters, digits and _", s.user)
	}
	if err := os.WriteFile(filepath.Join(s.data, "start.sql"), []byte(s.setup()), 0o600); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.data, "tables")); err == nil {
		return nil
	}
	half := filepath.Join(s.data, "half")
	if err := errors.Join(os.RemoveAll(half), os.Mkdir(half, 0o700)); err != nil {
		return err
	}
	if err := s.bootstrap(half); err != nil {
		return fmt.Errorf("make the system tables: %w", err)
	}
	return os.Rename(half, filepath.Join(s.data, "tables"))
}

// setup is what every start runs. The table is the old sample's.
func (s settings) setup() string {
	return fmt.Sprintf(`CREATE DATABASE IF NOT EXISTS test;
CREATE TABLE IF NOT EXISTS test.ratings (ReviewID INT NOT NULL, Rating INT, PRIMARY KEY (ReviewID));
INSERT IGNORE INTO test.ratings (ReviewID, Rating) VALUES (1, 5), (2, 4);
CREATE OR REPLACE USER '%[1]s'@'%%' IDENTIFIED BY PASSWORD '%[2]s';
GRANT SELECT ON test.* TO '%[1]s'@'%%';
`, s.user, stored(s.password))
}

// stored is what MariaDB stores of a password.
func stored(password string) string {
	once := sha1.Sum([]byte(password)) //nolint:gosec // as it does
	twice := sha1.Sum(once[:])         //nolint:gosec // as it does
	return fmt.Sprintf("*%X", twice)
}

// bootstrap makes the system tables in an empty folder.
func (s settings) bootstrap(dir string) error {
	found, err := filepath.Glob(filepath.Join(s.base, "share", "m*", "m*_system_tables.sql"))
	if err != nil || len(found) == 0 {
		return fmt.Errorf("%s has no share/mysql/mysql_system_tables.sql", s.base)
	}
	tables, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	cmd := exec.Command(s.server, append(s.options(dir), "--bootstrap")...)
	cmd.Stdin = bytes.NewReader(append([]byte("CREATE DATABASE mysql;\nUSE mysql;\n"), tables...))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// command is how the server is started. Its paths are short, since those of sockets are.
func (s settings) command() []string {
	return append(append([]string{s.server}, s.options(filepath.Join(s.data, "tables"))...),
		"--init-file="+filepath.Join(s.data, "start.sql"), "--socket="+filepath.Join(s.data, "socket"), "--pid-file="+filepath.Join(s.data, "pid"),
		"--bind-address=*", "--port="+s.port, "--skip-name-resolve", "--skip-log-bin",
		"--max-connect-errors=4294967295") // probes connect and say nothing
}

// options are those of every run: where everything is, and as little memory and disk as will do. What begins with "loose" is
// ignored by versions that do not know it.
func (s settings) options(dir string) []string {
	all := []string{
		"--no-defaults", "--basedir=" + s.base, "--datadir=" + dir, "--tmpdir=" + s.data,
		"--loose-innodb-use-native-aio=0", "--loose-innodb-buffer-pool-size=8M", "--loose-innodb-log-file-size=4M",
		"--loose-innodb-autoextend-increment=1", "--loose-aria-log-file-size=8M",
	}
	if os.Geteuid() == 0 {
		all = append(all, "--user=root") // it refuses root otherwise
	}
	return all
}
