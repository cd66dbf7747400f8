package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/lateen-mesh/lateen/internal/process"
)

// setup runs in each new server before it answers, one statement a line. The table is the old sample's.
const setup = `CREATE USER '` + User + `'@'%' IDENTIFIED BY '` + Password + `';
GRANT ALL ON *.* TO '` + User + `'@'%' WITH GRANT OPTION;
CREATE DATABASE ` + Database + `;
CREATE TABLE ` + Database + `.ratings (ReviewID INT NOT NULL, Rating INT, PRIMARY KEY (ReviewID));
INSERT INTO ` + Database + `.ratings (ReviewID, Rating) VALUES (1, 5), (2, 4);
`

// errTaken says that somebody else listens on the address.
var errTaken = errors.New("address in use")

// start makes a server in an empty folder and returns when it answers. The context bounds the start, not the server.
func (p program) start(ctx context.Context, dir string, at netip.AddrPort) (string, *process.Process, error) {
	if err := p.install(ctx, dir); err != nil {
		return "", nil, fmt.Errorf("make the system tables: %w", err)
	}
	at, err := choose(ctx, at)
	if err != nil {
		return "", nil, err
	}
	running, err := p.run(ctx, dir, at)
	if err != nil {
		return "", nil, fmt.Errorf("start a server on %v: %w", at, err)
	}
	if err := answers(ctx, at.String()); err != nil {
		running.Kill()
		return "", nil, fmt.Errorf("ask the server on %v: %w", at, err)
	}
	return at.String(), running, nil
}

// choose replaces port 0 with a port that is free now.
func choose(ctx context.Context, at netip.AddrPort) (netip.AddrPort, error) {
	if at.Port() != 0 {
		return at, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", at.String())
	if err != nil {
		return at, err
	}
	defer l.Close()
	return netip.ParseAddrPort(l.Addr().String())
}

// install makes the system tables.
func (p program) install(ctx context.Context, dir string) error {
	tables, err := os.ReadFile(p.tables)
	if err != nil {
		return err
	}
	text := append([]byte("CREATE DATABASE mysql;\nUSE mysql;\n"), tables...)
	if err := os.WriteFile(filepath.Join(dir, "tables.sql"), text, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "setup.sql"), []byte(setup), 0o600); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		return err
	}
	out := process.NewLines(nil)
	arguments := append([]string{"-c", `exec "$@" <tables.sql`, "sh", p.server}, p.options(dir, os.Geteuid())...)
	running, err := process.Start(process.Command{
		Path: "/bin/sh", Args: append(arguments, "--bootstrap"), Dir: dir, Env: p.environment(), Stdout: out, Stderr: out,
	})
	if err != nil {
		return err
	}
	select {
	case <-running.Done():
	case <-ctx.Done():
		running.Kill()
		return ended(ctx.Err(), out)
	}
	if running.Err() != nil {
		return ended(running.Err(), out)
	}
	return nil
}

// run starts the server and returns when it says that it is ready.
func (p program) run(ctx context.Context, dir string, at netip.AddrPort) (*process.Process, error) {
	ready, taken := make(chan struct{}, 1), make(chan struct{}, 1)
	out := process.NewLines(func(line string) {
		switch {
		case strings.HasSuffix(line, ": ready for connections."):
			signal(ready)
		case strings.Contains(line, "Bind on TCP/IP port"):
			signal(taken)
		}
	})
	running, err := process.Start(process.Command{
		Path: p.server, Dir: dir, Env: p.environment(), Stdout: out, Stderr: out,
		Args: append(p.options(dir, os.Geteuid()),
			"--init-file="+filepath.Join(dir, "setup.sql"), "--skip-name-resolve", "--skip-log-bin",
			// In the data folder, since the paths of sockets are short.
			"--socket=socket", "--pid-file=pid",
			"--bind-address="+at.Addr().String(), "--port="+strconv.Itoa(int(at.Port()))),
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-ready:
		return running, nil
	case <-running.Done():
		err = errors.New(process.Describe(running.Err()))
	case <-ctx.Done():
		running.Kill()
		err = ctx.Err()
	}
	select {
	case <-taken:
		return nil, fmt.Errorf("%w: %w", errTaken, ended(err, out))
	default:
		return nil, ended(err, out)
	}
}

// signal says something once, whether or not somebody listens.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// options are those of every run: where everything is, and as little memory and disk as will do. What begins with
// "loose" is ignored by versions that do not know it.
func (p program) options(dir string, uid int) []string {
	all := []string{
		"--no-defaults", "--basedir=" + p.base, "--datadir=" + filepath.Join(dir, "data"), "--tmpdir=" + dir,
		"--loose-innodb-use-native-aio=0", // few machines allow it to everybody
		"--loose-innodb-buffer-pool-size=8M", "--loose-innodb-log-file-size=4M", "--loose-innodb-autoextend-increment=1",
		"--loose-innodb-flush-log-at-trx-commit=0", "--loose-aria-log-file-size=8M",
	}
	if uid == 0 {
		all = append(all, "--user=root") // it refuses root otherwise
	}
	return all
}

func (p program) environment() []string {
	return []string{"LD_LIBRARY_PATH=" + p.libraries}
}

// ended adds the program's last words to how it ended.
func ended(err error, out *process.Lines) error {
	return fmt.Errorf("%w\n\t%s", err, strings.Join(out.Last(), "\n\t"))
}

// answers asks the server for the rows that setup has made.
func answers(ctx context.Context, address string) error {
	db, err := open(address)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nobody is left to tell
	var rows int
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM ratings").Scan(&rows); err != nil {
		return err
	}
	if rows != 2 {
		return fmt.Errorf("the table ratings has %d rows, want 2", rows)
	}
	return nil
}

// open returns the server's database; the caller closes it.
func open(address string) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName, c.Logger = "tcp", address, User, Password, Database, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
