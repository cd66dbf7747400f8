package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

// The token of a ServiceAccount is read anew each time, is good for any number of certificates, and is shown where a certificate
// does not do: for the first one, when that has expired, and in turn with one that is refused.
func TestLastingTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var n atomic.Int64 // tokens that were read
		b.keeper.lasting = true
		b.keeper.tokens = func(context.Context) (string, error) {
			return fmt.Sprint("token ", n.Add(1)), nil
		}
		var shown []string
		fine := func(ctx context.Context, r request) (*credential, time.Time, error) {
			shown = append(shown, r.token)
			if r.token != "" {
				r.token = b.direct.token(web) // what the authority takes for it here
			}
			return b.direct.sign(ctx, r)
		}
		away := func(ctx context.Context, r request) (*credential, time.Time, error) {
			shown = append(shown, r.token)
			return refuse(codes.Unavailable, "away")(ctx, r)
		}
		expect := func(what string, want ...string) {
			t.Helper()
			b.mu.Lock()
			defer b.mu.Unlock()
			if !slices.Equal(slices.Compact(shown), want) {
				t.Errorf("%s: shown is %q, want %q", what, slices.Compact(shown), want)
			}
			shown = nil
		}
		b.change(fine)
		b.run(t)
		expect("first", "token 1")
		b.pass(31 * time.Minute) // half of its life
		expect("renewal", "")
		b.change(away)
		b.pass(2 * time.Hour) // it has expired meanwhile
		b.mu.Lock()
		last := shown[len(shown)-2:]
		if n.Load() < 10 || last[0] == "" || last[1] == "" || last[0] == last[1] {
			t.Errorf("%d tokens were read; shown at last is %q", n.Load(), last)
		}
		shown = nil
		b.mu.Unlock()
		b.change(fine)
		b.pass(10 * time.Second)
		expect("back", fmt.Sprint("token ", n.Load()))
		b.change(func(ctx context.Context, r request) (*credential, time.Time, error) {
			if r.token != "" {
				return fine(ctx, r)
			}
			shown = append(shown, "")
			return refuse(codes.Unauthenticated, "another root")(ctx, r)
		})
		b.pass(40 * time.Minute)
		expect("refused", "", fmt.Sprint("token ", n.Load()))
	})
}

// The file is read when a token is needed, whatever its mode: the kubelet makes it so that others in the pod can read it.
func TestServiceAccountTokens(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	tokens := serviceAccountTokens(path)
	if _, err := tokens(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("without a file: %v", err)
	}
	for _, c := range []struct{ text, want, err string }{
		{"one\n", "one", ""}, {"two", "two", ""}, {"", "", errNoToken.Error()}, {"a b", "", "something else"}, {strings.Repeat("x", 20<<10), "", "too large"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := tokens(t.Context()); got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%.20q: %.20q, %v", c.text, got, err)
		}
	}
}

// What cannot be is told before anything runs.
func TestServiceAccountFlags(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"does not say how the control plane is known": func(c *Config) { c.RootCert = "" },
		"tokens are to come from two places":          func(c *Config) { c.TokenFile = "x" },
		"nothing says who gives the identity":         func(c *Config) { c.PlainXDS, c.RootCert = "127.0.0.1:1", "" },
		"":                                            func(*Config) {},
	} {
		c := Config{Node: "web-0.default", Address: "127.0.0.1", Domain: "cluster.local", ServiceAccountToken: "token", RootCert: "roots"}
		change(&c)
		err := c.complete()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
