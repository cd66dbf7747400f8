package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/tools/portforward"

	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// kubelet stands for one that can do three things: hand on connections, run a command in a pod, and return a log. It speaks as kubelets do.
type kubelet struct {
	target string // where the API's port of all pods leads: an address, or the path of a Unix socket
	log    string // of every container
	// exec runs a command; nil: none can be run.
	exec func(ctx context.Context, path string, command []string, out, errs io.Writer) error
}

// startKubelet starts a kubelet, and returns where it is.
func startKubelet(ctx context.Context, server *kubetest.Server, k kubelet) (address string, stop func(), err error) {
	at, err := url.Parse(server.URL)
	if err != nil {
		return "", nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(at.Hostname(), "0"))
	if err != nil {
		return "", nil, err
	}
	pki := filepath.Dir(server.CA) // the certificate of the API server is one of its address
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, "apiserver.crt"), filepath.Join(pki, "apiserver.key"))
	if err != nil {
		return "", nil, err
	}
	s := httptest.NewUnstartedServer(k)
	_ = s.Listener.Close() // for another one
	s.Listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	s.Start()
	return listener.Addr().String(), s.Close, nil
}

// podOf is a pod to be.
type podOf struct{ namespace, name, account, container string }

// runPod has the API server take a pod for one that runs on a node, whose kubelet is at an address.
func runPod(t *testing.T, server *kubetest.Server, kubelet string, p podOf) {
	t.Helper()
	address, port, err := net.SplitHostPort(kubelet)
	if err != nil {
		t.Fatal(err)
	}
	node := "node-" + p.namespace
	server.Kubectl(t, fmt.Sprintf(`{apiVersion: v1, kind: Node, metadata: {name: %s}}
---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s, labels: {app.kubernetes.io/name: lateen}}
spec: {serviceAccountName: %s, nodeName: %s, containers: [{name: %s, image: lateen}]}
`, node, p.name, p.namespace, p.account, node, p.container), "create", "-f", "-")
	server.Kubectl(t, "", "patch", "node", node, "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status": {"addresses": [{"type": "InternalIP", "address": %q}], "daemonEndpoints": {"kubeletEndpoint": {"Port": %s}}}}`, address, port))
	server.Kubectl(t, "", "patch", "pod", p.name, "-n", p.namespace, "--subresource=status", "--type=merge", "-p", `{"status": {"phase": "Running"}}`)
}

// ServeHTTP answers the API server.
func (k kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/portForward/"):
		k.forward(w, r)
	case strings.HasPrefix(r.URL.Path, "/exec/") && k.exec != nil:
		k.run(w, r)
	case strings.HasPrefix(r.URL.Path, "/containerLogs/") && k.log != "":
		log := r.URL.Path + "\n" + k.log + "\n"
		if most, err := strconv.Atoi(r.URL.Query().Get("limitBytes")); err == nil { // from where it begins, as kubelets do
			log = log[:min(most, len(log))]
		}
		_, _ = io.WriteString(w, log)
	default:
		http.NotFound(w, r)
	}
}

// upgrade makes a connection of streams of an HTTP request, and waits for so many.
func upgrade(w http.ResponseWriter, r *http.Request, protocol string, n int) (httpstream.Connection, map[string]httpstream.Stream) {
	if _, err := httpstream.Handshake(r, w, []string{protocol}); err != nil {
		return nil, nil
	}
	came := make(chan httpstream.Stream, n)
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		came <- s
		return nil
	})
	if connection == nil {
		return nil, nil
	}
	streams := map[string]httpstream.Stream{}
	for range n {
		select {
		case s := <-came:
			streams[s.Headers().Get(corev1.StreamType)] = s
		case <-connection.CloseChan():
			return nil, nil
		}
	}
	return connection, streams
}

// forward hands on a connection: a pair of streams, one of them for what goes wrong.
func (k kubelet) forward(w http.ResponseWriter, r *http.Request) {
	connection, streams := upgrade(w, r, portforward.PortForwardProtocolV1Name, 2)
	if connection == nil {
		return
	}
	defer func() { _ = connection.Close() }()
	data, wrong := streams[corev1.StreamTypeData], streams[corev1.StreamTypeError]
	if err := k.join(r.Context(), data); err != nil {
		fmt.Fprint(wrong, err)
	}
	_ = wrong.Close()
	<-connection.CloseChan()
}

// join copies between a stream and the target until one of them ends. A port that is not the API's is closed.
func (k kubelet) join(ctx context.Context, data httpstream.Stream) error {
	if port := data.Headers().Get(corev1.PortHeader); port != fmt.Sprint(mesh.APIPort) {
		return fmt.Errorf("nobody listens on port %s", port)
	}
	network := "tcp"
	if strings.HasPrefix(k.target, "/") {
		network = "unix"
	}
	c, err := new(net.Dialer).DialContext(ctx, network, k.target)
	if err != nil {
		return err
	}
	defer c.Close()
	ended := make(chan error, 2)
	go func() { _, err := io.Copy(c, data); ended <- err }()
	go func() { _, err := io.Copy(data, c); ended <- err }()
	if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return data.Close()
}

// run runs a command, and tells its end as a status.
func (k kubelet) run(w http.ResponseWriter, r *http.Request) {
	connection, streams := upgrade(w, r, remotecommand.StreamProtocolV4Name, 3)
	if connection == nil {
		return
	}
	defer func() { _ = connection.Close() }()
	status := metav1.Status{Status: metav1.StatusSuccess}
	if err := k.exec(r.Context(), r.URL.Path, r.URL.Query()["command"], streams[corev1.StreamTypeStdout], streams[corev1.StreamTypeStderr]); err != nil {
		status = metav1.Status{
			Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason, Message: err.Error(),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: "1"}}},
		}
	}
	_ = streams[corev1.StreamTypeStdout].Close()
	_ = streams[corev1.StreamTypeStderr].Close()
	if err := json.NewEncoder(streams[corev1.StreamTypeError]).Encode(status); err == nil {
		_ = streams[corev1.StreamTypeError].Close()
	}
	<-connection.CloseChan()
}
