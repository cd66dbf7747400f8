package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// Kept is what a state folder says of the authority, to people who look while no control plane answers.
type Kept struct {
	TrustDomain string
	Plugged     bool              // its certificates are in files of others
	Root        *x509.Certificate // nil: it is plugged in
}

// Look reads what a state folder says of the authority, and changes nothing: another process may use it. A folder that has
// never had one is [fs.ErrNotExist]. Where a start would be refused the error is an [*Unusable] that says what to do, and
// what could be read is returned beside it.
func Look(dir string, now time.Time) (*Kept, error) {
	if _, err := os.Stat(filepath.Join(dir, markerFile)); err != nil {
		return nil, err
	}
	folder, err := disk.Open(dir)
	if err != nil {
		return nil, err
	}
	kept, err := look(context.Background(), NewFiles(folder), now) //nolint:forbidigo // files do not wait
	return kept, errors.Join(err, folder.Close())
}

func look(ctx context.Context, files *Files, now time.Time) (*Kept, error) {
	a := &Authority{storage: files, c: Config{Now: func() time.Time { return now }}}
	known, err := a.readMarker(ctx)
	if err != nil {
		return nil, err
	}
	if known == nil {
		return nil, fs.ErrNotExist // it has just gone
	}
	kept := &Kept{TrustDomain: known.TrustDomain, Plugged: known.PluggedIn}
	if kept.Plugged {
		return kept, nil
	}
	a.c.TrustDomain = known.TrustDomain
	text, err := files.Read(ctx, RootPart)
	var s *signer
	if err == nil {
		s, err = a.readOwn(text)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = a.lost(known, errors.New("it is not there"))
	case err != nil:
		err = a.lost(known, err)
	case !known.is(s):
		err = a.lost(known, fmt.Errorf("it is another root: %s", identity.Fingerprint(s.cert)))
	default:
		kept.Root = s.cert
	}
	return kept, err
}
