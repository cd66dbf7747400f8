// Package policy decides which pods get a sidecar, and reads the document in which a mesh says so.
//
// The document ([Read]) is the one that Istio's sidecar-initializer had in 2017, with all its fields; [Fields] says what each does
// today. The decision ([Decide]) is made of what is known of a pod, of what made it and of its namespace, in one order:
//
//  1. Namespaces of the system get nothing; nor do those that the document excludes or does not name.
//  2. What the pod says counts: its annotation, else its labels, else the annotation of what made it.
//  3. Where it says nothing, its namespace's policy counts: that of its labels, else that of the document.
//  4. A pod that has a sidecar gets no second one; one that cannot have one is left alone.
//
// Every decision says why, and what was said in vain. docs/decisions has the reasons for the order.
package policy

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Pod is what of a pod, or of a pod template, decides.
type Pod struct {
	Object          mesh.Ref          // the pod, or the object with its template
	Annotations     map[string]string // of the pod, or of the template
	Labels          map[string]string // likewise
	Owner           map[string]string // annotations of the object around the template, or of what made the pod
	NamespaceLabels map[string]string
	Containers      []string // names of all its containers, init containers too
	HostNetwork     bool
	Windows         bool
}

// Decision says whether a pod gets a sidecar. Its middle part has the names and meanings of the initializer's log.
type Decision struct {
	Object  mesh.Ref
	Sidecar bool
	// Why is the reason for yes or no, in plain words: `label istio-injection of namespace shop is "disabled"`.
	Why string
	// At is the place in the document of what decided; zero where something else did.
	At mesh.Position
	// Overruled are words of pod and namespace that said the opposite and do not count, in plain words.
	Overruled []string

	NamespacePolicy Mode   // what becomes of pods that say nothing
	UseDefault      bool   // this pod says nothing
	Inject          bool   // it says that it wants a sidecar
	Status          string // annotation sidecar.istio.io/status
	// Required tells that a sidecar is wanted and not there yet. It is also true for a pod that cannot have one.
	Required bool
}

// word is what somebody says about the sidecar of a pod.
type word struct {
	text string
	yes  bool
}

// truths are the values that say yes.
var truths = []string{"y", "yes", "true", "on"}

// Truths returns the values of an annotation that say yes, in any case. Of a label, [Enabled] does too.
func Truths() []string { return slices.Clone(truths) }

// IsTrue tells whether the value of an annotation says yes. Everything else says no.
func IsTrue(value string) bool { return slices.Contains(truths, strings.ToLower(value)) }

// enables tells whether the value of a label says yes: labels have a word of their own.
func enables(value string) bool { return strings.EqualFold(value, string(Enabled)) || IsTrue(value) }

// labels are those that count on pods and namespaces, the first one that is there.
var labels = []string{mesh.InjectLabel, mesh.InjectionLabel}

// words returns what is said of the pod itself. The first one counts.
func (p Pod) words() []word {
	var all []word
	annotation := func(of map[string]string, suffix string) {
		if value, there := of[mesh.InjectAnnotation]; there {
			all = append(all, word{fmt.Sprintf("annotation %s%s is %.80q", mesh.InjectAnnotation, suffix, value), IsTrue(value)})
		}
	}
	annotation(p.Annotations, "")
	all = append(all, labelled(p.Labels, "")...)
	if p.Object.Kind == "Pod" {
		annotation(p.Owner, " of its owner")
	} else {
		annotation(p.Owner, "")
	}
	return all
}

func labelled(with map[string]string, of string) []word {
	var all []word
	for _, key := range labels {
		if value, there := with[key]; there {
			all = append(all, word{fmt.Sprintf("label %s%s is %.80q", key, of, value), enables(value)})
		}
	}
	return all
}

// systemNamespaces hold what a cluster needs to run, and the control planes of meshes.
var systemNamespaces = []string{"kube-system", "kube-public", "kube-node-lease", "istio-system", mesh.SystemNamespace}

// SystemNamespaces returns the namespaces whose pods never get a sidecar.
func SystemNamespaces() []string { return slices.Clone(systemNamespaces) }

// barred returns why no pod of a namespace gets a sidecar, or "", and where the document says so.
func (c Config) barred(namespace string) (why string, at mesh.Position) {
	has := func(list []string, name string) bool {
		_, found := slices.BinarySearch(list, name)
		return found
	}
	switch {
	case slices.Contains(systemNamespaces, namespace):
		return "namespace " + namespace + " belongs to the system", mesh.Position{}
	case has(c.Excluded, namespace):
		return "namespace " + namespace + " is one of excludeNamespaces", c.Places.Excluded
	case !has(c.Namespaces, Everywhere) && !has(c.Namespaces, namespace):
		return "namespace " + namespace + " is none of namespaces", c.Places.Namespaces
	case c.Mode != Enabled && c.Mode != Disabled: // no document that was read has another one
		return fmt.Sprintf("the policy %q is unknown", string(c.Mode)), c.Places.Mode
	}
	return "", mesh.Position{}
}

