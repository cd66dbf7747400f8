package serve

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// known returns an error unless a workload is in the mesh what its certificate says. Until every source has reported nobody can
// tell, and who was attested before goes on.
func (p *Plane) known(peer identity.Peer) error {
	if len(p.store.Missing()) > 0 {
		return nil
	}
	s := p.store.Snapshot()
	w := s.Workload(mesh.ProxyID(peer.Workload))
	if w == nil {
		return fmt.Errorf("the mesh does not know %s (any more)", peer.Workload)
	}
	if account := s.Realm().IdentityOf(w.Namespace, w.Account); account != peer.ID.String() {
		if account == "" {
			account = "without an account"
		}
		return fmt.Errorf("%s is %s in the mesh, not %s", peer.Workload, account, peer.ID)
	}
	if peer.Address.IsValid() && !w.HasAddress(peer.Address) {
		return fmt.Errorf("%s has the address %s in the mesh, not %s", peer.Workload, w.Address, peer.Address)
	}
	return nil
}
