package checkup

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Offline is what the state folder of a mesh says while no control plane answers for it.
type Offline struct {
	Why        *api.Unreachable
	Authority  *api.Authority // nil: there is no trace of one
	Fix        string         // of the authority's problem
	Identities []Identity     // of the workloads whose agents have said something there, sorted
}

// maxFolders bounds the folders of proxies that are looked at.
const maxFolders = 10_000

// IsAway tells whether an error is that no control plane answers.
func IsAway(err error) bool {
	_, away := errors.AsType[*api.Unreachable](err)
	return away
}

// LookOffline reads what the state folder says. err is the error by which the control plane does not answer; another one is
// returned.
func LookOffline(ctx context.Context, m Mesh, err error) (Offline, error) {
	f, err := offline(m, err) //nolint:contextcheck // files do not wait
	if err != nil {
		return Offline{}, err
	}
	if err := f.each(ctx, func(s *seen) { s.lookAtIdentity(ctx, f.now) }); err != nil {
		return Offline{}, err
	}
	o := Offline{Why: f.away, Authority: f.authority, Fix: f.fix, Identities: []Identity{}}
	for _, s := range f.seen {
		o.Identities = append(o.Identities, s.identity)
	}
	return o, nil
}

// offline finds what is in the state folder.
func offline(m Mesh, err error) (*facts, error) {
	away, ok := errors.AsType[*api.Unreachable](err)
	if !ok {
		return nil, err
	}
	f := newFacts(m)
	f.away = away
	f.readAuthority()
	for _, w := range f.folders() {
		s := place(m, w, nil)
		f.seen = append(f.seen, s)
		f.locate(w)
	}
	return f, nil
}

// readAuthority reads what is kept of the authority.
func (f *facts) readAuthority() {
	kept, err := ca.Look(f.dir, f.now)
	if errors.Is(err, fs.ErrNotExist) && kept == nil {
		return // it has none, or has never started
	}
	a := &api.Authority{Now: f.now}
	if kept != nil {
		a.TrustDomain, a.Plugged = kept.TrustDomain, kept.Plugged
		f.bundle.TrustDomain = kept.TrustDomain
	}
	if kept != nil && kept.Root != nil {
		f.bundle = identity.Bundle{TrustDomain: kept.TrustDomain, Roots: f.bundle.Roots}
		f.bundle.Roots = append(f.bundle.Roots, kept.Root)
		c := api.AuthorityCertificate{
			Subject: kept.Root.Subject.String(), Fingerprint: identity.Fingerprint(kept.Root), NotBefore: kept.Root.NotBefore, NotAfter: kept.Root.NotAfter,
		}
		a.Roots, a.Issuing, a.Bundle = []api.AuthorityCertificate{c}, []api.AuthorityCertificate{c}, string(f.bundle.PEM())
	}
	if err != nil {
		a.Problem = err.Error()
		if unusable, ok := errors.AsType[*ca.Unusable](err); ok {
			f.fix = unusable.Hint()
		}
	}
	f.authority = a
}

// folders lists the workloads whose proxies have a folder here, by what their agents say.
func (f *facts) folders() []api.Workload {
	entries, err := os.ReadDir(filepath.Join(f.dir, "proxies"))
	if err != nil {
		return nil
	}
	var list []api.Workload
	for _, entry := range entries[:min(len(entries), maxFolders)] {
		id := mesh.ProxyID(entry.Name())
		dir := filepath.Join(f.dir, "proxies", entry.Name())
		status, err := agent.ReadStatus(dir)
		if errors.Is(err, fs.ErrNotExist) || !strings.Contains(entry.Name(), ".") {
			continue
		}
		w := api.Workload{ID: id, Type: mesh.Sidecar, Identity: status.Identity, Address: status.Address}
		if _, err := os.Stat(filepath.Join(dir, bootstrap.CertificateFile)); err == nil {
			w.Type = mesh.Proxyless
		}
		w.Running = listens(filepath.Join(dir, "sds.sock")) || listens(filepath.Join(dir, "admin.sock"))
		list = append(list, w)
	}
	return list
}

// listens tells whether somebody takes connections on a socket.
func listens(path string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	c, err := dialer.Dial("unix", path)
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was sent
	return true
}