// Decide says whether a pod gets a sidecar.
func Decide(c Config, p Pod) Decision {
	own, around := p.words(), labelled(p.NamespaceLabels, " of namespace "+p.Object.Namespace)
	d := Decision{Object: p.Object, NamespacePolicy: c.Mode, UseDefault: len(own) == 0, Inject: len(own) > 0 && own[0].yes}
	if len(around) > 0 {
		d.NamespacePolicy = Disabled
		if around[0].yes {
			d.NamespacePolicy = Enabled
		}
	}
	status, injected := p.Annotations[mesh.StatusAnnotation]
	if !injected {
		status, injected = p.Owner[mesh.StatusAnnotation]
	}
	d.Status = status

	barred, at := c.barred(p.Object.Namespace)
	switch {
	case barred != "":
		d.Why, d.At = barred, at
	case !d.UseDefault:
		d.Required, d.Why = d.Inject, own[0].text
	case len(around) > 0:
		d.Required, d.Why = around[0].yes, around[0].text
	case c.Mode == Enabled:
		d.Required, d.Why, d.At = true, "the policy is enabled, and nothing says otherwise", c.Places.Mode
	default:
		d.Why, d.At = "the policy is disabled, and nothing asks for a sidecar", c.Places.Mode
	}
	d.Sidecar = d.Required
	if d.Required {
		if has := p.has(status, injected); has != "" {
			d.Required, d.Sidecar, d.Why, d.At = false, false, has, mesh.Position{}
			return d
		}
		if cannot := p.cannot(); cannot != "" {
			d.Sidecar, d.Why, d.At = false, cannot, mesh.Position{}
		}
	}
	for _, w := range slices.Concat(own, around) {
		if w.yes != d.Sidecar {
			d.Overruled = append(d.Overruled, w.text)
		}
	}
	d.Overruled = slices.DeleteFunc(d.Overruled, func(text string) bool { return text == d.Why })
	return d
}

// has says which sidecar the pod has, or is said to have; "" if none.
func (p Pod) has(status string, injected bool) string {
	proxy := slices.Contains(p.Containers, mesh.ProxyContainer)
	switch {
	case proxy && injected:
		return "it has a sidecar already, " + strconv.Quote(status)
	case proxy:
		return "it has a container " + mesh.ProxyContainer + " already"
	case slices.Contains(p.Containers, "istio-proxy"):
		return "it has a sidecar of Istio, container istio-proxy"
	case injected:
		return "annotation " + mesh.StatusAnnotation + " says that it was injected, " + strconv.Quote(status)
	}
	return ""
}

// mirrorAnnotation is on the pod by which a kubelet shows a pod that it runs from a file of its own.
const mirrorAnnotation = "kubernetes.io/config.mirror"

// cannot says why the pod can have no sidecar, or "".
func (p Pod) cannot() string {
	switch {
	case p.HostNetwork:
		return "it uses the network of its node (hostNetwork)"
	case p.Windows:
		return "it runs on Windows"
	case p.Annotations[mirrorAnnotation] != "":
		return "it is a copy of a static pod, which its node runs by itself"
	}
	return ""
}

// Message returns the decision as the message of a line of a log. [Decision.Attrs] are what belongs to it.
func (d Decision) Message() string {
	switch {
	case d.Sidecar:
		return "sidecar injection policy for " + d.Object.Path()
	case d.Required:
		return "skipping " + d.Object.Path()
	default:
		return "skipping " + d.Object.Path() + " due to policy check"
	}
}

// Attrs returns the attributes of that line, with the names that they had in 2017, and the reason behind them.
func (d Decision) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("kind", d.Object.Kind), slog.String("namespace", d.Object.Namespace), slog.String("name", d.Object.Name),
		slog.String("namespacePolicy", string(d.NamespacePolicy)), //nolint:sloglint // as it was spelled
		slog.Bool("useDefault", d.UseDefault),                     //nolint:sloglint // likewise
		slog.Bool("inject", d.Inject),
		slog.String("status", d.Status), slog.Bool("required", d.Required), slog.String("reason", d.Why),
	}
}

// Explain returns the decision for people, in one line, and one more for each word that does not count.
func (d Decision) Explain() string {
	gets := "gets no sidecar"
	if d.Sidecar {
		gets = "gets a sidecar"
	}
	first := d.Object.String() + " " + gets + ": " + d.Why
	if at := d.At.String(); at != "" {
		first += " (" + at + ")"
	}
	lines := []string{first}
	for _, o := range d.Overruled {
		lines = append(lines, "  does not count: "+o)
	}
	return strings.Join(lines, "\n")
}
