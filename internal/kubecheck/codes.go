package kubecheck

import "github.com/lateen-mesh/lateen/internal/checkup"

// The kinds of findings that are about a cluster.
const (
	ClusterOld          checkup.Code = "cluster-old"
	RightMissing        checkup.Code = "right-missing"
	RefusedInAdvance    checkup.Code = "refused-in-advance"
	NodeUnfit           checkup.Code = "node-unfit"
	NamespaceForbids    checkup.Code = "namespace-forbids"
	KindOfOthers        checkup.Code = "kind-of-others"
	LeftOver            checkup.Code = "left-over"
	NotInstalled        checkup.Code = "not-installed"
	PlaneDown           checkup.Code = "plane-down"
	InstallationDiffers checkup.Code = "installation-differs"
	VersionDiffers      checkup.Code = "version-differs"
	RootMissing         checkup.Code = "root-missing"
	RootDiffers         checkup.Code = "root-differs"
	PodNotReady         checkup.Code = "pod-not-ready"
	ProtocolUnknown     checkup.Code = "protocol-unknown"
	ProbeSaysNothing    checkup.Code = "probe-says-nothing"
	PolicyBroken        checkup.Code = "policy-broken"
	WebhookSilent       checkup.Code = "webhook-silent"
	WebhookDistrusted   checkup.Code = "webhook-distrusted"
	WebhookUnreachable  checkup.Code = "webhook-unreachable"
	SidecarMissing      checkup.Code = "sidecar-missing"
	SidecarOld          checkup.Code = "sidecar-old"
	SelectorEmpty       checkup.Code = "selector-empty"
)

// Codes lists the kinds of findings that are about a cluster.
func Codes() []checkup.Code {
	return []checkup.Code{
		ClusterOld, RightMissing, RefusedInAdvance, NodeUnfit, NamespaceForbids, KindOfOthers, LeftOver, NotInstalled, PlaneDown,
		InstallationDiffers, VersionDiffers, RootMissing, RootDiffers, PodNotReady, ProtocolUnknown, ProbeSaysNothing,
		PolicyBroken, WebhookSilent, WebhookDistrusted, WebhookUnreachable, SidecarMissing, SidecarOld, SelectorEmpty,
	}
}
