package bugreport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/tunnel"
)

// Pod names a pod.
type Pod struct{ Namespace, Name string }

// Cluster is a mesh in a cluster.
type Cluster struct {
	Where     kubeclient.Cluster
	Namespace string // of the control plane
	Client    *api.Client
	Pods      []Pod  // whose sidecars are looked at; none: those that are not as they should be, some of them
	Common    []Part // what is collected of every mesh: versions, the verdict
	// Why says why a pod has a sidecar, or has none.
	Why func(ctx context.Context, p Pod) (string, error)
}

// listOf is a list of objects.
type listOf struct {
	file     string
	kind     schema.GroupVersionResource
	selector string // of labels
}

const ours = mesh.PartLabel + "=" + mesh.SystemName

// inSystem are the lists of the namespace of the control plane. Secrets are none of them.
var inSystem = []listOf{
	{"deployments", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, ""},
	{"replicasets", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}, ""},
	{"pods", schema.GroupVersionResource{Version: "v1", Resource: "pods"}, ""},
	{"services", schema.GroupVersionResource{Version: "v1", Resource: "services"}, ""},
	{"endpointslices", schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}, ""},
	{"configmaps", schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, ""},
	{"events", schema.GroupVersionResource{Version: "v1", Resource: "events"}, ""},
	{"leases", schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}, ""},
	{"poddisruptionbudgets", schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}, ""},
}

// everywhere are the lists of the whole cluster.
var everywhere = []listOf{
	{"cluster/mutatingwebhooks", schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"}, ours},
	{"cluster/validatingwebhooks", schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"}, ours},
	{"cluster/ingressclasses", schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingressclasses"}, ""},
	{"cluster/nodes", schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, ""},
	{"objects/routerules", schema.GroupVersionResource{Group: "config.istio.io", Version: "v1alpha2", Resource: "routerules"}, ""},
	{"objects/destinationpolicies", schema.GroupVersionResource{Group: "config.istio.io", Version: "v1alpha2", Resource: "destinationpolicies"}, ""},
	{"objects/egressrules", schema.GroupVersionResource{Group: "config.istio.io", Version: "v1alpha2", Resource: "egressrules"}, ""},
	{"objects/ingresses", schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}, ""},
}

const (
	page       = 250  // objects that are asked for at a time
	maxObjects = 5000 // of one list
	maxPods    = 20   // of the control plane and the ingress, of which logs are read
	someProxy  = 5    // proxies that are not as they should be
)

// OfCluster returns the sources of a mesh in a cluster. They do what the user of the kubeconfig may do.
func OfCluster(c Cluster, r *Redactor) ([]Source, error) {
	client, err := c.Where.Typed()
	if err != nil {
		return nil, err
	}
	objects, err := c.Where.Dynamic()
	if err != nil {
		return nil, err
	}
	r.System = c.Namespace
	k := &collector{c, client, objects, r}
	return []Source{
		listed("versions and verdict", c.Common),
		listed("objects", k.lists()),
		{Name: "control plane and ingress", List: k.system},
		{Name: "pods", List: k.pods},
	}, nil
}

// collector collects of a cluster.
type collector struct {
	Cluster
	typed    *kubeapi.Client
	objects  *dynamic.DynamicClient
	redactor *Redactor
}

// lists are those of objects.
func (k *collector) lists() []Part {
	var parts []Part
	for _, l := range inSystem {
		in := k.objects.Resource(l.kind).Namespace(k.Namespace)
		parts = append(parts, Value("system/"+l.file+".json", func(ctx context.Context) (any, error) { return k.list(ctx, in, l.selector) }))
	}
	for _, l := range everywhere {
		in := k.objects.Resource(l.kind)
		parts = append(parts, Value(l.file+".json", func(ctx context.Context) (any, error) { return k.list(ctx, in, l.selector) }))
	}
	return parts
}

// list reads a list, without what must not be shown.
func (k *collector) list(ctx context.Context, in dynamic.ResourceInterface, selector string) (any, error) {
	all := []any{}
	for next := ""; ; {
		got, err := in.List(ctx, metav1.ListOptions{Limit: page, Continue: next, LabelSelector: selector})
		if err != nil && len(all) == 0 {
			return nil, err
		}
		if err != nil {
			return all, err
		}
		for i := range got.Items {
			all = append(all, k.redactor.Object(got.Items[i].Object))
		}
		if next = got.GetContinue(); next == "" {
			return all, nil
		}
		if len(all) >= maxObjects {
			return all, fmt.Errorf("there are more than %d", maxObjects)
		}
	}
}

// system lists the logs of Lateen's own pods, and the pages of each replica.
func (k *collector) system(ctx context.Context) ([]Part, error) {
	pods, err := k.typed.Pods(k.Namespace).List(ctx, metav1.ListOptions{LabelSelector: ours, Limit: maxPods})
	if err != nil {
		// The API of some replica may be reached all the same.
		return planeParts(k.Client, "control-plane/any"), err
	}
	var parts []Part
	for i := range pods.Items {
		pod := &pods.Items[i]
		folder := "system/" + pod.Name
		parts = append(parts, k.logs(pod, folder, k.redactor.containersIn(pod.Namespace))...)
		switch {
		case pod.Status.Phase != corev1.PodRunning:
		case pod.Spec.ServiceAccountName == mesh.SystemName:
			replica, err := tunnel.Replica(k.Where, k.Namespace, pod.Name)
			if err != nil {
				return parts, err
			}
			parts = append(parts, planeParts(replica, "control-plane/"+pod.Name)...)
		default:
			parts = append(parts, k.proxyParts(Pod{pod.Namespace, pod.Name}, folder)...)
		}
	}
	if pods.Continue != "" {
		err = fmt.Errorf("of more than %d pods nothing is collected", maxPods)
	}
	return parts, err
}

// logs are those of some containers of a pod, and of what ran in them before.
func (k *collector) logs(pod *corev1.Pod, folder string, names []string) []Part {
	var parts []Part
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if !slices.Contains(names, s.Name) {
			continue // it is the application's
		}
		parts = append(parts, k.log(pod, s.Name, folder+"/"+s.Name+".log", false))
		if s.RestartCount > 0 {
			parts = append(parts, k.log(pod, s.Name, folder+"/"+s.Name+".previous.log", true))
		}
	}
	return parts
}

// logLines bounds what the kubelet reads of a log, and logTime how long that may take. A bound of bytes would cut off the newest lines.
var logLines = int64(20000)

const logTime = partTime * 3 / 4

func (k *collector) log(pod *corev1.Pod, container, file string, previous bool) Part {
	return Part{Name: file, Tail: true, Get: func(ctx context.Context) ([]byte, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, logTime, fmt.Errorf("not all of it came in %v", logTime))
		defer cancel()
		stream, err := k.typed.Logs(pod.Namespace, pod.Name, &corev1.PodLogOptions{
			Container: container, Previous: previous, Timestamps: true, TailLines: &logLines,
		}).Stream(ctx)
		if err != nil {
			return nil, err
		}
		defer stream.Close()
		text, err := lastOf(stream, MaxPart)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return text, err
	}}
}

