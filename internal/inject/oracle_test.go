package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

var options = Options{Image: "lateen-proxy:1.2", Version: "1.2"}

// object is a Kubernetes object as kubectl sends it.
type object = map[string]any

// read takes a file apart as kubectl does.
func read(t testing.TB, file []byte) []object {
	t.Helper()
	var all []object
	in := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(file), 4096)
	for {
		var o object
		err := in.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("kubectl could not read it: %v", err)
		}
		if o != nil {
			all = append(all, o)
		}
	}
}

// flat returns objects with the items of Lists in their place.
func flat(objects []object) []object {
	var all []object
	for _, o := range objects {
		items, ok := o["items"].([]any)
		if !ok {
			all = append(all, o)
			continue
		}
		for _, item := range items {
			one, ok := item.(object)
			if !ok {
				continue
			}
			if kind, _ := o["kind"].(string); one["kind"] == nil {
				one["kind"] = strings.TrimSuffix(kind, "List")
			}
			all = append(all, flat([]object{one})...)
		}
	}
	return all
}

// checkMeaning compares what a file means with what it meant before: the same, and a sidecar in the workloads that are said to
// have got one. The sidecar is added here to Kubernetes' own types, in another way than the package does it to text.
func checkMeaning(t testing.TB, before []byte, o Options, r Result) {
	t.Helper()
	was, is := flat(read(t, before)), flat(read(t, r.Text))
	if len(was) != len(is) {
		t.Fatalf("there were %d objects, and there are %d", len(was), len(is))
	}
	workloads := r.Workloads
	for i := range was {
		kind, _ := was[i]["kind"].(string)
		version, _ := was[i]["apiVersion"].(string)
		if len(workloads) > 0 && kind == workloads[0].Ref.Kind && (version == "" || kinds[kind].has(version)) {
			if workloads[0].Changed {
				injectObject(t, was[i], o)
				delete(annotationsOf(templateOf(is[i])), emptyBefore) // is held against the way back
			}
			workloads = workloads[1:]
		}
		if difference := cmp.Diff(was[i], is[i]); difference != "" {
			t.Errorf("%s %d: the result means something else (- wanted, + got):\n%s", kind, i, difference)
		}
	}
	if len(workloads) > 0 {
		t.Errorf("workloads are told that are not there: %v", workloads)
	}
}

// injectObject gives an object its sidecar.
func injectObject(t testing.TB, o object, opt Options) {
	t.Helper()
	kind, _ := o["kind"].(string)
	template := templateOf(o)
	spec, _ := template["spec"].(object)
	if kind != "Pod" {
		annotateObject(o, mesh.StatusAnnotation, mesh.StatusPrefix+opt.Version)
	}
	seconds := wait(spec, annotationsOf(template), annotationsOf(o))
	var names []string
	for _, c := range spec["containers"].([]any) {
		one, _ := c.(object)
		lifecycle, there := one["lifecycle"].(object)
		if _, has := lifecycle["preStop"]; has || seconds == 0 {
			continue
		}
		name, _ := one["name"].(string)
		names = append(names, name)
		if !there {
			lifecycle = object{}
			one["lifecycle"] = lifecycle
		}
		lifecycle["preStop"] = object{"sleep": object{"seconds": float64(seconds)}}
	}
	s := For(tunedBy(t, opt, annotationsOf(o), annotationsOf(template)), names, seconds)
	for _, key := range []string{"initContainers", "volumes"} {
		list, _ := spec[key].([]any)
		var ours []any
		if key == "volumes" {
			ours = generic(t, s.Volumes)
		} else {
			ours = generic(t, s.InitContainers)
		}
		spec[key] = slices.Concat(ours, list)
	}
	for key, value := range s.Annotations {
		annotateObject(template, key, value)
	}
}

func templateOf(o object) object {
	kind, _ := o["kind"].(string)
	for _, key := range kinds[kind].template {
		o, _ = o[key].(object)
	}
	return o
}

func wait(spec object, annotations, own map[string]any) int64 {
	if restart, _ := spec["restartPolicy"].(string); restart != "" && restart != "Always" {
		return 0
	}
	for _, from := range []map[string]any{annotations, own} {
		if text, ok := from[mesh.PreStopAnnotation].(string); ok {
			n, _ := strconv.ParseInt(text, 10, 64)
			return n
		}
	}
	if grace, ok := spec["terminationGracePeriodSeconds"].(float64); ok {
		return min(5, int64(grace)/2)
	}
	return 5
}

