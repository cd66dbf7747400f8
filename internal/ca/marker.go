package ca

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// markerFile remembers, apart from the folder of the root, that there is one and which.
const markerFile = "ca.made"

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
func readMarker(folder *disk.Folder) (*marker, error) {
	data, err := folder.Read(markerFile, maxMarker)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	m := new(marker)
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(m)
	}
	if err == nil && (m.Format != markerFormat || m.Version != 1 || len(m.Roots) == 0) {
		err = errors.New("it is not what Lateen writes there")
	}
	if err != nil {
		path := folder.Path(markerFile)
		return nil, &Unusable{
			Message: fmt.Sprintf("%s, which remembers the root of the mesh, cannot be read: %v", path, err),
			Advice:  fmt.Sprintf("if %s is the mesh's root still, or its authority is plugged in, remove %s", folder.Path(rootFile), path),
		}
	}
	return m, nil
}

// writeMarker writes what is to be remembered, unless it is already, and returns the file's text.
func writeMarker(folder *disk.Folder, before, now *marker) ([]byte, error) {
	data, err := json.Marshal(now)
	data = append(data, '\n')
	if err != nil || before != nil && before.TrustDomain == now.TrustDomain && before.PluggedIn == now.PluggedIn && slices.Equal(before.Roots, now.Roots) {
		return data, err
	}
	return data, folder.Write(markerFile, data)
}
