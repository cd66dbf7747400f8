package sidecar_test

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/sidecar"
)

// TestCommands shows what commands print where, and how they end.
func TestCommands(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args     string
		out, err string // parts; "": nothing at all
		code     int
	}{
		{"", "lateen-agent capture   Redirect", "", 0},
		{"--help", "lateen-agent agent     Run", "", 0},
		{"version", "lateen-agent dev\n", "", 0},
		{"capture --dry-run -i 10.0.0.0/8", "ip daddr 10.0.0.0/8", "", 0},
		{"capture --help", "-proxy-uid", "", 0},
		{"drain --dir /nonesuch", "", "lateen-agent: error: envoy admin: ", 1},
		{"look --page=identity --dir=/nonesuch", "", "lateen-agent: error: stat /nonesuch/identity.json: no such file or directory\n", 1},
		{"look --page=keys", "", "lateen-agent: hint: there are config, certificates and identity\n", 2},
		{"serve", "", "lateen-agent: error: unknown command \"serve\"\nlateen-agent: hint: `lateen-agent --help` lists the commands\n", 2},
		{"capture now", "", "lateen-agent: error: unexpected argument \"now\"\nlateen-agent: hint: `lateen-agent capture --help` lists the flags\n", 2},
		{"capture --nonesuch", "", "flag provided but not defined: -nonesuch", 2},
		{"capture --dry-run --check", "", "hint: give one of --dry-run and --check\n", 2},
		{"capture --inbound-port=15001", "", "hint: give --outbound-port and --inbound-port different ports\n", 2},
		{"agent --envoy /nonesuch", "", "lateen-agent: error: nothing says which proxy this is\n", 2},
		{"agent --node=web --envoy=/nonesuch --address=10.0.0.1 --token-file=x --dir=" + t.TempDir(), "", "hint: --node takes NAME.NAMESPACE", 2},
	}
	for _, test := range tests {
		var out, err strings.Builder
		code := sidecar.Main(t.Context(), strings.Fields(test.args), sidecar.Output{Out: &out, Err: &err})
		if code != test.code {
			t.Errorf("%q: exit code %d, want %d", test.args, code, test.code)
		}
		for _, p := range [][2]string{{out.String(), test.out}, {err.String(), test.err}} {
			if got, want := p[0], p[1]; !strings.Contains(got, want) || want == "" && got != "" {
				t.Errorf("%q: printed %q, want %q", test.args, got, want)
			}
		}
	}
}
