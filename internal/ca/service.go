package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
)

// Service is the authority as workloads reach it: the gRPC service of ca.proto. It is served over TLS with
// [Authority.ServerTLS].
type Service struct {
	capb.UnimplementedCertificateAuthorityServer
	authority *Authority
	attestor  attest.Attestor
	log       *slog.Logger
	told      *rates // bounds what is logged of refusals
}

// NewService returns a service that gives certificates to those whom the attestor knows.
func NewService(a *Authority, attestor attest.Attestor) *Service {
	return &Service{authority: a, attestor: attestor, log: a.c.Log, told: newRates(a.c.Now, refill)}
}

// Register adds the service to a server.
func (s *Service) Register(server grpc.ServiceRegistrar) {
	capb.RegisterCertificateAuthorityServer(server, s)
}

// Sign implements the service.
func (s *Service) Sign(ctx context.Context, in *capb.SignRequest) (*capb.SignResponse, error) {
	chain, err := s.serve(ctx, in)
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	out := &capb.SignResponse{Now: timestamppb.New(s.authority.c.Now())}
	for _, c := range chain {
		out.Chain = append(out.Chain, c.Raw)
	}
	for _, c := range s.authority.Bundle().Roots {
		out.Roots = append(out.Roots, c.Raw)
	}
	return out, nil
}

// serve does what is cheap first. A request that breaks a rule or names somebody else costs its sender neither the token nor one
// of the certificates that a workload gets. Who asks is decided before a slot is taken, since that may mean to ask somebody else:
// however slow that one is, those who need nothing of it are served.
func (s *Service) serve(ctx context.Context, in *capb.SignRequest) ([]*x509.Certificate, error) {
	a := s.authority
	r, err := parseRequest(in.GetCsr())
	if err != nil {
		return nil, refusal(ReasonRequest, err)
	}
	if !a.counts.wait() {
		return nil, refusal(ReasonBusy, errors.New("too many workloads wait for certificates; try again in a few seconds"))
	}
	served := sync.OnceFunc(a.counts.served)
	defer served()
	if err := r.check(); err != nil {
		return nil, refusal(ReasonRequest, err)
	}
	who, err := s.attestor.Attest(ctx, attest.Evidence{
		Token: in.GetToken(), ServiceAccount: in.GetServiceAccountToken(), Chain: clientChain(ctx), Key: r.key, Check: r.of,
	})
	if err != nil {
		if _, ok := errors.AsType[*attest.Refused](err); ok || errors.Is(err, attest.ErrNoEvidence) {
			err = refusal(ReasonEvidence, err)
		}
		if errors.Is(err, attest.ErrBusy) || ctx.Err() != nil {
			err = refusal(ReasonBusy, err)
		}
		return nil, err
	}
	if err := a.slots.Acquire(ctx, 1); err != nil {
		return nil, refusal(ReasonBusy, err)
	}
	defer a.slots.Release(1)
	served()
	return a.sign(r, who)
}

// clientChain returns the certificates that the caller has shown on its connection.
func clientChain(ctx context.Context) []*x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	return info.State.PeerCertificates
}

// refuse counts and tells a refusal, and returns what the caller is told. Of the authority's own failures it is not told the
// cause.
func (s *Service) refuse(ctx context.Context, err error) error {
	from := ""
	if p, ok := peer.FromContext(ctx); ok {
		from = p.Addr.String()
	}
	refused, ok := errors.AsType[*Refusal](err)
	if !ok {
		s.authority.counts.refuse(ReasonFailure)
		if s.told.take(string(ReasonFailure)) == nil {
			s.log.Error("no certificate can be given", "peer", from, "err", err)
		}
		return status.Error(codes.Unavailable, "the authority cannot give a certificate now: its log says why")
	}
	s.authority.counts.refuse(refused.Reason)
	if s.told.take(string(refused.Reason)) == nil {
		s.log.Warn("a request for a certificate is refused", "peer", from, "reason", string(refused.Reason), "err", err)
	}
	return status.Error(code(refused), err.Error())
}

func code(r *Refusal) codes.Code {
	switch r.Reason {
	case ReasonRequest:
		return codes.InvalidArgument
	case ReasonEvidence:
		return codes.Unauthenticated
	case ReasonOther:
		return codes.PermissionDenied
	case ReasonRate, ReasonBusy:
		if errors.Is(r, context.Canceled) || errors.Is(r, context.DeadlineExceeded) {
			return codes.Unavailable
		}
		return codes.ResourceExhausted
	default:
		return codes.Unavailable
	}
}
