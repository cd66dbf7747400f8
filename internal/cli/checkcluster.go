package cli

import (
	"context"
	"time"

	"github.com/lateen-mesh/lateen/deploy"
	"github.com/lateen-mesh/lateen/internal/checkup"
	"github.com/lateen-mesh/lateen/internal/kubecheck"
)

// checked looks at what the flags mean: a cluster before an installation, a mesh in a cluster, or one on this machine. It says
// what that is called.
func checked(ctx context.Context, m *meshFlags, pre bool, since time.Duration) (string, checkup.Report, error) {
	if pre {
		where, err := m.clusterOnly()
		if err != nil {
			return "", checkup.Report{}, err
		}
		r, err := kubecheck.Before(ctx, kubecheck.Config{Cluster: where, Manifests: rendered, Version: version})
		return "cluster " + where.Context, r, err
	}
	t, err := m.findOrLeft(ctx)
	if err != nil {
		return "", checkup.Report{}, err
	}
	return checkedAt(ctx, t, since, patience)
}

// patience is how long `lateen check` waits for a control plane that has just begun.
const patience = 30 * time.Second

// checkedAt looks at a mesh, and says what it is called. A control plane in a cluster that has just begun is waited for.
func checkedAt(ctx context.Context, t target, since, patience time.Duration) (string, checkup.Report, error) {
	where := t.checked()
	where.Since = since
	if t.cluster == nil {
		r, err := checkup.Run(ctx, where)
		return t.said(), r, err
	}
	r, err := kubecheck.Installed(ctx, kubecheck.Config{
		Cluster: t.cluster.Cluster, Manifests: rendered, Version: version, Patience: patience, Plane: t.client,
		Mesh: func(ctx context.Context) (checkup.Report, error) {
			if _, err := t.client.Status(ctx); err != nil {
				return unanswered(t, err)
			}
			return checkup.Run(ctx, where)
		},
	})
	return t.said(), r, err
}

// unanswered reports that the control plane in a cluster does not answer.
func unanswered(t target, err error) (checkup.Report, error) {
	if !checkup.IsAway(err) {
		return checkup.Report{}, err
	}
	const area = "control plane"
	return checkup.Report{
		Mesh: t.name, Verdict: checkup.Error,
		Areas: []checkup.Area{{Name: area, Verdict: checkup.Error, Summary: "does not answer"}},
		Findings: []checkup.Finding{{
			Area: area, Severity: checkup.Error, Code: checkup.NoAnswer, Subject: t.said(), Message: err.Error(), Fix: hintOf(err),
		}},
	}, nil
}

// rendered renders the manifests of this version.
func rendered(hub, tag string, replicas int, noIngress bool) ([]byte, error) {
	o := deploy.Options{Hub: hub, Tag: tag, Replicas: replicas, NoIngress: noIngress}
	if o.Check() != nil { // somebody has an image of another form
		o = deploy.Options{Tag: "dev", Replicas: 1, NoIngress: noIngress}
	}
	return deploy.Manifests(o)
}
