package kube

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// captureFlags returns what the container that redirects a pod's connections was told. Nobody can change that while the pod is there, and
// it is what was done; an annotation may say by now what is not so.
func captureFlags(spec *corev1.PodSpec) map[string]string {
	i := slices.IndexFunc(spec.InitContainers, func(c corev1.Container) bool { return c.Name == mesh.CaptureContainer })
	if i < 0 {
		return nil
	}
	flags := map[string]string{}
	args := slices.Concat(spec.InitContainers[i].Command, spec.InitContainers[i].Args)
	for n, arg := range args {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !joined && n+1 < len(args) {
			value = args[n+1]
		}
		flags[name] = value
	}
	return flags
}

// inboundOf returns which of the connections that come to a pod its proxy does not take; nil: nothing was said of that.
func inboundOf(flags map[string]string) *mesh.Inbound {
	var in mesh.Inbound
	for _, name := range []string{mesh.TakeInboundFlag, mesh.KeepInboundFlag} {
		value, told := flags[name]
		ports, err := mesh.ParsePorts(value)
		switch { // what is no list means all, or ends the container, and no proxy gets to run behind it
		case !told || err != nil:
		case name == mesh.TakeInboundFlag:
			in.Take = ports
		default:
			in.Keep = slices.DeleteFunc(ports, func(p uint16) bool { return mesh.IsAgentPort(int(p)) })
		}
	}
	if in.Take == nil && len(in.Keep) == 0 {
		return nil
	}
	return &in
}
