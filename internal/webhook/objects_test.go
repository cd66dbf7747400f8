package webhook_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/webhook"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// noProblems returns an error if there are problems.
func noProblems(problems []mesh.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return errors.New(problems[0].String())
}

// rule returns a RouteRule with a spec.
func rule(spec string) []byte {
	return []byte(`{"apiVersion":"config.istio.io/v1alpha2","kind":"RouteRule","metadata":{"name":"r","namespace":"shop","managedFields":[{"manager":"kubectl"}]},"spec":` + spec + `}`)
}

// Objects are refused in the words of `lateen validate`. What was bad before may be written again where its spec is as it was.
func TestObjects(t *testing.T) {
	t.Parallel()
	s := newServer(t, around{}, nil)
	const good, bad = `{"destination":{"name":"web"},"precedence":1}`, `{"destination":{"name":"web"},"rout":[]}`
	const told = "configuration is invalid: spec.rout: unknown field [unknown-field]\n  hint: did you mean \"route\"?"
	for name, c := range map[string]struct {
		before, now string
		deleted     bool
		refused     string
		warned      string
	}{
		"good":                    {now: good},
		"a large number":          {now: `{"destination":{"name":"web"},"precedence":10000000}`},
		"bad":                     {now: bad, refused: told},
		"becomes bad":             {before: good, now: bad, refused: told},
		"was bad":                 {before: bad, now: bad, warned: "spec.rout: unknown field"},
		"becomes good":            {before: bad, now: good},
		"is bad in another way":   {before: bad, now: `{"destination":{"name":"web"},"rout":[1]}`, refused: told},
		"is bad, and is to go":    {before: good, now: bad, deleted: true, warned: "spec.rout: unknown field"},
		"makes less than it says": {now: `{"destination":{"name":"web"},"websocketUpgrade":false,"httpReqTimeout":{"simpleTimeout":{"timeout":"0s"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			review := reviewOf("routerules", rule(c.now))
			if c.before != "" {
				review.Request.Operation, review.Request.OldObject.Raw = admissionv1.Update, rule(c.before)
			}
			if c.deleted {
				var o map[string]any
				must(t, json.Unmarshal(rule(c.now), &o))
				o["metadata"].(map[string]any)["deletionTimestamp"] = "2026-01-01T00:00:00Z" //nolint:forcetypeassert // it is one
				text, err := json.Marshal(o)
				must(t, err)
				review.Request.Object.Raw = text
			}
			answer := ask(t, s, webhook.ValidatePath, review)
			if answer.Allowed != (c.refused == "") || !answer.Allowed && answer.Result.Message != c.refused {
				t.Errorf("allowed: %t: %+v", answer.Allowed, answer.Result)
			}
			if got := strings.Join(answer.Warnings, "\n"); !strings.HasPrefix(got, c.warned) || c.warned == "" && got != "" {
				t.Errorf("warnings: %s", got)
			}
		})
	}
}

// Whatever an API server sends, or who says to be one, is answered: with a review, or an error.
func FuzzReview(f *testing.F) {
	for _, object := range [][]byte{rule(`{}`), []byte(`{"metadata":{}}`), podOf(f, nil, nil), podOf(f, map[string]any{"annotations": map[string]any{mesh.InjectAnnotation: "yes"}}, nil)} {
		body, err := json.Marshal(reviewOf("pods", object))
		must(f, err)
		f.Add(body)
	}
	s := newServer(f, around{}, nil)
	must(f, noProblems(setPolicy(s, "policy: enabled")))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{webhook.MutatePath, webhook.ValidatePath} {
			w := post(s, path, "application/json", body)
			var answer admissionv1.AdmissionReview
			if w.Code == 200 && (json.Unmarshal(w.Body.Bytes(), &answer) != nil || answer.Response == nil) {
				t.Errorf("%s: %s is answered with %s", path, body, w.Body)
			}
		}
	})
}
