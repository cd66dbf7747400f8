package ca

import (
	"context"
	"errors"
)

// Part names what a [Storage] keeps.
type Part string

// The parts.
const (
	// RootPart is the root and its key, in PEM. It is a secret.
	RootPart Part = "root"
	// MarkPart tells that there is a root, and which. It is kept apart from it, so that both are not lost together.
	MarkPart Part = "mark"
)

// Storage is where an authority keeps what it must not lose: [Files], or what a cluster has. Several authorities may share one, and
// then have one root. catest is what one must do. Its methods may be called from any goroutine.
type Storage interface {
	// Read returns a part. The error is [fs.ErrNotExist] when there is none, and [ErrAway] when nobody can tell now; any other
	// says why what is there is not it.
	Read(ctx context.Context, part Part) ([]byte, error)
	// Create keeps a part of which there is nothing yet. The error is [fs.ErrExist] when there is something, also if that is
	// the same: the answer to an earlier try may have been lost.
	Create(ctx context.Context, part Part, text []byte) error
	// Replace puts a text in the place of whatever there is of a part. What might be the only copy of somebody's key is set
	// aside before. The error is [ErrAway] when that has to wait.
	Replace(ctx context.Context, part Part, text []byte) (Aside, error)
	// Where says where a part is, for people.
	Where(part Part) string
}

// Aside tells what became of what stood in the place of a part.
type Aside struct {
	Where string // that it is now; "": there was nothing
	Lost  bool   // there was something, and no place left for it
}

// ErrAway is the error that nobody can tell at this moment what is kept.
var ErrAway = errors.New("what is kept of the authority cannot be reached now")

// Sealer is a storage in which others might see the root.
type Sealer interface {
	// Sealed tells whether nobody else can.
	Sealed(part Part) bool
}

// Pluggable is a storage in which somebody may put an authority of theirs, instead of the root that is made.
type Pluggable interface {
	// Plugged returns what is plugged in. The error is [fs.ErrNotExist] when nothing is, and [ErrAway] when nobody can tell.
	Plugged(ctx context.Context) (PluggedTexts, error)
}

// PluggedTexts is an authority that somebody else has made, in PEM.
type PluggedTexts struct {
	Cert, Key, Roots, Chain Text // the chain may be empty
}

// Text is what stands at a place.
type Text struct {
	Where string // for people
	Text  []byte
}

// Traced is a storage that can tell whether anybody trusts a root already, although none is kept.
type Traced interface {
	// Trusted returns what tells of such a root; nothing where nothing does.
	Trusted(ctx context.Context) (Trace, error)
}

// Trace tells that somebody trusts a root.
type Trace struct {
	Fingerprint string // SHA-256 of the root; "": nobody trusts any
	Where       string // it is found, for people
	// Proof tells whether only the control plane, and those who may command it, can have put it there. What others could have written
	// is told, and holds up nothing.
	Proof bool
}
