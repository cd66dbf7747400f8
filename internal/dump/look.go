package dump

import (
	"context"
	"slices"

	"github.com/lateen-mesh/lateen/internal/api"
)

// lookTries bounds how often a proxy is asked, while what it is sent changes.
const lookTries = 3

// Look reads what a proxy has and what it was sent, and compares them. Nobody can read both at one moment, so both are read
// again if what it was sent changed meanwhile. It returns what was sent beside the rows. An error is that of the reader, which may
// be [ErrNobody], or of sent.
func Look(ctx context.Context, proxy Reader, sent func(context.Context) (api.Resources, error)) ([]Row, api.Resources, error) {
	before, err := sent(ctx)
	if err != nil {
		return nil, api.Resources{}, err
	}
	var has []byte
	for range lookTries {
		if has, err = proxy.Dump(ctx); err != nil {
			return nil, api.Resources{}, err
		}
		after, err := sent(ctx)
		if err != nil {
			return nil, api.Resources{}, err
		}
		settled := slices.EqualFunc(before.Resources, after.Resources, sameVersions)
		if before = after; settled {
			break
		}
	}
	rows, err := Compare(has, before.Resources)
	return rows, before, err
}

// sameVersions tells whether nothing happened to a resource.
func sameVersions(a, b api.Resource) bool {
	return a.Kind == b.Kind && a.Name == b.Name && a.Wanted == b.Wanted && a.Sent == b.Sent && a.Confirmed == b.Confirmed
}
