package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/owners"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/source/kube"
	"github.com/lateen-mesh/lateen/internal/testkit"
	"github.com/lateen-mesh/lateen/internal/webhook"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// around says what a test says.
type around struct {
	says  owners.Around
	fresh *owners.Around // if what was said first is not believed
	err   error
}

func (a around) Around(_ context.Context, _ string, _ []metav1.OwnerReference, fresh bool) (owners.Around, error) {
	if fresh && a.fresh != nil {
		return *a.fresh, a.err
	}
	return a.says, a.err
}

var errAway = errors.New("the API server is away")

// lines returns the records whose message is one of those.
func lines(t testing.TB, log *testkit.Output, message string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(log.String()) {
		record := map[string]any{}
		must(t, json.Unmarshal([]byte(line), &record))
		if record["msg"] == message {
			delete(record, "time")
			all = append(all, record)
		}
	}
	return all
}

// options are what is injected where the policy says nothing.
func options() inject.Options { return inject.Options{Image: "lateen-proxy:test", Version: "test"} }

// newServer returns a server with a policy that nobody has written.
func newServer(t testing.TB, a webhook.Around, log io.Writer) *webhook.Server {
	t.Helper()
	if log == nil {
		log = io.Discard
	}
	kinds := serve.Kinds()
	s := webhook.New(webhook.Config{
		Around: a, Options: options(), Kinds: kinds, Log: slog.New(slog.NewJSONHandler(log, nil)),
		Check: func(o *unstructured.Unstructured) []mesh.Problem { return kube.Check(kinds, o) },
	})
	if problems := s.SetPolicy(webhook.Reading{}); len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

// setPolicy has a document count, and returns what is wrong with it.
func setPolicy(s *webhook.Server, text string) []mesh.Problem {
	return s.SetPolicy(webhook.Reading{Found: true, Document: policy.Document{Name: "ConfigMap lateen-system/lateen-inject, config", Text: []byte(text)}})
}

// podOf returns a pod of a namespace, with what is merged into its metadata.
func podOf(t testing.TB, metadata map[string]any, spec map[string]any) []byte {
	t.Helper()
	meta := map[string]any{"generateName": "web-", "namespace": "shop"}
	maps.Copy(meta, metadata)
	all := map[string]any{"containers": []any{map[string]any{"name": "app", "image": "app:1"}}}
	maps.Copy(all, spec)
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": all})
	must(t, err)
	return text
}

// reviewOf returns the review of an object that is about to be made.
func reviewOf(resource string, object []byte) *admissionv1.AdmissionReview {
	r := &admissionv1.AdmissionReview{Request: &admissionv1.AdmissionRequest{
		UID: "42", Namespace: "shop", Operation: admissionv1.Create, Resource: metav1.GroupVersionResource{Version: "v1", Resource: resource},
	}}
	r.APIVersion, r.Kind = "admission.k8s.io/v1", "AdmissionReview"
	r.Request.Object.Raw = object
	return r
}

// ask returns the answer to a review.
func ask(t testing.TB, s *webhook.Server, path string, review *admissionv1.AdmissionReview) *admissionv1.AdmissionResponse {
	t.Helper()
	body, err := json.Marshal(review)
	must(t, err)
	w := post(s, path, "application/json", body)
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	var answer admissionv1.AdmissionReview
	must(t, json.Unmarshal(w.Body.Bytes(), &answer))
	if answer.Response == nil || answer.Response.UID != review.Request.UID || answer.Kind != "AdmissionReview" || answer.APIVersion != "admission.k8s.io/v1" {
		t.Fatalf("no answer to that review: %s", w.Body)
	}
	return answer.Response
}

// post sends a body to a path.
func post(s *webhook.Server, path, kind string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}
