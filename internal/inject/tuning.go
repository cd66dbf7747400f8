package inject

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Annotations of a pod about its sidecar, those that Istio has by its names.
const (
	trafficPrefix      = "traffic.sidecar.istio.io/"
	includeRanges      = trafficPrefix + "includeOutboundIPRanges"
	excludeRanges      = trafficPrefix + "excludeOutboundIPRanges"
	includeOutbound    = trafficPrefix + "includeOutboundPorts"
	excludeOutbound    = trafficPrefix + "excludeOutboundPorts"
	includeInbound     = trafficPrefix + "includeInboundPorts"
	excludeInbound     = trafficPrefix + "excludeInboundPorts"
	cpuRequest         = "sidecar.istio.io/proxyCPU"
	cpuLimit           = "sidecar.istio.io/proxyCPULimit"
	memoryRequest      = "sidecar.istio.io/proxyMemory"
	memoryLimit        = "sidecar.istio.io/proxyMemoryLimit"
	logLevelAnnotation = "sidecar.istio.io/logLevel"
	threadsAnnotation  = "lateen.dev/proxy-concurrency"
)

const (
	maxPorts = 62 // as package capture has it, but for those of the agent
	// leastMemory is less than any Envoy starts with. Who asks for that has likely written "128m", which is no megabyte.
	leastMemory = 16 << 20
)

// capture returns what the container that redirects the pod's traffic is told.
func (t Tuning) capture() []string {
	var args []string
	if len(t.PassOutbound) > 0 {
		args = append(args, "--keep-outbound-ports="+portList(t.PassOutbound))
	}
	if len(t.SendOutbound) > 0 {
		args = append(args, "--take-outbound-ports="+portList(t.SendOutbound))
	}
	if t.Inbound.Take != nil {
		args = append(args, "--"+mesh.TakeInboundFlag+"="+portList(t.Inbound.Take))
	}
	if len(t.Inbound.Keep) > 0 {
		keep := append([]uint16{mesh.AgentMetricsPort, mesh.AgentHealthPort}, t.Inbound.Keep...)
		slices.Sort(keep)
		args = append(args, "--"+mesh.KeepInboundFlag+"="+portList(slices.Compact(keep)))
	}
	return args
}

// agent returns what the agent is told.
func (t Tuning) agent() []string {
	var args []string
	if t.Concurrency != 0 {
		args = append(args, "--"+mesh.ConcurrencyFlag+"="+strconv.Itoa(t.Concurrency))
	}
	if t.LogLevel != "" {
		args = append(args, "--"+mesh.ProxyLogLevelFlag+"="+t.LogLevel)
	}
	return args
}

// resources returns what the proxy asks of its node, and may have: of what has a limit below the usual request that is asked for too.
func (t Tuning) resources() corev1.ResourceRequirements {
	r := requests()
	for name, most := range t.Limits {
		if usual := r.Requests[name]; usual.Cmp(most) > 0 {
			r.Requests[name] = most
		}
	}
	maps.Copy(r.Requests, t.Requests)
	r.Limits = t.Limits
	return r
}

func portList(ports []uint16) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = strconv.Itoa(int(p))
	}
	return strings.Join(texts, ",")
}

// annotation returns the value of an annotation of the pod, or else of the object around it, and where it stands.
func (p *pod) annotation(key string) (value string, path []any, there bool) {
	if value, there = p.annotations[key]; there {
		return value, p.at("metadata", "annotations", key), true
	}
	value, there = p.own[key]
	return value, []any{"metadata", "annotations", key}, there
}

// tuner reads the annotations of a pod into options.
type tuner struct {
	w *workload
	p *pod
	o Options
}

// tuned returns the options with what the annotations of the pod say in their place, and tells what is wrong with these.
func (w *workload) tuned(p *pod, o Options) Options {
	t := tuner{w, p, o}
	t.networks()
	t.ports()
	t.resources()
	t.proxy()
	t.unknown()
	return t.o
}

// isTuned tells whether annotations say something of a sidecar.
func (o Options) isTuned(usual Options) bool { return !reflect.DeepEqual(o, usual) }

func (t *tuner) wrong(path []any, message, hint string) {
	t.w.wrong(mesh.Problem{Code: config.CodeInvalidValue, Message: message, Hint: hint}, path...)
}

// networks reads those that are captured and those that are not. None are captured where the annotation for the first is empty.
func (t *tuner) networks() {
	for key, list := range map[string]*[]string{includeRanges: &t.o.Ranges, excludeRanges: &t.o.Exclude} {
		if value, _, there := t.p.annotation(key); there {
			*list = words(value)
		}
	}
	if _, _, there := t.p.annotation(includeRanges); there && len(t.o.Ranges) == 0 {
		t.o.Exclude = []string{policy.AllNetworks}
	}
	told := false
	for _, key := range []string{includeRanges, excludeRanges} {
		value, path, there := t.p.annotation(key)
		if !there {
			continue
		}
		if err := policy.CheckRanges(words(value)); err != nil {
			t.wrong(path, err.Error(), `write networks with commas between, or "*" for all`)
		} else if err := t.o.checkRanges(); err != nil && !told {
			told = true
			t.wrong(path, err.Error(), "")
		}
	}
}

