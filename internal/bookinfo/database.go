package bookinfo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	// queryTimeout bounds everything that one request needs of the database:
	// the wait for a connection, the connection and the answer.
	queryTimeout = 2 * time.Second
	// maxConns bounds the connections that are open at a time.
	maxConns = 8
	// connIdle is how long a connection is kept without use.
	connIdle = time.Minute
	// starsQuery reads no more than a page could show.
	starsQuery = "SELECT ReviewID, Rating FROM ratings ORDER BY ReviewID LIMIT 50"
)

// Database says where v2 of ratings reads its stars: in MySQL or MariaDB, from
// the table `ratings` (ReviewID INT, Rating INT) of the database `test`.
type Database struct {
	// Type is the kind of database. The default is $DB_TYPE, else mysql, which
	// is all that there is.
	Type string
	// Host is the server, as HOST or HOST:PORT. The default is $MYSQL_DB_HOST,
	// else mysqldb.
	Host string
	// Port is the server's port, unless Host has one. The default is
	// $MYSQL_DB_PORT, else 3306.
	Port string
	// User signs in. The default is $MYSQL_DB_USER, else root.
	User string
	// Password goes with User and is never logged. The default is
	// $MYSQL_DB_PASSWORD.
	Password string
}

func (d Database) withDefaults() Database {
	setDefault(&d.Type, os.Getenv("DB_TYPE"))
	setDefault(&d.Host, os.Getenv("MYSQL_DB_HOST"))
	setDefault(&d.Port, os.Getenv("MYSQL_DB_PORT"))
	setDefault(&d.User, os.Getenv("MYSQL_DB_USER"))
	setDefault(&d.Password, os.Getenv("MYSQL_DB_PASSWORD"))
	return d
}

// mysqlType is the one kind of database that v2 knows.
const mysqlType = "mysql"

// complete tells that somebody has said which database to use, which makes v2
// the default.
func (d Database) complete() bool { return d.Type == mysqlType && d.Host != "" }

// open prepares connections and makes none yet: a database that is away is a
// failure of the requests that need it. What it opens lives as long as the
// process.
func (d Database) open() (*sql.DB, error) {
	setDefault(&d.Type, mysqlType)
	setDefault(&d.Host, "mysqldb")
	setDefault(&d.Port, "3306")
	setDefault(&d.User, "root")
	if d.Type != mysqlType {
		return nil, fmt.Errorf("no database %q: there is %s", d.Type, mysqlType)
	}
	address, err := d.address()
	if err != nil {
		return nil, err
	}
	c := mysql.NewConfig()
	c.Net, c.Addr, c.DBName, c.User, c.Passwd = "tcp", address, "test", d.User, d.Password
	// A pool that was full opens connections for requests that wait, without
	// their contexts: these bound them.
	c.Timeout, c.ReadTimeout, c.WriteTimeout = queryTimeout, queryTimeout, queryTimeout
	c.Logger = &mysql.NopLogger{} // its errors are returned as well
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxIdleTime(connIdle)
	return db, nil
}

// errAddress does not say what it found instead: that may hold a password.
var errAddress = errors.New("address of the database: it is not of the form HOST[:PORT] with a port from 1 to 65535")

// address is where the server is, as HOST:PORT.
func (d Database) address() (string, error) {
	host, port, err := net.SplitHostPort(d.Host)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(d.Host, "["), "]"), d.Port
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@[] ") {
		return "", errAddress
	}
	return net.JoinHostPort(host, port), nil
}

// starsIn is the source of v2. Row 1 of the table is Reviewer1, and so on; a
// row without a rating is left out.
func starsIn(db *sql.DB) starSource {
	return func(ctx context.Context, _ int) (map[string]int, error) {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		rows, err := db.QueryContext(ctx, starsQuery)
		if err != nil {
			return nil, err
		}
		defer func() { _ = rows.Close() }() // rows.Err tells
		stars := map[string]int{}
		for rows.Next() {
			var review int
			var rating sql.Null[int]
			if err := rows.Scan(&review, &rating); err != nil {
				return nil, err
			}
			if rating.Valid {
				stars["Reviewer"+strconv.Itoa(review)] = rating.V
			}
		}
		return stars, rows.Err()
	}
}