// lastOf reads everything and returns the last bytes of it, some at most, in whole lines. The error says if there was more.
func lastOf(r io.Reader, most int) ([]byte, error) {
	var kept bytes.Buffer
	read := int64(0)
	for {
		n, err := io.CopyN(&kept, r, int64(most))
		read += n
		if more := kept.Len() - most; more > 0 {
			kept.Next(more)
		}
		switch {
		case err == nil:
			continue
		case read > int64(most) && errors.Is(err, io.EOF):
			return wholeLines(kept.Bytes()), onlyEnd{read}
		case read > int64(most):
			return wholeLines(kept.Bytes()), err
		case errors.Is(err, io.EOF):
			return kept.Bytes(), nil
		default:
			return kept.Bytes(), err
		}
	}
}

// pods lists what is collected of the pods that are named, or of those whose proxies are not as they should be.
func (k *collector) pods(ctx context.Context) ([]Part, error) {
	pods, parts := k.Pods, []Part(nil)
	var told error
	if len(pods) == 0 {
		pods, told = k.troubled(ctx)
	}
	for _, p := range pods {
		folder := "pods/" + p.Namespace + "/" + p.Name
		pod, err := k.typed.Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
		in := k.objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(p.Namespace)
		parts = append(parts,
			Value(folder+"/pod.json", func(ctx context.Context) (any, error) {
				o, err := in.Get(ctx, p.Name, metav1.GetOptions{})
				if err != nil {
					return nil, err
				}
				return k.redactor.Object(o.Object), nil
			}),
			Part{Name: folder + "/inject-explain.txt", Get: func(ctx context.Context) ([]byte, error) {
				why, err := k.Why(ctx, p)
				return []byte(why), err
			}})
		if err != nil {
			continue // the first of its parts tells it
		}
		parts = append(parts, k.logs(pod, folder, k.redactor.containersIn(p.Namespace))...)
		parts = append(parts, k.proxyParts(p, folder)...)
	}
	return parts, told
}

// troubled returns pods whose proxies are not as they should be, some of them.
func (k *collector) troubled(ctx context.Context) ([]Pod, error) {
	proxies, err := k.Client.Proxies(ctx)
	if err != nil {
		return nil, fmt.Errorf("which proxies are out of sync: %w", err)
	}
	n := troubled(proxies)
	var pods []Pod
	for i := range proxies[:min(n, someProxy)] {
		if p, ok := podOf(proxies[i].ID); ok {
			pods = append(pods, p)
		}
	}
	if n > someProxy {
		err = fmt.Errorf("of %d proxies that are out of sync %d are looked at: --pod names others", n, someProxy)
	}
	return pods, err
}

// proxyParts are what the proxy of a pod has and counts.
func (k *collector) proxyParts(p Pod, folder string) []Part {
	id := mesh.ProxyID(p.Name + "." + p.Namespace)
	return []Part{
		configPart(k.Client, id, lookAt{k.Where, id}, folder),
		{Name: folder + "/identity.json", Get: func(ctx context.Context) ([]byte, error) {
			return tunnel.Look(ctx, k.Where, id, agent.LookIdentity)
		}},
		{Name: folder + "/stats.txt", Get: func(ctx context.Context) ([]byte, error) {
			return tunnel.Get(ctx, k.Where, p.Namespace, p.Name, mesh.AgentMetricsPort, "/stats/prometheus")
		}},
		{Name: folder + "/agent-metrics.txt", Get: func(ctx context.Context) ([]byte, error) {
			return tunnel.Get(ctx, k.Where, p.Namespace, p.Name, mesh.AgentMetricsPort, "/metrics")
		}},
	}
}

// lookAt reads what the Envoy of a pod has.
type lookAt struct {
	where kubeclient.Cluster
	proxy mesh.ProxyID
}

// Dump reads the whole dump of the Envoy.
func (l lookAt) Dump(ctx context.Context) ([]byte, error) {
	return tunnel.Look(ctx, l.where, l.proxy, agent.LookConfig)
}

// podOf returns the pod of a proxy.
func podOf(id mesh.ProxyID) (Pod, bool) {
	name, namespace := id.Split()
	return Pod{Namespace: namespace, Name: name}, namespace != ""
}
