package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// All tests of a binary share one server, each in a namespace of its own.
func TestStart(t *testing.T) {
	t.Parallel()
	s := Start(t)
	if Start(t) != s {
		t.Error("a second server was started")
	}
	first, second := s.Namespace(t), s.Namespace(t)
	if first == second {
		t.Errorf("two namespaces are called %s", first)
	}
	if got := s.Kubectl(t, "", "get", "serviceaccount", "default", "--namespace", first, "-o", "name"); got != "serviceaccount/default\n" {
		t.Errorf("get serviceaccount: %s", got)
	}
	response, err := s.Client(t).Get(s.URL + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(body), `"gitVersion": "v1.34.4"`) {
		t.Errorf("version: %v, %s", err, body)
	}
	if _, err := s.TryKubectl(t, "", "get", "nothing"); err == nil || !strings.Contains(err.Error(), `doesn't have a resource type "nothing"`) {
		t.Errorf("a command that fails: %v", err)
	}
}

// A pod can be made, though nothing runs it, and its token is what TokenReview says.
func TestToken(t *testing.T) {
	t.Parallel()
	s := Start(t)
	ns := s.Namespace(t)
	s.Kubectl(t, "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {serviceAccountName: default, containers: [{name: a, image: 'a:1'}]}}", "create", "-n", ns, "-f", "-")
	token := s.Kubectl(t, "", "create", "token", "default", "-n", ns, "--audience=lateen", "--bound-object-kind=Pod", "--bound-object-name=a")
	for audience, want := range map[string]bool{"lateen": true, "other": false} {
		review := fmt.Sprintf("{apiVersion: authentication.k8s.io/v1, kind: TokenReview, spec: {token: %q, audiences: [%s]}}", strings.TrimSpace(token), audience)
		var got struct {
			Status struct {
				Authenticated bool
				User          struct {
					Username string
					Extra    map[string][]string
				}
			}
		}
		if err := json.Unmarshal([]byte(s.Kubectl(t, review, "create", "-o", "json", "-f", "-")), &got); err != nil {
			t.Fatal(err)
		}
		if got.Status.Authenticated != want {
			t.Errorf("audience %s: authenticated %v", audience, got.Status.Authenticated)
		}
		pod := got.Status.User.Extra["authentication.kubernetes.io/pod-name"]
		if want && (got.Status.User.Username != "system:serviceaccount:"+ns+":default" || len(pod) != 1 || pod[0] != "a") {
			t.Errorf("the token is of %+v", got.Status.User)
		}
	}
}

// A user may do what RBAC grants and nothing else.
func TestUser(t *testing.T) {
	t.Parallel()
	s := Start(t)
	ns := s.Namespace(t)
	user := s.User(t, "reader", "readers")
	s.Kubectl(t, "", "create", "role", "read", "--verb=get,list", "--resource=configmaps", "-n", ns)
	s.Kubectl(t, "", "create", "rolebinding", "read", "--role=read", "--group=readers", "-n", ns)
	if _, err := s.TryKubectl(t, "", "--kubeconfig", user, "get", "configmaps", "-n", ns); err != nil {
		t.Error(err)
	}
	if _, err := s.TryKubectl(t, "", "--kubeconfig", user, "get", "secrets", "-n", ns); err == nil || !strings.Contains(err.Error(), `User "reader" cannot list resource "secrets"`) {
		t.Errorf("what nobody granted: %v", err)
	}
}

// A server of one's own can go away and come back with what it had.
func TestStopAndResume(t *testing.T) {
	t.Parallel()
	s := StartOwn(t)
	ns := s.Namespace(t)
	s.Stop(t)
	if response, err := s.Client(t).Get(s.URL + "/version"); err == nil {
		_ = response.Body.Close()
		t.Error("a server that was stopped answers")
	}
	s.Resume(t)
	response, err := s.Client(t).Get(s.URL + "/api/v1/namespaces/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the namespace after the return: status %d", response.StatusCode)
	}
}
