// Package bookinfo is the demo application: a page about one book, made by
// four small services that call one another over plain HTTP.
//
//	productpage ─┬─▶ details
//	             └─▶ reviews (v1, v2 black stars, v3 red stars) ──▶ ratings (v1, v2 ──▶ MySQL)
//
// It answers as the BookInfo sample of 2017 did: the same paths and JSON, the
// same headers passed on, the same timeouts and tries, including the flaw that
// fault injection is meant to find: productpage waits 2 x 3 s for reviews, while
// reviews v2 waits 10 s for ratings. The texts and the look are our own.
//
// New makes one service as an http.Handler, and Serve runs it. A service knows
// nothing of the mesh; its calls go wherever the transport sends them, by default
// to the proxy that HTTP_PROXY names. Nothing is stored, on disk or in memory.
//
// v2 of ratings reads its stars from MySQL or MariaDB over TCP, which no HTTP
// proxy carries: from the rows of `SELECT ReviewID, Rating FROM ratings` in the
// database `test`. [Database] or the environment says where: DB_TYPE=mysql and
// MYSQL_DB_HOST, which together also make v2 the default version of ratings, then
// MYSQL_DB_PORT, MYSQL_DB_USER and MYSQL_DB_PASSWORD. A request waits for two
// seconds at most; without an answer from the database its own is status 500, and
// the log has the reason, never the password.
package bookinfo

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

// Config says how one service runs. The zero value is usable.
type Config struct {
	// Version is what this instance is: v1 (the default), v2 or v3 of reviews,
	// v1 or v2 of ratings (the default is v2 if Database has type mysql and a
	// host, else v1). The other services take no notice of it.
	Version string
	// Instance is the name that reviews gives in its answers. The default is
	// $LATEEN_WORKLOAD; empty leaves it out.
	Instance string
	// Details, Reviews and Ratings are where the others are, as
	// http://HOST[:PORT]. The default is the service's own name and port 9080.
	Details, Reviews, Ratings string
	// Database is where v2 of ratings has its stars from.
	Database Database
	// Transport carries the calls to other services. The default keeps
	// connections alive and obeys HTTP_PROXY and NO_PROXY.
	Transport http.RoundTripper
	// Logger gets one line per request and one per failed call. The default
	// drops them.
	Logger *slog.Logger
}

// New makes the named service.
func New(service string, c Config) (http.Handler, error) {
	build, known := services()[service]
	if !known {
		return nil, fmt.Errorf("no service %q in BookInfo: it has %s", service, strings.Join(Services(), ", "))
	}
	c = c.withDefaults(service)
	h, err := build(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", service, err)
	}
	return logged(h, c.Logger), nil
}

// Services returns the names that New knows, sorted.
func Services() []string {
	return slices.Sorted(maps.Keys(services()))
}

func services() map[string]func(Config) (http.Handler, error) {
	return map[string]func(Config) (http.Handler, error){
		"details":     newDetails,
		"productpage": newProductPage,
		"ratings":     newRatings,
		"reviews":     newReviews,
	}
}

func (c Config) withDefaults(service string) Config {
	c.Database = c.Database.withDefaults()
	if service == "ratings" && c.Database.complete() {
		setDefault(&c.Version, "v2")
	}
	setDefault(&c.Version, "v1")
	setDefault(&c.Instance, os.Getenv("LATEEN_WORKLOAD"))
	setDefault(&c.Details, "http://details:9080")
	setDefault(&c.Reviews, "http://reviews:9080")
	setDefault(&c.Ratings, "http://ratings:9080")
	if c.Transport == nil {
		c.Transport = defaultTransport()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// baseURL checks where a service is said to be. A path is allowed and is put
// before the paths of the calls.
func baseURL(service, address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("address of %s: %w", service, err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("address of %s: %q is not of the form http://HOST[:PORT]", service, address)
	}
	return u, nil
}

func unknownVersion(version string, known ...string) error {
	return fmt.Errorf("no version %q: there is %s", version, strings.Join(known, ", "))
}
