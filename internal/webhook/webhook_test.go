package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/owners"
	"github.com/lateen-mesh/lateen/internal/testkit"
	"github.com/lateen-mesh/lateen/internal/webhook"
)

// A pod gets what `lateen inject` gives it, by what is said of it, around it and in the policy.
func TestPods(t *testing.T) {
	t.Parallel()
	labelled := owners.Around{NamespaceLabels: map[string]string{mesh.InjectionLabel: "enabled"}}
	for name, c := range map[string]struct {
		policy string
		around owners.Around
		meta   map[string]any
		gets   bool
	}{
		"nobody says anything":     {},
		"its namespace says yes":   {around: labelled, gets: true},
		"it says no itself":        {around: labelled, meta: map[string]any{"annotations": map[string]any{mesh.InjectAnnotation: "no"}}},
		"it says yes itself":       {meta: map[string]any{"labels": map[string]any{mesh.InjectLabel: "enabled"}}, gets: true},
		"its owner says yes":       {around: owners.Around{Owner: map[string]string{mesh.InjectAnnotation: "True"}}, gets: true},
		"its owner says no":        {policy: "policy: enabled", around: owners.Around{Owner: map[string]string{mesh.InjectAnnotation: "false"}}},
		"all get one":              {policy: "policy: enabled", gets: true},
		"all but its namespace do": {policy: "policy: enabled\nexcludeNamespaces: [shop]"},
		"it has one":               {policy: "policy: enabled", meta: map[string]any{"annotations": map[string]any{mesh.StatusAnnotation: "injected-version-1"}}},
		"it is a static pod":       {policy: "policy: enabled", meta: map[string]any{"annotations": map[string]any{"kubernetes.io/config.mirror": "x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, around{says: c.around}, nil)
			if c.policy != "" {
				if problems := setPolicy(s, c.policy); len(problems) > 0 {
					t.Fatal(problems)
				}
			}
			pod := podOf(t, c.meta, nil)
			answer := ask(t, s, webhook.MutatePath, reviewOf("pods", pod))
			if !answer.Allowed || (answer.Patch != nil) != c.gets {
				t.Fatalf("allowed: %t, patch: %s", answer.Allowed, answer.Patch)
			}
			if !c.gets {
				return
			}
			always := policy.Default()
			want, _, _ := inject.PatchBy(inject.Rules{Config: always}, pod, "shop", options())
			if *answer.PatchType != admissionv1.PatchTypeJSONPatch || !bytes.Equal(answer.Patch, want) {
				t.Errorf("the patch is %s, want %s", answer.Patch, want)
			}
		})
	}
}

// The log has a record for each pod, with the names that its values had in 2017.
func TestLog(t *testing.T) {
	t.Parallel()
	var log testkit.Output
	s := newServer(t, around{says: owners.Around{NamespaceLabels: map[string]string{mesh.InjectionLabel: "enabled"}}}, &log)
	ask(t, s, webhook.MutatePath, reviewOf("pods", podOf(t, nil, nil)))
	ask(t, s, webhook.MutatePath, reviewOf("pods", podOf(t, map[string]any{"name": "alone", "annotations": map[string]any{mesh.InjectAnnotation: "no"}}, nil)))
	got := append(lines(t, &log, "sidecar injection policy for shop/web-"), lines(t, &log, "skipping shop/alone due to policy check")...)
	want := []map[string]any{
		{
			"level": "INFO", "msg": "sidecar injection policy for shop/web-", "kind": "Pod", "namespace": "shop", "name": "web-", "namespacePolicy": "enabled",
			"useDefault": true, "inject": false, "status": "", "required": true, "reason": `label istio-injection of namespace shop is "enabled"`,
		},
		{
			"level": "INFO", "msg": "skipping shop/alone due to policy check", "kind": "Pod", "namespace": "shop", "name": "alone", "namespacePolicy": "enabled",
			"useDefault": false, "inject": false, "status": "", "required": false, "reason": `annotation sidecar.istio.io/inject is "no"`,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A pod that cannot have its sidecar is kept out, and it is said why; what could not be found out is no refusal, but no answer.
func TestPodsThatCannot(t *testing.T) {
	t.Parallel()
	yes := around{says: owners.Around{NamespaceLabels: map[string]string{mesh.InjectLabel: "enabled"}}}
	s := newServer(t, yes, nil)
	taken := podOf(t, nil, map[string]any{"volumes": []any{map[string]any{"name": "lateen-run", "emptyDir": map[string]any{}}}})
	answer := ask(t, s, webhook.MutatePath, reviewOf("pods", taken))
	if answer.Allowed || answer.Result == nil || answer.Result.Code != http.StatusUnprocessableEntity || !strings.Contains(answer.Result.Message, "spec.volumes[0].name: the sidecar needs this name [invalid-name]\n  hint: ") {
		t.Fatalf("a pod with a volume of ours: %.300v", answer)
	}
	if causes := answer.Result.Details.Causes; len(causes) != 1 || causes[0].Field != "spec.volumes[0].name" {
		t.Errorf("causes: %+v", causes)
	}
	body, err := json.Marshal(reviewOf("pods", podOf(t, nil, nil)))
	must(t, err)
	if w := post(newServer(t, around{err: errAway}, nil), webhook.MutatePath, "application/json", body); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), errAway.Error()) {
		t.Errorf("without an answer of the API server: %d %s", w.Code, w.Body)
	}
	unread := webhook.New(webhook.Config{Around: yes, Log: discard()})
	if w := post(unread, webhook.MutatePath, "application/json", body); w.Code != http.StatusServiceUnavailable {
		t.Errorf("before the policy is known: %d %s", w.Code, w.Body)
	}
	for _, other := range []*admissionv1.AdmissionReview{reviewOf("services", []byte(`{}`)), reviewOf("pods", podOf(t, nil, nil))} {
		other.Request.Operation = admissionv1.Update
		if answer := ask(t, s, webhook.MutatePath, other); !answer.Allowed || answer.Patch != nil {
			t.Errorf("an update is %+v", answer)
		}
	}
}

// A broken document changes nothing, and says so; without one, only who asks for a sidecar gets one.
func TestPolicyIsKept(t *testing.T) {
	t.Parallel()
	s := newServer(t, around{}, nil)
	mode := func() policy.Mode {
		c, known := s.Policy()
		if !known {
			t.Fatal("no policy")
		}
		return c.Mode
	}
	if mode() != policy.Disabled {
		t.Error("nobody has said anything, and all pods get a sidecar")
	}
	setPolicy(s, "namespaces: [shop]")
	if problems := setPolicy(s, "policy: sometimes"); len(problems) != 1 || problems[0].Position.Line != 1 || mode() != policy.Enabled {
		t.Errorf("policy %s after %v", mode(), problems)
	}
	if problems := s.SetPolicy(webhook.Reading{Err: errAway}); len(problems) != 1 || problems[0].Code != config.CodeUnreadableFile || mode() != policy.Enabled {
		t.Errorf("policy %s after %v", mode(), problems)
	}
	if s.SetPolicy(webhook.Reading{}); mode() != policy.Disabled {
		t.Error("a document that is gone counts")
	}
	first := webhook.New(webhook.Config{Options: options(), Log: discard()})
	body, err := json.Marshal(reviewOf("pods", podOf(t, nil, nil)))
	must(t, err)
	for what, set := range map[string]func() []mesh.Problem{
		"it is broken":       func() []mesh.Problem { return setPolicy(first, "policy: sometimes") },
		"it may not be read": func() []mesh.Problem { return first.SetPolicy(webhook.Reading{Err: errAway}) },
	} {
		if problems := set(); len(problems) != 1 {
			t.Error(what, problems)
		}
		if _, known := first.Policy(); known {
			t.Errorf("what is read first: %s, and there is a policy", what)
		}
		if _, known := first.Hooks([]byte("roots")); known {
			t.Errorf("what is read first: %s, and the API server is told something", what)
		}
		if w := post(first, webhook.MutatePath, "application/json", body); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "is not known: ") {
			t.Errorf("what is read first: %s: %d %s", what, w.Code, w.Body)
		}
	}
}

// Where the API server asks about a pod for which what is known of its namespace wants no sidecar, the namespace is asked.
func TestNamespaceThatWasJustLabelled(t *testing.T) {
	t.Parallel()
	now := owners.Around{NamespaceLabels: map[string]string{mesh.InjectionLabel: "enabled"}}
	s := newServer(t, around{fresh: &now}, nil)
	if ask(t, s, webhook.MutatePath, reviewOf("pods", podOf(t, nil, nil))).Patch == nil {
		t.Error("the pod got no sidecar")
	}
}

// What a document says of the sidecar counts for pods: image, version, networks.
func TestParams(t *testing.T) {
	t.Parallel()
	s := newServer(t, around{}, nil)
	must(t, noProblems(setPolicy(s, "policy: enabled\nparams: {proxyImage: registry.example.com/lateen-proxy:9, version: '9', includeIPRanges: 10.0.0.0/8}")))
	patch := string(ask(t, s, webhook.MutatePath, reviewOf("pods", podOf(t, nil, nil))).Patch)
	for _, want := range []string{"registry.example.com/lateen-proxy:9", "injected-version-9", "10.0.0.0/8"} {
		if !strings.Contains(patch, want) {
			t.Errorf("no %s in %s", want, patch)
		}
	}
}

// What is no review is refused, whatever it is and however large, and nothing breaks.
func TestGarbage(t *testing.T) {
	t.Parallel()
	s := newServer(t, around{}, nil)
	mebibyte := bytes.Repeat([]byte{0xff, '{', '[', '"', 0, 'a', ':', '7'}, 1<<17)
	for _, path := range []string{webhook.MutatePath, webhook.ValidatePath} {
		for _, c := range []struct {
			kind string
			body []byte
			want int
		}{
			{"application/json", mebibyte, http.StatusBadRequest},
			{"application/json", bytes.Repeat([]byte{'['}, 1<<20), http.StatusBadRequest},
			{"application/json", bytes.Repeat([]byte{' '}, 9<<20), http.StatusRequestEntityTooLarge},
			{"application/json", []byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`), http.StatusBadRequest},
			{"application/json", []byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{}}`), http.StatusBadRequest},
			{"application/json", nil, http.StatusBadRequest},
			{"text/plain", []byte(`{}`), http.StatusUnsupportedMediaType},
		} {
			if w := post(s, path, c.kind, c.body); w.Code != c.want {
				t.Errorf("%s: %.20q is answered with %d %s, want %d", path, c.body, w.Code, w.Body, c.want)
			}
		}
		for _, object := range [][]byte{nil, []byte("null"), []byte("7"), []byte(`[]`), []byte(`{"metadata": 7}`), []byte(`{"metadata":{"ownerReferences":7}}`)} {
			if answer := ask(t, s, path, reviewOf("pods", object)); answer.Allowed {
				t.Errorf("%s: the object %s is let in", path, object)
			}
		}
	}
}