// words splits a list.
func words(list string) []string {
	var all []string
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word != "" {
			all = append(all, word)
		}
	}
	return all
}

// ports reads those that are not captured.
func (t *tuner) ports() {
	u := &t.o.Tuning
	n := 0
	for _, list := range []struct {
		key   string
		ports *[]uint16
	}{{excludeOutbound, &u.PassOutbound}, {includeOutbound, &u.SendOutbound}, {includeInbound, &u.Inbound.Take}, {excludeInbound, &u.Inbound.Keep}} {
		value, path, there := t.p.annotation(list.key)
		if !there || (list.key == includeInbound && strings.TrimSpace(value) == policy.AllNetworks) {
			continue
		}
		ports, err := mesh.ParsePorts(value)
		if err != nil {
			t.wrong(path, err.Error(), "write ports by their numbers, with commas between")
			continue
		}
		for _, port := range []uint16{mesh.OutboundPort, mesh.InboundPort} {
			if list.key != excludeOutbound && list.key != includeOutbound && slices.Contains(ports, port) {
				t.wrong(path, fmt.Sprintf("port %d is the proxy's", port), "leave it out: nobody may dial it")
			}
		}
		if n += len(ports); n > maxPorts {
			t.wrong(path, fmt.Sprintf("the annotations name %d ports, more than %d", n, maxPorts), "")
			continue
		}
		*list.ports = ports
	}
}

// resources reads what the proxy asks of its node, and may have.
func (t *tuner) resources() {
	u := &t.o.Tuning
	for _, q := range []struct {
		key  string
		name corev1.ResourceName
		list *corev1.ResourceList
	}{
		{cpuRequest, corev1.ResourceCPU, &u.Requests},
		{memoryRequest, corev1.ResourceMemory, &u.Requests},
		{cpuLimit, corev1.ResourceCPU, &u.Limits},
		{memoryLimit, corev1.ResourceMemory, &u.Limits},
	} {
		value, path, there := t.p.annotation(q.key)
		if !there {
			continue
		}
		n, err := resource.ParseQuantity(value)
		switch asked, both := u.Requests[q.name]; {
		case err != nil || n.Sign() <= 0:
			t.wrong(path, fmt.Sprintf("%.60q is no amount", value), "write it as Kubernetes does, such as 100m of CPU and 128Mi of memory")
			continue
		case q.name == corev1.ResourceMemory && n.Value() < leastMemory:
			t.wrong(path, fmt.Sprintf("%s of memory are too little for a proxy", value), "Mi stands for megabytes, m for thousandths of a byte")
			continue
		case q.list == &u.Limits && both && asked.Cmp(n) > 0:
			t.wrong(path, fmt.Sprintf("the limit %s is less than the request %s", value, asked.String()), "")
			continue
		}
		if *q.list == nil {
			*q.list = corev1.ResourceList{}
		}
		(*q.list)[q.name] = n
	}
}

// proxy reads how Envoy is run.
func (t *tuner) proxy() {
	if value, path, there := t.p.annotation(logLevelAnnotation); there {
		if !slices.Contains(mesh.ProxyLogLevels(), value) {
			t.wrong(path, fmt.Sprintf("there is no level %.60q", value), config.Suggest(value, "levels", mesh.ProxyLogLevels()))
		}
		t.o.Tuning.LogLevel = value
	}
	if value, path, there := t.p.annotation(threadsAnnotation); there {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > mesh.MaxConcurrency {
			t.wrong(path, fmt.Sprintf("%.60q is no number of threads", value), fmt.Sprintf("write a number from 1 to %d", mesh.MaxConcurrency))
		}
		t.o.Tuning.Concurrency = n
	}
}

// unknown warns of annotations that are about capture and have no meaning here.
func (t *tuner) unknown() {
	known := []string{includeRanges, excludeRanges, includeOutbound, excludeOutbound, includeInbound, excludeInbound}
	for _, key := range slices.Sorted(maps.Keys(t.p.annotations)) {
		if !strings.HasPrefix(key, trafficPrefix) || slices.Contains(known, key) {
			continue
		}
		_, path, _ := t.p.annotation(key)
		t.w.warn(mesh.Problem{
			Code: config.CodeNoEffect, Message: "the annotation has no meaning here", Hint: config.Suggest(key, "such annotations", known),
		}, path...)
	}
}
