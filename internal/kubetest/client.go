package kubetest

import (
	"net/http"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lateen-mesh/lateen/internal/kubeapi"
)

// Config returns how whom a kubeconfig names asks its server, as often as it likes. The requests go through what wrap makes; nil: as they are.
func Config(t testing.TB, kubeconfig string, wrap func(http.RoundTripper) http.RoundTripper) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatalf("kubetest: %v", err)
	}
	config.QPS = -1
	if wrap != nil {
		config.Wrap(wrap)
	}
	return config
}

// Client returns how the product asks as whom a kubeconfig names, by requests that go as [Config] says.
func Client(t testing.TB, kubeconfig string, wrap func(http.RoundTripper) http.RoundTripper) *kubeapi.Client {
	t.Helper()
	client, err := kubeapi.New(Config(t, kubeconfig, wrap))
	if err != nil {
		t.Fatalf("kubetest: %v", err)
	}
	return client
}

// Clientset returns a client of all kinds of whom a kubeconfig names, whose requests go as [Config] says.
func Clientset(t testing.TB, kubeconfig string, wrap func(http.RoundTripper) http.RoundTripper) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(Config(t, kubeconfig, wrap))
	if err != nil {
		t.Fatalf("kubetest: %v", err)
	}
	return client
}
