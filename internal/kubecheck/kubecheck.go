// Package kubecheck looks whether a cluster is fit for Lateen, and whether what is installed there is as it should be.
//
// What comes in: a cluster, and the manifests of this version. What goes out: a [checkup.Report], as of a mesh on one machine:
// of a cluster before an installation ([Before]), and of one with Lateen ([Installed]), to which the report of its control
// plane is added where that answers. Each finding says what to do.
//
// Everything is read once and then judged: the judgements ask nobody. It promises to change nothing: what would be applied is
// only tried, which the API server itself calls a dry run. What may not be read it says, and goes on without.
package kubecheck

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/checkup"
	"github.com/lateen-mesh/lateen/internal/install"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Config says where to look, and for what.
type Config struct {
	Cluster kubeclient.Cluster
	// Manifests renders what this version applies, for images below hub with a tag, and so many replicas, with an ingress or without.
	Manifests func(hub, tag string, replicas int, noIngress bool) ([]byte, error)
	Version   string // of this program
	// Patience is how long a control plane that has just begun is waited for, which tells the API server of its webhooks then.
	Patience time.Duration
	// Plane asks the control plane; nil: it is not asked.
	Plane *api.Client
	// Mesh looks at the mesh as its control plane knows it; nil: nobody does.
	Mesh func(context.Context) (checkup.Report, error)
}

// area is a part of a report.
type area struct {
	name  string
	judge func(*facts) (summary string, findings []checkup.Finding)
}

// Before says whether Lateen can be installed in a cluster.
func Before(ctx context.Context, c Config) (checkup.Report, error) {
	f, err := look(ctx, c)
	if err != nil {
		return checkup.Report{}, err
	}
	if err := f.lookBefore(ctx); err != nil {
		return checkup.Report{}, err
	}
	return f.report([]area{
		{"API server", (*facts).server},
		{"rights", (*facts).rightsOfUser},
		{"nodes", (*facts).nodesArea},
		{"namespaces", (*facts).namespacesArea},
		{"what is there", (*facts).previous},
	}), nil
}

// Installed says whether what is installed in a cluster is as it should be.
func Installed(ctx context.Context, c Config) (checkup.Report, error) {
	f, err := look(ctx, c)
	if err != nil {
		return checkup.Report{}, err
	}
	waited, err := f.awaitTold(ctx)
	if err == nil && waited {
		f, err = look(ctx, c)
	}
	if err != nil {
		return checkup.Report{}, err
	}
	if err := f.lookInstalled(ctx); err != nil {
		return checkup.Report{}, err
	}
	areas := []area{{"API server", (*facts).server}, {"installation", (*facts).installation}}
	if f.deployment == nil {
		return f.report(areas), nil
	}
	r := f.report(append(areas, area{"kinds", (*facts).kinds}, area{"rights", (*facts).rightsOfPlane}, area{"roots", (*facts).rootsArea},
		area{"injection", (*facts).injection}, area{"pods", (*facts).podsArea}, area{"services", (*facts).servicesArea}))
	if c.Mesh == nil || f.deployment.Status.AvailableReplicas == 0 {
		return r, nil
	}
	inside, err := c.Mesh(ctx)
	if err != nil {
		return r, err
	}
	return joined(r, inside), nil
}

// joined adds the report of a mesh to that of its cluster.
func joined(r, inside checkup.Report) checkup.Report {
	r.Areas = append(r.Areas, inside.Areas...)
	r.Findings = append(r.Findings, inside.Findings...)
	for _, f := range inside.Findings {
		r.Verdict = checkup.Worse(r.Verdict, f.Severity)
	}
	return r
}

// report judges everything.
func (f *facts) report(areas []area) checkup.Report {
	r := checkup.Report{Mesh: f.name, Verdict: checkup.OK, Findings: []checkup.Finding{}}
	for _, a := range areas {
		summary, findings := a.judge(f)
		verdict := checkup.OK
		if summary == notKnown {
			verdict = checkup.Unknown
		}
		for _, finding := range findings {
			finding.Area = a.name
			verdict = checkup.Worse(verdict, finding.Severity)
			r.Findings = append(r.Findings, finding)
		}
		r.Verdict = checkup.Worse(r.Verdict, verdict)
		r.Areas = append(r.Areas, checkup.Area{Name: a.name, Verdict: verdict, Summary: summary})
	}
	return r
}

// notKnown is the summary of an area that may not be looked at.
const notKnown = "not known: you may not look at it"

// shown is how many names a finding lists.
const shown = 5

// listed lists names, at most [shown].
func listed(names []string) string {
	if more := len(names) - shown; more > 0 {
		return strings.Join(names[:shown], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// number returns "1 pod" or "2 pods".
func number(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// system is the argument by which kubectl finds Lateen.
const system = "-n " + mesh.SystemNamespace

// tried returns what is wrong with what would be applied, as findings.
func tried(refusals []install.Refusal) []checkup.Finding {
	var findings []checkup.Finding
	for _, r := range refusals {
		findings = append(findings, checkup.Finding{
			Severity: checkup.Error, Code: RefusedInAdvance, Subject: r.Object, Message: "the API server would refuse it: " + r.Why,
			Fix: "if a policy or a webhook refuses it, let it pass for the namespace " + mesh.SystemNamespace + "; if it is somebody else's, remove it first",
		})
	}
	return findings
}

// sorted returns the elements in order.
func sorted(names []string) []string {
	slices.Sort(names)
	return names
}