// A hundred pods at once get a sidecar each.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t, around{}, nil)
	must(t, noProblems(setPolicy(s, "policy: enabled")))
	review := reviewOf("pods", podOf(t, nil, nil))
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			if ask(t, s, webhook.MutatePath, review).Patch == nil {
				t.Error("a pod got none")
			}
		})
	}
	group.Wait()
	if got := s.Counts()[webhook.Call{Path: webhook.MutatePath, Result: "patched"}]; got != 100 {
		t.Errorf("%d are counted", got)
	}
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - {name: app, image: app:1} # the only one
`

// Files are taken as in 2017: YAML in, YAML out; what is no YAML comes back as it was, with 500.
func TestFiles(t *testing.T) {
	t.Parallel()
	s := newServer(t, around{}, nil)
	if w := post(s, webhook.InjectPath, "application/yaml", []byte(deployment)); w.Code != http.StatusOK || w.Body.String() != deployment {
		t.Errorf("where nobody asks for a sidecar: %d %s", w.Code, w.Body)
	}
	must(t, noProblems(setPolicy(s, "policy: enabled")))
	w := post(s, webhook.InjectPath, "application/yaml", []byte(deployment))
	if want := string(inject.Inject("", []byte(deployment), options()).Text); w.Code != http.StatusOK || w.Body.String() != want || want == deployment {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := post(s, webhook.InjectPath, "application/yaml", []byte("{a: [")); w.Code != http.StatusInternalServerError || w.Body.String() != "{a: [" {
		t.Errorf("what is no YAML: %d %s", w.Code, w.Body)
	}
	if w := post(s, webhook.InjectPath, "application/yaml", bytes.Repeat([]byte{' '}, 4<<20+1)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("what is too large: %d %.80s", w.Code, w.Body)
	}
}

// Who is slow to send what he asks keeps nobody else from being answered.
func TestSlowCallers(t *testing.T) {
	t.Parallel()
	s := newServer(t, around{}, nil)
	must(t, noProblems(setPolicy(s, "policy: enabled")))
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	for range 100 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", web.Listener.Addr().String())
		must(t, err)
		t.Cleanup(func() { _ = c.Close() }) // it is what ends the request
		_, err = c.Write([]byte("POST /mutate HTTP/1.1\r\nHost: lateen\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"))
		must(t, err)
	}
	body, err := json.Marshal(reviewOf("pods", podOf(t, nil, nil)))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, web.URL+webhook.MutatePath, bytes.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := web.Client().Do(r)
	must(t, err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("%d", answer.StatusCode)
	}
}
