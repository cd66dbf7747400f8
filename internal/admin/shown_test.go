package admin

import (
	"strings"
	"testing"
)

// The text of a Secret shows which keys it has and how long their values are, wherever these are written; that of every
// other object is as it was.
func TestShown(t *testing.T) {
	const secret = `# s3cret
apiVersion: v1
kind: Secret # s3cret
metadata:
  name: a
  annotations:
    note: &shared s3cret
    kubectl.kubernetes.io/last-applied-configuration: '{"data": {"a": "s3cret"}}'
type: kubernetes.io/tls
data:
  tls.crt: czNjcmV0
  # s3cret
  tls.key: |
    czNj
    cmV0
  other: *shared
  list: [s3cret, {deeper: s3cret}]
  empty:
stringData: {text: s3cret}
`
	const want = `apiVersion: v1
kind: Secret
metadata:
    name: a
    annotations:
        note: &shared <6 bytes, not shown>
        kubectl.kubernetes.io/last-applied-configuration: <25 bytes, not shown>
type: kubernetes.io/tls
data:
    tls.crt: <6 bytes, not shown>
    tls.key: <6 bytes, not shown>
    other: *shared
    list: ['<6 bytes, not shown>', {deeper: '<6 bytes, not shown>'}]
    empty:
stringData: {text: '<6 bytes, not shown>'}
`
	if got := Shown("Secret", secret); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := Shown("RouteRule", secret); got != secret {
		t.Errorf("the text of a RouteRule is changed:\n%s", got)
	}
	for _, odd := range []string{"", "data: s3cret", "- s3cret: [", "stringData: &a {x: s3cret, y: *a}"} {
		if got := Shown("Secret", odd); strings.Contains(got, "s3cret") {
			t.Errorf("%q shows %q", odd, got)
		}
	}
}
