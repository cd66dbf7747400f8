package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
)

func TestErrorsAreToldInOneStyle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{errors.New("no"), 1, "lateen: error: no\n"},
		{failed("try again", "no: %w", errors.New("why")), 1, "lateen: error: no: why\nlateen: hint: try again\n"},
		{misused("", "no"), 2, "lateen: error: no\n"},
		{fmt.Errorf("wrapped: %w", misused("so", "no")), 2, "lateen: error: wrapped: no\nlateen: hint: so\n"},
		{&api.Error{Message: "no", Hint: "so"}, 1, "lateen: error: no\nlateen: hint: so\n"},
		{
			&api.Unreachable{Socket: "/s", Cause: errors.New("permission denied")}, 1,
			"lateen: error: no control plane answers on /s: permission denied\nlateen: hint: start a mesh with `lateen demo` or `lateen up`\n",
		},
		{fmt.Errorf("wait: %w", context.Canceled), 1, "lateen: error: interrupted\n"},
	} {
		var b strings.Builder
		if code := report(&b, c.err); code != c.code || b.String() != c.want {
			t.Errorf("%v: code %d\n%swant %d\n%s", c.err, code, b.String(), c.code, c.want)
		}
	}
}

func TestNumbersAreCounted(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0 errors": count(0, "error"), "1 error": count(1, "error"), "2 errors": count(2, "error"), "3 proxies": count(3, "proxy"),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
