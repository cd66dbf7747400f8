package agent

import (
	"errors"
	"strings"
	"testing"
)

// Whoever says too little, or what cannot be, is told what is missing.
func TestMisused(t *testing.T) {
	t.Parallel()
	good := Config{Dir: t.TempDir(), Node: "a.default", Type: "sidecar", Address: "127.0.0.2", Domain: "cluster.local", PlainXDS: "unix:/xds.sock"}
	secure := func(c *Config) { c.PlainXDS, c.ControlPlane, c.TokenFile = "", "127.0.0.1:15012", "/token" }
	for name, c := range map[string]struct {
		edit func(*Config)
		hint string
	}{
		"nothing":                {func(c *Config) { c.Node = "" }, "--node"},
		"no namespace":           {func(c *Config) { c.Node = "a" }, "NAME.NAMESPACE"},
		"no address":             {func(c *Config) { c.Address = "" }, "--address"},
		"no IP":                  {func(c *Config) { c.Address = "localhost" }, "--address"},
		"wrong type":             {func(c *Config) { c.Type = "router" }, "--type"},
		"no control plane":       {func(c *Config) { c.PlainXDS = "" }, "--token-file"},
		"both ways":              {func(c *Config) { c.ControlPlane = "127.0.0.1:15012" }, "--plain-xds"},
		"a token without a use":  {func(c *Config) { c.TokenFile = "/token" }, "--control-plane"},
		"proxyless and plain":    {func(c *Config) { c.Proxyless = true }, "--control-plane"},
		"proxyless nobody":       {func(c *Config) { secure(c); c.Proxyless, c.Node = true, "" }, "--node"},
		"no port":                {func(c *Config) { c.PlainXDS = "127.0.0.1" }, "--plain-xds"},
		"no path":                {func(c *Config) { c.PlainXDS = "unix:/" + strings.Repeat("x", 200) }, "--plain-xds"},
		"identity over a socket": {func(c *Config) { secure(c); c.ControlPlane = "unix:/xds.sock" }, "HOST:PORT"},
		"port 0":                 {func(c *Config) { secure(c); c.ControlPlane = "127.0.0.1:0" }, "HOST:PORT"},
		"no trust domain":        {func(c *Config) { secure(c); c.TrustDomain = "My Mesh" }, "--trust-domain"},
		"two sources of tokens":  {func(c *Config) { secure(c); c.InheritToken = true }, "--inherit-token"},
		"no threads":             {func(c *Config) { c.Concurrency = -1 }, "--concurrency takes 1 to 128"},
		"too many threads":       {func(c *Config) { c.Concurrency = 129 }, "--concurrency takes 1 to 128"},
		"no level":               {func(c *Config) { c.ProxyLogLevel = "loud" }, "--proxy-log-level takes trace, debug, info"},
		"no token":               {func(c *Config) { secure(c); c.TokenFile = "" }, "lateen ca token"},
	} {
		config := good
		c.edit(&config)
		err := New(config).Run(t.Context())
		if wrong, ok := errors.AsType[*Misused](err); !ok || !strings.Contains(wrong.Hint(), c.hint) {
			t.Errorf("%s: error %v, want a hint with %s", name, err, c.hint)
		}
	}
	for _, edit := range []func(*Config){func(*Config) {}, secure} {
		config := good
		edit(&config)
		if err := New(config).prepare(); err != nil {
			t.Error(err)
		}
	}
}
