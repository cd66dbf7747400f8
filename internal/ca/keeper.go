package ca

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// lookEvery is how often what is kept of the authority is looked at.
const lookEvery = 5 * time.Second

// keeper looks after what the signer was read from. Signing does not depend on it.
type keeper interface {
	// look returns what was put back, and what is wrong and stays so until somebody does something.
	look(ctx context.Context) (restored []restored, err error)
}

// restored is something that was put back.
type restored struct {
	where string
	open  bool // its text was as it was, and others could get at it
	aside Aside
}

// Look looks after what is kept once, as [Authority.Run] does again and again, and tells what is new.
func (a *Authority) Look(ctx context.Context) {
	all, err := a.keeper.look(ctx)
	for _, one := range all {
		if one.open {
			a.tellOpen(one.where)
			continue
		}
		a.c.Log.Error("a file of the certificate authority was lost or changed: it was put back, and signing went on", "file", one.where, "aside", one.aside.Where)
		if one.aside.Lost {
			a.c.Log.Error("what stood in the place of the root's file is not kept: look at what was set aside before, and remove it", "file", one.where)
		}
	}
	if a.counts.looked(len(all), err) {
		a.c.Log.Error("a file of the certificate authority is not as it was: signing goes on", "err", err)
	}
}

// tellOpen tells that others could get at the root's file.
func (a *Authority) tellOpen(path string) {
	a.c.Log.Warn("others could read the root's key: it is for its owner only now, and whoever has read it can be anybody in the mesh", "file", path)
}

// ownKeeper keeps what is ours.
type ownKeeper struct {
	authority *Authority
	signer    *signer
	parts     []keptPart
}

type keptPart struct {
	part Part
	text []byte
}

func (k *ownKeeper) look(ctx context.Context) ([]restored, error) {
	if err := k.decided(ctx); err != nil {
		return nil, err
	}
	storage := k.authority.storage
	var all []restored
	var wrong []error
	for _, p := range k.parts {
		found, err := storage.Read(ctx, p.part)
		if errors.Is(err, ErrAway) {
			wrong = append(wrong, err)
			continue
		}
		r := restored{where: storage.Where(p.part), open: err == nil && bytes.Equal(found, p.text)}
		if r.open && isSealed(storage, p.part) {
			continue
		}
		if r.aside, err = storage.Replace(ctx, p.part, p.text); err != nil {
			wrong = append(wrong, fmt.Errorf("%s is lost or changed and cannot be put back: %w", r.where, err))
			continue
		}
		all = append(all, r)
	}
	return all, errors.Join(wrong...)
}

// decided returns an error when somebody has decided that the mesh has another authority from now on: that is not undone. One
// thing alone that differs decides nothing.
func (k *ownKeeper) decided(ctx context.Context) error {
	a := k.authority
	other, err := a.readPlugged(ctx)
	if err != nil || other == nil {
		var text []byte
		if text, err = a.storage.Read(ctx, RootPart); err == nil {
			other, err = a.readOwn(text)
		}
		known, markErr := a.readMarker(ctx)
		if err != nil || markErr != nil || known == nil || !known.is(other) {
			return nil //nolint:nilerr // what cannot be read is put back
		}
	}
	if identity.Fingerprint(other.top) == identity.Fingerprint(k.signer.top) {
		return nil
	}
	return fmt.Errorf("the mesh has another root now (SHA-256 %s): this control plane goes on with the one it has (%s) until it is started again",
		identity.Fingerprint(other.top), identity.Fingerprint(k.signer.top))
}

func isSealed(s Storage, part Part) bool {
	sealer, ok := s.(Sealer)
	return !ok || sealer.Sealed(part)
}

// pluggedKeeper watches what is somebody else's, and changes nothing.
type pluggedKeeper struct {
	read func(context.Context) (PluggedTexts, error)
	was  PluggedTexts
}

func (k *pluggedKeeper) look(ctx context.Context) ([]restored, error) {
	now, err := k.read(ctx)
	switch {
	case errors.Is(err, ErrAway):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("a file of the authority that is plugged in cannot be read, and the next start will fail: %w", err)
	}
	before := k.was.all()
	for i, text := range now.all() {
		if !bytes.Equal(text.Text, before[i].Text) {
			return nil, fmt.Errorf("%s has changed: the control plane goes on with what it has read until it is started again", text.Where)
		}
	}
	return nil, nil
}
