package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/edit"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Annotations of the pod by which a sidecar can be taken out again.
const (
	// preStopAdded names the containers that were given a sleep, with commas.
	preStopAdded = "lateen.dev/pre-stop-added"
	// emptyBefore names what was there and held nothing, with commas. It is there only if there was such a thing.
	emptyBefore = "lateen.dev/empty-before"
)

// Sleep of containers before they stop, in seconds.
const (
	usualSleep = 5
	usualGrace = 30 // of Kubernetes, for a whole pod
)

// recipe is what all pods of a file get alike.
type recipe struct {
	options       Options
	init, volumes []*yaml.Node
}

func newRecipe(o Options) recipe {
	s := For(o, nil, 0)
	return recipe{options: o, init: trees(s.InitContainers), volumes: trees(s.Volumes)}
}

// inject adds to the change of the object what its pods get, or returns why they get nothing.
func (w *workload) inject(r recipe, c *edit.Change) string {
	p := w.pod()
	if p == nil {
		return ""
	}
	if w.decision = w.decide(p); !w.decision.Sidecar {
		return w.decision.Why
	}
	seconds, o := w.sleep(p), w.tuned(p, r.options)
	w.clashes(p)
	if mesh.HasErrors(w.problems) {
		return ""
	}
	w.doubts(p, o)
	s := For(o, p.sleepers(), seconds)
	if o.isTuned(r.options) {
		r.init = trees(s.InitContainers)
	}
	w.grow(p, r, s, c)
	return ""
}

// sleep returns for how many seconds the pod's containers wait before they are told to stop. Pods of jobs do not wait: nothing
// is sent to them, and they end by themselves.
func (w *workload) sleep(p *pod) int64 {
	if restart := Text(edit.Field(p.spec, "restartPolicy")); restart != "" && restart != "Always" {
		return 0
	}
	grace := int64(usualGrace)
	if n, err := strconv.ParseInt(Text(edit.Field(p.spec, "terminationGracePeriodSeconds")), 10, 64); err == nil {
		grace = n
	}
	value, path, there := p.annotation(mesh.PreStopAnnotation)
	if !there {
		return min(usualSleep, max(grace/2, 0)) // and leaves time to stop in
	}
	seconds, err := strconv.ParseInt(value, 10, 32)
	switch {
	case err != nil || seconds < 0:
		w.wrong(mesh.Problem{
			Code: config.CodeInvalidValue, Message: strconv.Quote(value) + " is no number of seconds", Hint: `"0" is for no sleep`,
		}, path...)
	case seconds > grace:
		w.wrong(mesh.Problem{
			Code:    config.CodeInvalidValue,
			Message: fmt.Sprintf("a sleep of %d s is longer than the pod's terminationGracePeriodSeconds, which are %d", seconds, grace),
		}, path...)
	}
	return seconds
}

// sleepers returns the names of the containers that say nothing about what comes before their stop.
func (p *pod) sleepers() []string {
	var all []string
	for _, c := range p.apps {
		lifecycle := edit.Field(c.node, "lifecycle")
		if lifecycle == nil || hollow(lifecycle) || lifecycle.Kind == yaml.MappingNode && edit.Field(lifecycle, "preStop") == nil {
			all = append(all, c.name)
		}
	}
	return all
}

// clashes reports names that the sidecar needs.
func (w *workload) clashes(p *pod) {
	taken := mesh.Problem{Code: config.CodeInvalidName, Message: "the sidecar needs this name", Hint: "give it another name"}
	if c := p.named(mesh.CaptureContainer); c != nil {
		w.wrong(taken, append(slices.Clone(c.path), "name")...)
	}
	for i, name := range p.volumes {
		if name == credentialsVolume || name == stateVolume {
			w.wrong(taken, p.at("spec", "volumes", i, "name")...)
		}
	}
	for _, key := range []string{preStopAdded, emptyBefore} {
		if _, there := p.annotations[key]; there {
			w.wrong(mesh.Problem{
				Code: config.CodeConflictingFields, Message: "it is left of a sidecar that is no longer there", Hint: "remove the annotation",
			}, p.at("metadata", "annotations", key)...)
		}
	}
}

