package inject

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Where things lie in the proxy's container, and the names of their volumes.
const (
	credentialsVolume = "lateen"
	credentialsDir    = "/var/run/lateen"
	stateVolume       = "lateen-run"
	stateDir          = "/run/lateen"
	agentProgram      = "/usr/local/bin/lateen-agent"
	tokenFile         = "token"
	tokenSeconds      = 3600
)

// What each of the two containers asks of its node.
const (
	proxyCPU    = "10m"
	proxyMemory = "64Mi"
)

// Sidecar is what a pod gets.
type Sidecar struct {
	Annotations    map[string]string  // of the pod
	InitContainers []corev1.Container // before all others
	Volumes        []corev1.Volume

	// PreStop names the containers that wait so many seconds before they are told to stop. A proxy that is part of a pod in
	// this way stops after them, but others learn only little by little that the pod is going.
	PreStop        []string
	PreStopSeconds int64
}

// For returns the sidecar for a pod in which the named containers get a sleep of so many seconds before they stop.
func For(o Options, preStop []string, seconds int64) *Sidecar {
	s := &Sidecar{
		Annotations:    map[string]string{mesh.StatusAnnotation: mesh.StatusPrefix + o.Version},
		InitContainers: []corev1.Container{redirection(o), proxy(o)},
		Volumes:        volumes(),
	}
	if len(preStop) > 0 && seconds > 0 {
		s.PreStop, s.PreStopSeconds = preStop, seconds
		s.Annotations[preStopAdded] = strings.Join(preStop, ",")
	}
	return s
}

// handler returns what PreStop adds to a container.
func (s *Sidecar) handler() *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: s.PreStopSeconds}}
}

func (o Options) pull() corev1.PullPolicy {
	if o.Pull == "" {
		return corev1.PullIfNotPresent
	}
	return o.Pull
}

// redirection returns the container that redirects the pod's traffic. It runs as root, since a program of another user would not
// keep what it is allowed, and whatever the pod says of its users.
func redirection(o Options) corev1.Container {
	args := []string{"capture", "--proxy-uid=" + strconv.Itoa(mesh.ProxyUser), "--" + mesh.AddressesFlag + "=$(POD_IPS)"}
	if ranges := o.ranges(); ranges != "" {
		args = append(args, "--include-ip-ranges="+ranges)
	}
	if len(o.Exclude) > 0 {
		args = append(args, "--exclude-ip-ranges="+strings.Join(o.Exclude, ","))
	}
	args = append(args, o.Tuning.capture()...)
	security := restricted(0)
	security.RunAsNonRoot = new(false)
	security.Capabilities.Add = []corev1.Capability{"NET_ADMIN", "NET_RAW"}
	return corev1.Container{
		Name: mesh.CaptureContainer, Image: o.Image, Args: args, Env: []corev1.EnvVar{podField("POD_IPS", "status.podIPs")},
		Resources: requests(), ImagePullPolicy: o.pull(), SecurityContext: security,
	}
}

// proxy returns the container with agent and Envoy, which starts before all that follow and stops after them.
func proxy(o Options) corev1.Container {
	args := []string{
		"agent",
		"--node=$(POD_NAME).$(POD_NAMESPACE)",
		"--address=$(INSTANCE_IP)",
		"--dir=" + stateDir,
		"--control-plane=" + mesh.SystemAddress,
		"--service-account-token=" + credentialsDir + "/" + tokenFile,
		"--root-cert=" + credentialsDir + "/" + mesh.RootKey,
		"--health-address=:" + strconv.Itoa(mesh.AgentHealthPort),
		"--metrics-address=:" + strconv.Itoa(mesh.AgentMetricsPort),
	}
	health := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz/ready", Port: intstr.FromInt32(mesh.AgentHealthPort)}}
	return corev1.Container{
		Name: mesh.ProxyContainer, Image: o.Image, ImagePullPolicy: o.pull(), SecurityContext: restricted(mesh.ProxyUser),
		RestartPolicy: new(corev1.ContainerRestartPolicyAlways),
		Args:          append(args, o.Tuning.agent()...),
		Env: []corev1.EnvVar{
			podField("POD_NAME", "metadata.name"), podField("POD_NAMESPACE", "metadata.namespace"),
			podField("INSTANCE_IP", "status.podIP"), podField("SERVICE_ACCOUNT", "spec.serviceAccountName"),
		},
		Resources: o.Tuning.resources(),
		VolumeMounts: []corev1.VolumeMount{
			{Name: credentialsVolume, MountPath: credentialsDir, ReadOnly: true}, {Name: stateVolume, MountPath: stateDir},
		},
		// The kubelet runs this at the beginning of the pod's end, and stops the proxy only after the application: by then nobody
		// who keeps connections is to have one.
		Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
			Command: []string{agentProgram, "drain", "--dir=" + stateDir},
		}}},
		StartupProbe:   &corev1.Probe{ProbeHandler: health, PeriodSeconds: 1, FailureThreshold: 600},
		ReadinessProbe: &corev1.Probe{ProbeHandler: health, PeriodSeconds: 5, TimeoutSeconds: 3},
	}
}

func podField(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

// requests are small, since a container's request is held for it whether it is used or not.
func requests() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(proxyCPU), corev1.ResourceMemory: resource.MustParse(proxyMemory),
	}}
}

// restricted returns what a container of a user may do: next to nothing.
func restricted(user int64) *corev1.SecurityContext {
	return &corev1.SecurityContext{
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		RunAsUser:    new(user), RunAsGroup: new(user), RunAsNonRoot: new(true),
		ReadOnlyRootFilesystem: new(true), AllowPrivilegeEscalation: new(false), Privileged: new(false),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// volumes returns those with the pod's credentials, and with what the agent writes.
func volumes() []corev1.Volume {
	token := corev1.ServiceAccountTokenProjection{Audience: mesh.TokenAudience, ExpirationSeconds: new(int64(tokenSeconds)), Path: tokenFile}
	roots := corev1.ConfigMapProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: mesh.RootConfigMap},
		Items:                []corev1.KeyToPath{{Key: mesh.RootKey, Path: mesh.RootKey}},
	}
	return []corev1.Volume{
		{Name: credentialsVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &token}, {ConfigMap: &roots}},
		}}},
		{Name: stateVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
	}
}
