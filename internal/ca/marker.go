package ca

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/lateen-mesh/lateen/internal/identity"
)

const (
	markerFormat = "lateen-ca"
	maxMarker    = 16 << 10 // bytes
)

// marker is what is remembered of the authority.
type marker struct {
	Format      string   `json:"format"`
	Version     int      `json:"version"`
	TrustDomain string   `json:"trustDomain"`
	PluggedIn   bool     `json:"pluggedIn"`
	Roots       []string `json:"roots"` // fingerprints, that of the one that counts first
}

func newMarker(s *signer, trustDomain string, pluggedIn bool) *marker {
	m := &marker{Format: markerFormat, Version: 1, TrustDomain: trustDomain, PluggedIn: pluggedIn}
	m.Roots = append(m.Roots, identity.Fingerprint(s.top))
	for _, root := range s.roots {
		if f := identity.Fingerprint(root); f != m.Roots[0] {
			m.Roots = append(m.Roots, f)
		}
	}
	return m
}

// is tells whether the root that counts is still the same.
func (m *marker) is(s *signer) bool { return m.Roots[0] == identity.Fingerprint(s.top) }

// readMarker returns nil when there is none.
func (a *Authority) readMarker(ctx context.Context) (*marker, error) {
	data, err := a.storage.Read(ctx, MarkPart)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // there is none
	case errors.Is(err, ErrAway):
		return nil, err
	}
	var m *marker
	if err == nil {
		m, err = parseMarker(data)
	}
	if err != nil {
		where := a.storage.Where(MarkPart)
		return nil, &Unusable{
			Message: fmt.Sprintf("%s, which remembers the root of the mesh, cannot be read: %v", where, err),
			Advice:  fmt.Sprintf("if %s is the mesh's root still, or its authority is plugged in, remove %s", a.storage.Where(RootPart), where),
		}
	}
	return m, nil
}

func parseMarker(data []byte) (*marker, error) {
	m := new(marker)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(m); err != nil {
		return nil, err
	}
	if len(data) > maxMarker || m.Format != markerFormat || m.Version != 1 || len(m.Roots) == 0 {
		return nil, errors.New("it is not what Lateen writes there")
	}
	return m, nil
}

// writeMarker writes what is to be remembered, unless it is already, and returns the text.
func (a *Authority) writeMarker(ctx context.Context, before, now *marker) ([]byte, error) {
	data, err := json.Marshal(now)
	if err != nil {
		return nil, err
	}
	data = append(data, '\n')
	switch {
	case before == nil:
		err = a.storage.Create(ctx, MarkPart, data)
		there, readErr := a.storage.Read(ctx, MarkPart)
		if err != nil && readErr == nil && bytes.Equal(there, data) {
			err = nil // another one has written the same, or the answer was lost
		}
	case !before.equal(now):
		_, err = a.storage.Replace(ctx, MarkPart, data)
	}
	return data, err
}

func (m *marker) equal(o *marker) bool {
	return m.TrustDomain == o.TrustDomain && m.PluggedIn == o.PluggedIn && slices.Equal(m.Roots, o.Roots)
}
