package admin

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// errNoAuthority refuses what needs identities.
func errNoAuthority() error {
	refused := refuse(http.StatusNotFound, "this control plane gives no identities")
	refused.answer.Hint = "it runs with --plain-xds alone; start it with --secure-address"
	return refused
}

// authority tells of the certificate authority. There is no secret in it.
func (s *Server) authority(*http.Request) (any, error) {
	if s.config.Authority == nil {
		return nil, errNoAuthority()
	}
	status := s.config.Authority.Status()
	a := api.Authority{
		TrustDomain: status.TrustDomain, Plugged: status.PluggedIn, CertTTL: mesh.Duration(status.TTL), Issued: status.Issued,
		Refused: map[string]uint64{}, Tokens: status.Tokens, Restored: status.Restored, Address: s.config.Secure, Problem: status.Problem, Now: time.Now().UTC(),
		Bundle: string(s.config.Authority.Bundle().PEM()), Roots: certificates(status.Roots), Issuing: certificates(status.Issuing),
	}
	for reason, n := range status.Refused {
		a.Refused[string(reason)] = n
	}
	return a, nil
}

func certificates(all []ca.Certificate) []api.AuthorityCertificate {
	list := []api.AuthorityCertificate{}
	for _, c := range all {
		list = append(list, api.AuthorityCertificate{
			Subject: c.Subject, Fingerprint: c.Fingerprint, NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		})
	}
	return list
}

// newToken gives out a join token. Whoever may open the socket may be anybody in the mesh.
func (s *Server) newToken(r *http.Request) (any, error) {
	if s.config.Authority == nil {
		return nil, errNoAuthority()
	}
	asked, err := read[api.NewToken](r)
	if err != nil {
		return nil, err
	}
	if !config.IsDomain(asked.Account) { // as Mesh files have it
		refused := refuse(http.StatusBadRequest, "%q is no name of a service account", asked.Account)
		refused.answer.Hint = config.AccountHint
		return nil, refused
	}
	peer := identity.Peer{
		ID:       identity.ID{TrustDomain: s.config.Authority.Bundle().TrustDomain, Namespace: asked.Namespace, Account: asked.Account},
		Workload: string(mesh.NewProxyID(asked.Workload, asked.Namespace)),
	}
	for text, address := range map[string]*netip.Addr{asked.Address: &peer.Address, asked.Further: &peer.Further} {
		if text == "" {
			continue
		}
		if *address, err = netip.ParseAddr(text); err != nil {
			return nil, refuse(http.StatusBadRequest, "%q is not an IP address", text)
		}
	}
	token, expires, err := s.config.Authority.Tokens().Issue(peer, time.Duration(asked.TTL))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	return api.JoinToken{Token: token.Reveal(), Expires: expires.UTC()}, nil
}
