package meshtest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// streamOf opens a stream of a workload by its certificate and returns it when it has been answered.
func streamOf(ctx context.Context, t *testing.T, m *meshtest.Mesh, w *mesh.Workload, c *tls.Certificate) discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient {
	t.Helper()
	stream, err := subscribe(ctx, dialPlane(t, m, c), nodeOf(w).String(), xds.ClusterType)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return stream
}

// end waits until a stream ends, and returns why.
func end(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// When a workload gets another account, or another address, the stream that it has by the certificate of before ends, and there is
// no other by that certificate. The same goes for one that is gone.
func TestStreamsEndWithTheRightToThem(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	for name, edit := range map[string]func(*mesh.Workload) *mesh.Workload{
		"account": func(w *mesh.Workload) *mesh.Workload { w.Account = "other"; return w },
		"address": func(w *mesh.Workload) *mesh.Workload { w.Address = "127.0.66.1"; return w },
		"gone":    func(*mesh.Workload) *mesh.Workload { return nil },
	} {
		// It has no Envoy, which would come back in vain.
		w := &mesh.Workload{Name: name, Namespace: meshtest.Namespace, Type: mesh.Sidecar, Account: "default", Address: "127.0.0.1", Outbound: 15001}
		m.AddRegistry(mesh.Registry{Workloads: []*mesh.Workload{w}})
		c := enrolled(t, m, api.NewToken{Workload: w.Name, Namespace: w.Namespace, Account: w.Account, Address: w.Address})
		ctx, cancel := context.WithTimeout(t.Context(), meshtest.Patience)
		defer cancel()
		stream := streamOf(ctx, t, m, w, &c)
		m.TryEdit(func(r *mesh.Registry) {
			var kept []*mesh.Workload
			for _, w := range r.Workloads {
				if w.Name == name {
					copied := *w
					if w = edit(&copied); w == nil {
						continue
					}
				}
				kept = append(kept, w)
			}
			r.Workloads = kept
		})
		if err := end(stream); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: the stream of before ends with %v", name, err)
		}
		brief, cancelBrief := context.WithTimeout(t.Context(), time.Second)
		defer cancelBrief()
		again, err := subscribe(brief, dialPlane(t, m, &c), nodeOf(w).String(), xds.ClusterType)
		if err != nil {
			t.Fatal(err)
		}
		// One that is not known waits, whoever it is.
		want := map[bool]codes.Code{true: codes.DeadlineExceeded, false: codes.PermissionDenied}[name == "gone"]
		if res, err := again.Recv(); res != nil || status.Code(err) != want {
			t.Errorf("%s: another stream gets %v, %v, want %v", name, res, err, want)
		}
	}
}

// A stream ends before the certificate that it was opened with does.
func TestStreamsDoNotGetOld(t *testing.T) {
	t.Parallel()
	m := meshtest.NewWith(t, meshtest.Config{Version: "test", CertTTL: shortTTL})
	i := m.Caller("caller", nil)
	c, _ := takenFrom(t, i)
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithDeadline(t.Context(), leaf.NotAfter)
	defer cancel()
	if err := end(streamOf(ctx, t, m, i.Workload, &c)); status.Code(err) == codes.DeadlineExceeded {
		t.Errorf("at the end of the certificate the stream ends with %v", err)
	}
}