// doubts warns of what the sidecar cannot do for the pod.
func (w *workload) doubts(p *pod, o Options) {
	everybody := Text(find(p.spec, "securityContext", "runAsUser"))
	ports := []string{}
	for _, port := range []int{mesh.OutboundPort, mesh.InboundPort, mesh.AgentMetricsPort, mesh.AgentHealthPort} {
		ports = append(ports, strconv.Itoa(port))
	}
	asked := o.Tuning.resources().Requests
	cpu, memory := asked[corev1.ResourceCPU], asked[corev1.ResourceMemory]
	if !absent(find(p.spec, "resources", "requests")) || !absent(find(p.spec, "resources", "limits")) {
		w.warn(mesh.Problem{
			Code:    config.CodeInvalidValue,
			Message: "what the whole pod may have must have room for the sidecar: requests of " + cpu.String() + " CPU and " + memory.String(),
		}, p.at("spec", "resources")...)
	}
	for _, c := range slices.Concat(p.init, p.apps) {
		user, path := c.user, append(slices.Clone(c.path), "securityContext", "runAsUser")
		if user == "" {
			user, path = everybody, p.at("spec", "securityContext", "runAsUser")
		}
		if user == strconv.Itoa(mesh.ProxyUser) {
			w.warn(mesh.Problem{
				Code:    config.CodeInvalidValue,
				Message: "user " + user + " is the proxy's: what container " + c.name + " sends does not go through the proxy",
			}, path...)
		}
		for i, port := range c.ports {
			if slices.Contains(ports, port) {
				w.warn(mesh.Problem{
					Code: config.CodeInvalidValue, Message: "port " + port + " is the sidecar's: container " + c.name + " cannot be reached there",
				}, append(slices.Clone(c.path), "ports", i, "containerPort")...)
			}
		}
	}
}

// grow adds a sidecar to the change of the object.
func (w *workload) grow(p *pod, r recipe, s *Sidecar, c *edit.Change) {
	at := c
	for _, key := range w.kind.template {
		at = at.Key(key)
	}
	var before []string // what held nothing
	spec := at.Key("spec")
	for _, l := range []struct {
		key   string
		items []*yaml.Node
	}{{"initContainers", r.init}, {"volumes", r.volumes}} {
		list := edit.Field(p.spec, l.key)
		if list == nil {
			spec.Add(l.key, &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: l.items})
			continue
		}
		if hollow(list) {
			before = append(before, l.key)
		}
		spec.Key(l.key).Prepend(l.items...)
	}
	list, handler, sleep := spec.Key("containers"), tree(s.handler()), map[string]bool{}
	for _, name := range s.PreStop {
		sleep[name] = true
	}
	for i, a := range p.apps {
		if !sleep[a.name] {
			continue
		}
		one := &edit.Change{}
		list.Put(i, one)
		lifecycle := edit.Field(a.node, "lifecycle")
		if lifecycle == nil {
			one.Add("lifecycle", edit.Mapping("preStop", handler))
			continue
		}
		if hollow(lifecycle) {
			before = append(before, "lifecycle."+a.name)
		}
		one.Key("lifecycle").Add("preStop", handler)
	}
	annotations := maps.Clone(s.Annotations)
	before = append(before, hollowMetadata(p.node, "")...)
	if len(w.kind.template) > 0 {
		before = append(before, hollowMetadata(w.object, "object.")...)
		annotate(w.object, c, map[string]string{mesh.StatusAnnotation: s.Annotations[mesh.StatusAnnotation]})
	}
	if len(before) > 0 {
		annotations[emptyBefore] = strings.Join(before, ",")
	}
	annotate(p.node, at, annotations)
}

// hollowMetadata names what of an object's metadata is there and holds nothing.
func hollowMetadata(n *yaml.Node, prefix string) []string {
	meta := edit.Field(n, "metadata")
	if hollow(meta) {
		return []string{prefix + "metadata"}
	}
	if hollow(edit.Field(meta, "annotations")) {
		return []string{prefix + "annotations"}
	}
	return nil
}

// annotate adds annotations to the change of an object or a pod template.
func annotate(n *yaml.Node, c *edit.Change, annotations map[string]string) {
	all := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		all.Content = append(all.Content, edit.Scalar(key), edit.Scalar(annotations[key]))
	}
	meta := edit.Field(n, "metadata")
	switch {
	case meta == nil:
		c.Add("metadata", edit.Mapping("annotations", all))
	case edit.Field(meta, "annotations") == nil:
		c.Key("metadata").Add("annotations", all)
	default:
		for i := 0; i < len(all.Content); i += 2 {
			c.Key("metadata").Key("annotations").Add(all.Content[i].Value, all.Content[i+1])
		}
	}
}

// tree returns a part of the Kubernetes API as it is written, without what is empty.
func tree(part any) *yaml.Node {
	data, err := json.Marshal(part)
	if err != nil {
		panic(fmt.Sprintf("a part of a pod cannot be written: %v", err)) // the types of the API can
	}
	n, err := edit.Tree(data)
	if err != nil {
		panic(fmt.Sprintf("a part of a pod cannot be read: %v", err)) // it was just written
	}
	return n
}

func trees[T any](parts []T) []*yaml.Node {
	var all []*yaml.Node
	for _, part := range parts {
		all = append(all, tree(part))
	}
	return all
}
