// Package tunnel makes connections to ports of pods through the API server, and so to the control plane in a cluster.
//
// What comes in: a cluster, a namespace, a pod, a port. What goes out: a connection, which the API server hands on to the
// kubelet, and that to the pod's loopback address ("port-forward"). Nothing listens on this machine, so that nobody else on it can use
// the way, and who may go it is decided by the API server: the right to create pods/portforward.
//
// [Client] speaks to the control plane of a mesh that way. It looks for a pod anew for each connection.
package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// slowness is what a first answer through a tunnel takes longer: a pod is looked for, and two more programs are asked.
const slowness = 10 * time.Second

// maxPods bounds how many pods of the control plane are tried.
const maxPods = 5

// errNoPod tells that a namespace has no control plane.
var errNoPod = errors.New("no pod of it is running")

// Client returns a client for the control plane in a namespace of a cluster. It asks nobody yet.
func Client(c kubeclient.Cluster, namespace string) (*api.Client, error) {
	client, err := c.Typed()
	if err != nil {
		return nil, err
	}
	d := dialer{cluster: c, client: client}
	return api.NewClientAt(api.Place{
		Name: namespace + "/" + mesh.SystemName + " of cluster " + c.Context,
		Dial: func(ctx context.Context) (net.Conn, error) { return d.controlPlane(ctx, namespace) },
		Advice: "`kubectl get pods -n " + namespace + " -l " + mesh.NameLabel + "=" + mesh.SystemName + "` shows its pods; -i names another namespace; " +
			"to ask it takes the rights to list pods and to create pods/portforward there",
		Slow: slowness,
	}), nil
}

// Replica returns a client for the one replica of a control plane that is in a pod.
func Replica(c kubeclient.Cluster, namespace, pod string) (*api.Client, error) {
	client, err := c.Typed()
	if err != nil {
		return nil, err
	}
	d := dialer{cluster: c, client: client}
	return api.NewClientAt(api.Place{
		Name:   "pod " + namespace + "/" + pod,
		Dial:   func(ctx context.Context) (net.Conn, error) { return d.dial(ctx, namespace, pod, mesh.APIPort) },
		Advice: "to ask it takes the right to create pods/portforward there",
		Slow:   slowness,
	}), nil
}

// Get returns a page that a pod serves at a port, without TLS.
func Get(ctx context.Context, c kubeclient.Cluster, namespace, pod string, port int, path string) ([]byte, error) {
	client, err := c.Typed()
	if err != nil {
		return nil, err
	}
	d := dialer{cluster: c, client: client}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.dial(ctx, namespace, pod, port)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("pod %s/%s, port %d: %w", namespace, pod, port, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxOutput))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("pod %s/%s answers %s with %s", namespace, pod, path, response.Status)
	}
	return text, err
}

// dialer makes connections into a cluster.
type dialer struct {
	cluster kubeclient.Cluster
	client  *kubeapi.Client
}

// controlPlane connects to a pod of the control plane, a ready one if there is one.
func (d *dialer) controlPlane(ctx context.Context, namespace string) (net.Conn, error) {
	list, err := d.client.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: mesh.NameLabel + "=" + mesh.SystemName})
	if err != nil {
		return nil, fmt.Errorf("look for its pods: %w", err)
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.Spec.ServiceAccountName != mesh.SystemName || p.Status.Phase != corev1.PodRunning
	})
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.Name, b.Name)) })
	failed := errNoPod
	for i := range pods[:min(len(pods), maxPods)] {
		c, err := d.dial(ctx, namespace, pods[i].Name, mesh.APIPort)
		if err == nil {
			return c, nil
		}
		failed = fmt.Errorf("pod %s: %w", pods[i].Name, err)
	}
	return nil, failed
}

// rank orders pods: ready ones first, those that end last.
func rank(p *corev1.Pod) int {
	ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	switch {
	case p.DeletionTimestamp != nil:
		return 2
	case ready:
		return 0
	default:
		return 1
	}
}

// dial connects to a port of a pod.
func (d *dialer) dial(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	url := d.client.Core().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(d.cluster.Config)
	if err != nil {
		return nil, err
	}
	sockets, err := portforward.NewSPDYOverWebsocketDialer(url, d.cluster.Config)
	if err != nil {
		return nil, err
	}
	// API servers before 1.31, and proxies before them, know the older form only.
	both := portforward.NewFallbackDialer(sockets, spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url),
		func(err error) bool { return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) })
	connection, err := upgrade(ctx, both)
	if err != nil {
		return nil, err
	}
	c, err := open(connection, port)
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	return c, nil
}

// upgrade makes a connection that holds streams. The library knows no context: a connection that comes too late is closed.
func upgrade(ctx context.Context, d httpstream.Dialer) (httpstream.Connection, error) {
	type answer struct {
		httpstream.Connection
		error
	}
	came := make(chan answer, 1)
	go func() {
		c, _, err := d.Dial(portforward.PortForwardProtocolV1Name)
		came <- answer{c, err}
	}()
	select {
	case a := <-came:
		return a.Connection, a.error
	case <-ctx.Done():
		go func() {
			if a := <-came; a.error == nil {
				_ = a.Close() // nothing was sent
			}
		}()
		return nil, ctx.Err()
	}
}

// open opens the pair of streams that a connection to a port is made of: one for what goes wrong, one for bytes.
func open(connection httpstream.Connection, port int) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	wrong, err := connection.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	if err := wrong.Close(); err != nil { // nothing is written there from this side
		return nil, err
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	c := &conn{data: data, connection: connection, wrong: make(chan error, 1)}
	go func() {
		text, err := io.ReadAll(io.LimitReader(wrong, maxWords))
		if err == nil && len(text) > 0 {
			err = errors.New(strings.TrimSpace(string(text)))
		}
		c.wrong <- err
		if err != nil {
			_ = connection.Close() // who waits for bytes is told
		}
	}()
	return c, nil
}

// maxWords bounds what is read of why a port cannot be reached.
const maxWords = 4 << 10

// conn is a connection to a port of a pod. It knows no deadlines: who uses it closes it.
type conn struct {
	data       httpstream.Stream
	connection httpstream.Connection
	wrong      chan error
}

// Read reads what the pod sends. At an early end it says why the pod could not be reached, if that is known.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.data.Read(b)
	if n == 0 && err != nil {
		select {
		case why := <-c.wrong:
			c.wrong <- why
			if why != nil {
				err = why
			}
		case <-c.connection.CloseChan():
		}
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) { return c.data.Write(b) }

func (c *conn) Close() error { return errors.Join(c.data.Close(), c.connection.Close()) }

func (c *conn) LocalAddr() net.Addr  { return address("here") }
func (c *conn) RemoteAddr() net.Addr { return address("pod") }

func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// address names one end of a connection.
type address string

func (address) Network() string  { return "pod" }
func (a address) String() string { return string(a) }
