package admin

import (
	"errors"
	"strconv"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
)

// Who names a proxy in vain is told which ones are probably meant, and who names several how to name one.
func TestNearestProxiesAreNamed(t *testing.T) {
	t.Parallel()
	known := []mesh.ProxyID{"details-v1-0.default", "ingress.default", "reviews-v1-0.default", "reviews-v2-0.default", "reviews-v2-0.shop"}
	many := []mesh.ProxyID{}
	for i := range 8 {
		many = append(many, mesh.ProxyID("web-v1-"+strconv.Itoa(i)+".default"))
	}
	for _, c := range []struct {
		err           error
		message, hint string
	}{
		{&push.NotOne{Name: "detalis-v1-0", Known: known}, "no proxy detalis-v1-0", "did you mean details-v1-0.default?"},
		{&push.NotOne{Name: "deploy/reviews-v3", Known: known}, "no proxy deploy/reviews-v3", "did you mean reviews-v1-0.default, reviews-v2-0.default, reviews-v2-0.shop?"},
		{&push.NotOne{Name: "reviews", Known: known}, "no proxy reviews", "did you mean reviews-v1-0.default, reviews-v2-0.default, reviews-v2-0.shop?"},
		{&push.NotOne{Name: "web", Known: many}, "no proxy web", "did you mean web-v1-0.default, web-v1-1.default, web-v1-2.default, web-v1-3.default, web-v1-4.default and 3 more?"},
		{
			&push.NotOne{Name: "nobody", Known: many}, "no proxy nobody",
			"`lateen proxies -A` lists those that there are: web-v1-0.default, web-v1-1.default, web-v1-2.default, web-v1-3.default, web-v1-4.default and 3 more",
		},
		{&push.NotOne{Name: "x", Known: known[1:2]}, "no proxy x", "`lateen proxies -A` lists those that there are: ingress.default"},
		{&push.NotOne{Name: "x"}, "no proxy x", ""},
		{&push.NotOne{Name: "svc/reviews", Means: known[2:4]}, "svc/reviews means 2 proxies: reviews-v1-0.default, reviews-v2-0.default", "name one of them"},
		{&push.NotOne{Name: "svc/reviews", Means: known[2:]}, "svc/reviews means 3 proxies: reviews-v1-0.default, reviews-v2-0.default, reviews-v2-0.shop", "name one of them, or add -n NAMESPACE"},
		{errors.New("other"), "other", ""},
	} {
		if got := notFound(c.err); got.answer.Message != c.message || got.answer.Hint != c.hint || got.status != 404 {
			t.Errorf("%v: %q, hint %q\nwant hint %q", c.err, got.answer.Message, got.answer.Hint, c.hint)
		}
	}
}
