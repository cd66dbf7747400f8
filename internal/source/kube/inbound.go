package kube

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// inboundOf returns what the container that redirects a pod's connections was told of those that come. Nobody can change that while
// the pod is there, and it is what was done; an annotation may say by now what is not so. nil: it was told nothing.
func inboundOf(spec *corev1.PodSpec) *mesh.Inbound {
	i := slices.IndexFunc(spec.InitContainers, func(c corev1.Container) bool { return c.Name == mesh.CaptureContainer })
	if i < 0 {
		return nil
	}
	var in mesh.Inbound
	args := slices.Concat(spec.InitContainers[i].Command, spec.InitContainers[i].Args)
	for n, arg := range args {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !joined && n+1 < len(args) {
			value = args[n+1]
		}
		ports, err := mesh.ParsePorts(value)
		switch { // what is no list means all, or ends the container, and no proxy gets to run behind it
		case err != nil:
		case name == mesh.TakeInboundFlag:
			in.Take = ports
		case name == mesh.KeepInboundFlag:
			in.Keep = slices.DeleteFunc(ports, func(p uint16) bool { return mesh.IsAgentPort(int(p)) })
		}
	}
	if in.Take == nil && len(in.Keep) == 0 {
		return nil
	}
	return &in
}
