package kube_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/source/kube"
)

// readings watches the ConfigMap lateen of a namespace, and returns what it says.
func readings(t *testing.T, kubeconfig, namespace string) <-chan kube.SettingsReading {
	t.Helper()
	said, ended := make(chan kube.SettingsReading), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		ended <- kube.WatchSettings(ctx, kube.Settings{
			Client: kubetest.Config(t, kubeconfig, nil), Namespace: namespace, Name: "lateen", Key: "mesh", Log: slog.New(slog.DiscardHandler),
			Sink: func(ctx context.Context, r kube.SettingsReading) error {
				select {
				case said <- r:
				case <-ctx.Done():
				}
				return nil
			},
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return said
}

func nextReading(t *testing.T, said <-chan kube.SettingsReading) kube.SettingsReading {
	t.Helper()
	select {
	case r := <-said:
		return r
	case <-time.After(time.Minute):
		t.Fatal("nothing is said")
		return kube.SettingsReading{}
	}
}

// TestSettings follows a ConfigMap that comes, changes, loses its key and goes, among others that are nobody's business.
func TestSettings(t *testing.T) {
	t.Parallel()
	server := kubetest.Start(t)
	namespace := server.Namespace(t)
	said := readings(t, server.Kubeconfig, namespace)
	if r := nextReading(t, said); r.Found || r.Err != nil {
		t.Fatalf("nothing is there yet: %+v", r)
	}
	for i, c := range []struct {
		does  []string
		found bool
		text  string
	}{
		{[]string{"create", "configmap", "lateen", "--from-literal=mesh=a"}, true, "a"},
		{[]string{"patch", "configmap", "lateen", "-p", `{"data": {"mesh": "b"}}`}, true, "b"},
		{[]string{"patch", "configmap", "lateen", "-p", `{"data": {"mesh": null, "other": "c"}}`}, false, ""},
		{[]string{"patch", "configmap", "lateen", "-p", `{"data": {"mesh": ""}}`}, true, ""},
		{[]string{"delete", "configmap", "lateen"}, false, ""},
		{[]string{"create", "configmap", "lateen", "--from-literal=mesh=d"}, true, "d"},
	} {
		server.Kubectl(t, "", "create", "configmap", fmt.Sprint("aside-", i), "-n", namespace, "--from-literal=mesh=wrong")
		server.Kubectl(t, "", append(c.does, "-n", namespace)...)
		if r := nextReading(t, said); r.Found != c.found || string(r.Text) != c.text || r.Err != nil {
			t.Fatalf("%v: %+v", c.does, r)
		}
	}
}

// TestSettingsThatMayNotBeRead wants a lack of rights to be told, and its end too.
func TestSettingsThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	server := kubetest.Start(t)
	namespace := server.Namespace(t)
	said := readings(t, server.User(t, "nobody-"+namespace), namespace)
	if r := nextReading(t, said); r.Err == nil || !strings.Contains(r.Err.Error(), "forbidden") {
		t.Fatalf("%+v", r)
	}
	// Just what the control plane is given: one ConfigMap by its name.
	server.Kubectl(t, "", "create", "role", "settings", "-n", namespace, "--verb=get,list,watch", "--resource=configmaps", "--resource-name=lateen")
	server.Kubectl(t, "", "create", "rolebinding", "settings", "-n", namespace, "--role=settings", "--user=nobody-"+namespace)
	if r := nextReading(t, said); r.Err != nil || r.Found {
		t.Fatalf("%+v", r)
	}
	server.Kubectl(t, "", "create", "configmap", "lateen", "-n", namespace, "--from-literal=mesh=a")
	if r := nextReading(t, said); string(r.Text) != "a" {
		t.Fatalf("%+v", r)
	}
}

// TestSettingsOutliveTheServer wants nothing to be said while the API server is away, and what has changed when it is back.
func TestSettingsOutliveTheServer(t *testing.T) {
	t.Parallel()
	server := kubetest.StartOwn(t)
	namespace := server.Namespace(t)
	said := readings(t, server.Kubeconfig, namespace)
	nextReading(t, said)
	server.Kubectl(t, "", "create", "configmap", "lateen", "-n", namespace, "--from-literal=mesh=a")
	nextReading(t, said)
	server.Stop(t)
	server.Resume(t)
	server.Kubectl(t, "", "patch", "configmap", "lateen", "-n", namespace, "-p", `{"data": {"mesh": "b"}}`)
	if r := nextReading(t, said); string(r.Text) != "b" || r.Err != nil {
		t.Fatalf("%+v", r)
	}
}