// tunedBy reads annotations that are right, the later ones before the earlier ones, into options.
func tunedBy(t testing.TB, o Options, annotations ...object) Options {
	t.Helper()
	amount := func(list *corev1.ResourceList, name corev1.ResourceName, text string) {
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name] = resource.MustParse(text)
	}
	for _, all := range annotations {
		for key, value := range all {
			text, _ := value.(string)
			ports, err := mesh.ParsePorts(text)
			switch u := &o.Tuning; key {
			case "traffic.sidecar.istio.io/includeOutboundIPRanges":
				o.Ranges = strings.Fields(strings.ReplaceAll(text, ",", " "))
				if text == "" {
					o.Exclude = []string{"*"}
				}
			case "traffic.sidecar.istio.io/excludeOutboundIPRanges":
				o.Exclude = strings.Fields(strings.ReplaceAll(text, ",", " "))
			case "traffic.sidecar.istio.io/excludeOutboundPorts":
				u.PassOutbound = ports
			case "traffic.sidecar.istio.io/includeOutboundPorts":
				u.SendOutbound = ports
			case "traffic.sidecar.istio.io/includeInboundPorts":
				u.Inbound.Take = ports
				if err != nil {
					u.Inbound.Take = nil // all
				}
			case "traffic.sidecar.istio.io/excludeInboundPorts":
				u.Inbound.Keep = ports
			case "sidecar.istio.io/proxyCPU":
				amount(&u.Requests, corev1.ResourceCPU, text)
			case "sidecar.istio.io/proxyMemory":
				amount(&u.Requests, corev1.ResourceMemory, text)
			case "sidecar.istio.io/proxyCPULimit":
				amount(&u.Limits, corev1.ResourceCPU, text)
			case "sidecar.istio.io/proxyMemoryLimit":
				amount(&u.Limits, corev1.ResourceMemory, text)
			case "sidecar.istio.io/logLevel":
				u.LogLevel = text
			case "lateen.dev/proxy-concurrency":
				u.Concurrency, _ = strconv.Atoi(text)
			}
		}
	}
	return o
}

func annotationsOf(o object) object {
	meta, _ := o["metadata"].(object)
	annotations, _ := meta["annotations"].(object)
	if annotations == nil {
		return object{}
	}
	return annotations
}

func annotateObject(o object, key, value string) {
	meta, _ := o["metadata"].(object)
	if meta == nil {
		meta = object{}
		o["metadata"] = meta
	}
	annotations, _ := meta["annotations"].(object)
	if annotations == nil {
		annotations = object{}
		meta["annotations"] = annotations
	}
	annotations[key] = value
}

// generic returns typed parts as they are read from a file.
func generic(t testing.TB, parts any) []any {
	t.Helper()
	data, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	var all []any
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// checkTypes holds pod specs against Kubernetes' own types, which know every field, unless they were no pod specs before.
func checkTypes(t testing.TB, before, after []byte) {
	t.Helper()
	was := flat(read(t, before))
	for i, o := range flat(read(t, after)) {
		if podSpec(t, was[i]) == nil && podSpec(t, o) != nil {
			t.Errorf("%v: %v", o["kind"], podSpec(t, o))
		}
	}
}

// podSpec returns what keeps the pod spec of an object from being one.
func podSpec(t testing.TB, o object) error {
	t.Helper()
	data, err := json.Marshal(templateOf(o)["spec"])
	if kind, _ := o["kind"].(string); err != nil || !kinds[kind].has(fmt.Sprint(o["apiVersion"])) {
		return err
	}
	in := json.NewDecoder(bytes.NewReader(data))
	in.DisallowUnknownFields()
	return in.Decode(&corev1.PodSpec{})
}

// checkLines tells whether the difference between two texts is added lines only.
func checkLines(t testing.TB, before, after string) {
	t.Helper()
	rest := strings.SplitAfter(after, "\n")
	for i, line := range strings.SplitAfter(before, "\n") {
		at := slices.IndexFunc(rest, func(l string) bool {
			return strings.TrimSuffix(strings.TrimSuffix(l, "\n"), "\r") == strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		})
		if at < 0 {
			t.Fatalf("line %d is gone: %q", i+1, line)
		}
		rest = rest[at+1:]
	}
}

func yamlOf(t testing.TB, o object) []byte {
	t.Helper()
	data, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
