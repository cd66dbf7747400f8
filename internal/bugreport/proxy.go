package bugreport

import (
	"cmp"
	"context"
	"slices"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/dump"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// configPart is what the Envoy of a proxy has beside what it was sent, both without keys. Where no control plane answers it is what the
// Envoy has.
func configPart(client *api.Client, id mesh.ProxyID, reader dump.Reader, folder string) Part {
	return Value(folder+"/config.json", func(ctx context.Context) (any, error) {
		var noPlane error
		rows, _, err := dump.Look(ctx, reader, func(ctx context.Context) (api.Resources, error) {
			sent, err := client.Resources(ctx, string(id), "")
			noPlane = cmp.Or(noPlane, err)
			return sent, nil
		})
		if err != nil {
			return nil, err
		}
		return rows, noPlane
	})
}

// troubled sorts proxies, those first that are not as they should be, and returns how many that are.
func troubled(proxies []api.Proxy) int {
	rank := func(p *api.Proxy) int {
		switch {
		case len(p.Refused) > 0:
			return 0
		case !p.Connected:
			return 1
		case !p.Current || p.Silent:
			return 2
		default:
			return 3
		}
	}
	slices.SortStableFunc(proxies, func(a, b api.Proxy) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.ID, b.ID))
	})
	n := slices.IndexFunc(proxies, func(p api.Proxy) bool { return rank(&p) == 3 })
	if n < 0 {
		n = len(proxies)
	}
	return n
}
