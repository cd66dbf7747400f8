package attest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// Bounds of tokens.
const (
	DefaultLife = 10 * time.Minute // of a token for which nothing else was asked
	LongestLife = 24 * time.Hour
	MostTokens  = 10_000 // that can be out at a time
)

// TokensConfig is what Tokens are made with.
type TokensConfig struct {
	Folder      *disk.Folder // in which [TokensFile] is
	TrustDomain string       // of the identities
	Pin         func() Pin   // of the root by which agents are to know the authority
	Now         func() time.Time
	Log         *slog.Logger
}

// Tokens gives out join tokens and takes them back, each once. Of a token only a digest is kept.
//
// A token belongs to the key that it was used for first: whoever asks again with the same key, since the answer was lost, gets
// another answer, and with any other key none. That is on the disk before a token counts as proof.
type Tokens struct {
	c    TokensConfig
	most int // [MostTokens]

	mu      sync.Mutex
	records map[digest]record
	changes uint64
	swept   time.Time

	writing sync.Mutex
	written uint64 // the changes that are on the disk
}

// record is what is known of a token that is out.
type record struct {
	peer    identity.Peer
	expires time.Time
	key     digest // of the public key that it was used for; zero: it was not used yet
}

// OpenTokens reads what tokens are out. If that cannot be read there are none: whoever waits for one gets a new one.
func OpenTokens(c TokensConfig) *Tokens {
	t := &Tokens{c: c, most: MostTokens, records: map[digest]record{}}
	records, err := load(c.Folder, c.TrustDomain)
	if err != nil {
		c.Log.Warn("the join tokens that were out cannot be read, and are worth nothing now", "err", err)
		return t
	}
	if records != nil {
		t.records = records
	}
	t.sweep()
	return t
}

// Issue returns a token by which somebody proves to be a workload, once, and until when. A life of 0 is [DefaultLife].
func (t *Tokens) Issue(peer identity.Peer, life time.Duration) (Token, time.Time, error) {
	if err := checkPeer(peer); err != nil {
		return Token{}, time.Time{}, fmt.Errorf("a token for %s: %w", peer, err)
	}
	if peer.ID.TrustDomain != t.c.TrustDomain {
		return Token{}, time.Time{}, fmt.Errorf("a token for %s: the trust domain is %s", peer, t.c.TrustDomain)
	}
	if life == 0 {
		life = DefaultLife
	}
	if life < time.Second || life > LongestLife {
		return Token{}, time.Time{}, fmt.Errorf("a token that holds for %s: it can be 1s to %s", life, LongestLife)
	}
	token := newToken(t.c.Pin())
	r := record{peer: peer, expires: t.c.Now().Add(life)}
	if err := t.add(token.digest(), r); err != nil {
		return Token{}, time.Time{}, err
	}
	if err := t.save(); err != nil {
		t.drop(token.digest())
		return Token{}, time.Time{}, err
	}
	return token, r.expires, nil
}

func (t *Tokens) add(d digest, r record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.c.Now(); len(t.records) >= t.most || now.Sub(t.swept).Abs() >= time.Minute {
		t.sweep()
		t.swept = now
	}
	if len(t.records) >= t.most {
		return fmt.Errorf("%d join tokens are out already: one more when some have been used or have expired", len(t.records))
	}
	t.records[d] = r
	t.changes++
	return nil
}

func (t *Tokens) drop(d digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.records, d)
	t.changes++
}

// sweep forgets what has expired, and when there are too many also what was used.
func (t *Tokens) sweep() {
	now, full := t.c.Now(), len(t.records) >= t.most
	for d, r := range t.records {
		if !now.Before(r.expires) || full && r.key != (digest{}) {
			delete(t.records, d)
			t.changes++
		}
	}
}

// Attest implements [Attestor].
func (t *Tokens) Attest(_ context.Context, e Evidence) (Attested, error) {
	if e.Token == "" {
		return Attested{}, ErrNoEvidence
	}
	token, err := ParseToken(e.Token)
	if err != nil {
		return Attested{}, refuse("%v", err)
	}
	peer, err := t.use(token, e)
	if err != nil {
		return Attested{}, err
	}
	if err := t.save(); err != nil {
		return Attested{}, err
	}
	return Attested{Peer: peer, By: ByToken}, nil
}

// use notes for which key a token counts, unless what is asked for is not to be had with it.
func (t *Tokens) use(token Token, e Evidence) (identity.Peer, error) {
	key := digest(sha256.Sum256(e.Key))
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.records[token.digest()]
	switch {
	case !ok && token.Pin != t.c.Pin():
		return identity.Peer{}, refuse("the join token is of another authority")
	case !ok:
		return identity.Peer{}, refuse("the join token is not known: it may have expired, or have been used")
	case !t.c.Now().Before(r.expires):
		return identity.Peer{}, refuse("the join token has expired at %s", r.expires.UTC().Format(time.RFC3339))
	case r.key != digest{} && r.key != key:
		return identity.Peer{}, refuse("the join token was used already")
	}
	if e.Check != nil {
		if err := e.Check(r.peer); err != nil {
			return identity.Peer{}, err
		}
	}
	if r.key == (digest{}) {
		r.key = key
		t.records[token.digest()] = r
		t.changes++
	}
	return r.peer, nil
}

// Outstanding returns how many tokens are out and were not used.
func (t *Tokens) Outstanding() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, now := 0, t.c.Now()
	for _, r := range t.records {
		if r.key == (digest{}) && now.Before(r.expires) {
			n++
		}
	}
	return n
}

// save returns when all that was changed before is on the disk. Those who come while a file is written share the next one.
func (t *Tokens) save() error {
	t.mu.Lock()
	mine := t.changes
	t.mu.Unlock()
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.written >= mine {
		return nil
	}
	t.mu.Lock()
	now := t.changes
	data, err := encode(t.records)
	t.mu.Unlock()
	if err == nil {
		err = t.c.Folder.Write(TokensFile, data)
	}
	if err != nil {
		return fmt.Errorf("keep the join tokens: %w", err)
	}
	t.written = now
	return nil
}
