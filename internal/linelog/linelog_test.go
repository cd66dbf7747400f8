package linelog

import (
	"log/slog"
	"strings"
	"testing"
)

func TestLog(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	log := New(&out, slog.LevelInfo).With("part", "serve")
	log.Debug("unseen")
	log.Info("proxy connected", "proxy", "reviews-v1-0.default")
	log.Error("read file", "err", "no such file: \"x y\"", "n", 3)
	log.Warn("problem", "problem", "rules.yaml:4:3: error: spec.rout: unknown field [unknown-field]\n  hint: did you mean \"route\"?")
	const want = `info: proxy connected part=serve proxy=reviews-v1-0.default
error: read file part=serve err="no such file: \"x y\"" n=3
rules.yaml:4:3: error: spec.rout: unknown field [unknown-field]
  hint: did you mean "route"?
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
