package attest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/attest/attesttest"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

// tokensRig is tokens in a folder that can be opened again.
type tokensRig struct {
	*attest.Tokens
	dir   string
	root  *identitytest.Authority
	clock *attesttest.Clock
}

func newTokens(t testing.TB) *tokensRig {
	t.Helper()
	r := &tokensRig{dir: t.TempDir(), clock: attesttest.NewClock()}
	r.root = identitytest.New(t, attesttest.TrustDomain, r.clock.Now())
	r.restart(t)
	return r
}

func (r *tokensRig) restart(t testing.TB) {
	t.Helper()
	r.Tokens = openTokens(t, r.dir, r.root.Cert, r.clock.Now)
}

func (r *tokensRig) issue(t testing.TB, name string) string {
	t.Helper()
	token, _, err := r.Issue(identitytest.Peer(attesttest.TrustDomain, name, "127.9.8.1"), time.Hour)
	must(t, err)
	return token.Reveal()
}

// use tells as whom a token counts for a key, "" for nobody.
func (r *tokensRig) use(t testing.TB, token, key string) (string, error) {
	t.Helper()
	who, err := r.Attest(t.Context(), attest.Evidence{Token: token, Key: []byte(key)})
	return who.Peer.ID.Account, err
}

// What is out stays out over a restart, and what was used stays used.
func TestTokensSurviveARestart(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	used, out := r.issue(t, "reviews"), r.issue(t, "ratings")
	if who, err := r.use(t, used, "a"); who != "reviews" {
		t.Fatalf("it is %q, %v", who, err)
	}
	r.restart(t)
	if n := r.Outstanding(); n != 1 {
		t.Errorf("%d are out, want 1", n)
	}
	if _, err := r.use(t, used, "b"); err == nil || !strings.Contains(err.Error(), "used already") {
		t.Errorf("one that was used before the restart: %v", err)
	}
	if who, err := r.use(t, used, "a"); who != "reviews" {
		t.Errorf("the same key after the restart is %q, %v", who, err)
	}
	if who, err := r.use(t, out, "c"); who != "ratings" {
		t.Errorf("one that was out before the restart is %q, %v", who, err)
	}
	r.clock.Move(2 * time.Hour)
	r.restart(t)
	if _, err := r.use(t, used, "a"); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("after it has expired: %v", err)
	}
}

// The file is for its owner only, and nobody can make a token of it.
func TestTokensFileHoldsNoSecret(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	token := r.issue(t, "reviews")
	path := filepath.Join(r.dir, attest.TokensFile)
	stat, err := os.Stat(path)
	must(t, err)
	if stat.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %s", stat.Mode())
	}
	text, err := os.ReadFile(path)
	must(t, err)
	secret := token[strings.LastIndex(token, ".")+1:]
	if bytes.Contains(text, []byte(secret)) || bytes.Contains(text, []byte(secret[:10])) {
		t.Errorf("the secret is in the file:\n%s", text)
	}
	if !bytes.Contains(text, []byte("reviews-v1-0.default")) {
		t.Errorf("the workload is not in the file:\n%s", text)
	}
}

// A token shows its secret only where it is asked to.
func TestTokenHidesItsSecret(t *testing.T) {
	t.Parallel()
	token, err := attest.ParseToken("  " + newTokens(t).issue(t, "reviews") + "\n")
	must(t, err)
	if text := fmt.Sprintf("%d", token); text != token.String() || !strings.HasSuffix(text, ".[redacted]") {
		t.Errorf("it is shown as %s", text)
	}
	_, secret, _ := strings.Cut(strings.TrimPrefix(token.Reveal(), "lateen1."), ".")
	for _, form := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%d", "%08b"} {
		if text := fmt.Sprintf(form, token); strings.Contains(text, secret) {
			t.Errorf("%s shows it: %s", form, text)
		}
	}
}

// Files that nobody can make sense of cost the tokens, not the start.
func TestDamagedTokensFile(t *testing.T) {
	t.Parallel()
	good := newTokens(t)
	good.issue(t, "reviews")
	text, err := os.ReadFile(filepath.Join(good.dir, attest.TokensFile))
	must(t, err)
	for name, damaged := range map[string]string{
		"empty": "", "half": string(text[:len(text)/2]), "no JSON": "x", "another format": `{"format":"x","version":1,"tokens":[]}`,
		"another version": strings.Replace(string(text), `"version":1`, `"version":2`, 1), "an unknown field": strings.Replace(string(text), `"tokens"`, `"x":1,"tokens"`, 1),
		"an identity that is none":    strings.Replace(string(text), "spiffe://", "https://", 1),
		"another trust domain's":      strings.Replace(string(text), "cluster.local", "other.example", 1),
		"the control plane's":         strings.Replace(string(text), "ns/default/sa/reviews", "ns/lateen-system/sa/lateen", 1),
		"a workload of another space": strings.Replace(string(text), "reviews-v1-0.default", "reviews-v1-0.other", 1),
		"a digest that is none":       strings.Replace(string(text), `"sha256":"`, `"sha256":"0`, 1),
	} {
		r := newTokens(t)
		must(t, os.MkdirAll(filepath.Join(r.dir, "ca"), 0o700))
		must(t, os.WriteFile(filepath.Join(r.dir, attest.TokensFile), []byte(damaged), 0o600))
		r.restart(t)
		if n := r.Outstanding(); n != 0 {
			t.Errorf("%s: %d are out", name, n)
		}
		if who, err := r.use(t, r.issue(t, "ratings"), "a"); who != "ratings" {
			t.Errorf("%s: a new one is %q, %v", name, who, err)
		}
	}
}

func TestTokensAreBounded(t *testing.T) {
	t.Parallel()
	const most = 100
	r := newTokens(t)
	r.SetMost(most)
	peer := identitytest.Peer(attesttest.TrustDomain, "reviews", "")
	var all sync.WaitGroup
	tokens := make([]string, most)
	for i := range tokens {
		all.Go(func() {
			token, _, err := r.Issue(peer, time.Minute)
			if err != nil {
				t.Error(err)
			}
			tokens[i] = token.Reveal()
		})
	}
	all.Wait()
	if _, _, err := r.Issue(peer, 0); err == nil || !strings.Contains(err.Error(), "are out already") {
		t.Errorf("one more: %v", err)
	}
	if n := r.Outstanding(); n != most {
		t.Errorf("%d are out", n)
	}
	if _, err := r.use(t, tokens[0], "a"); err != nil {
		t.Error(err)
	}
	if _, _, err := r.Issue(peer, 0); err != nil {
		t.Errorf("when one was used: %v", err)
	}
	r.clock.Move(time.Minute)
	if _, _, err := r.Issue(peer, 0); err != nil {
		t.Errorf("when all have expired: %v", err)
	}
	if n := r.Outstanding(); n != 2 {
		t.Errorf("%d are out, want 2", n)
	}
}

func TestLifeOfATokenIsBounded(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	peer := identitytest.Peer(attesttest.TrustDomain, "reviews", "")
	for life, want := range map[time.Duration]time.Duration{
		0: attest.DefaultLife, time.Second: time.Second, attest.LongestLife: attest.LongestLife,
		-1: -1, time.Millisecond: -1, attest.LongestLife + 1: -1,
	} {
		_, expires, err := r.Issue(peer, life)
		if want < 0 && err == nil || want >= 0 && (err != nil || !expires.Equal(r.clock.Now().Add(want))) {
			t.Errorf("%s: until %s, %v; want %s", life, expires, err, want)
		}
	}
	if _, _, err := r.Issue(identity.Peer{}, 0); err == nil {
		t.Error("there is a token for nobody")
	}
}

// What is not on the disk does not count: else a restart would make a used token a fresh one.
func TestTokenCountsOnlyWhenTheDiskHasIt(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	token := r.issue(t, "reviews")
	blocked := filepath.Join(r.dir, attest.TokensFile)
	must(t, os.Remove(blocked))
	must(t, os.MkdirAll(filepath.Join(blocked, "full"), 0o700)) // no file can take its place
	_, err := r.use(t, token, "a")
	if _, ok := errors.AsType[*attest.Refused](err); err == nil || ok || errors.Is(err, attest.ErrNoEvidence) {
		t.Fatalf("while the disk is broken: %v", err)
	}
	if _, _, err := r.Issue(identitytest.Peer(attesttest.TrustDomain, "ratings", ""), 0); err == nil {
		t.Error("a token is given out that a restart forgets")
	}
	must(t, os.RemoveAll(blocked))
	if _, err := r.use(t, token, "b"); err == nil {
		t.Error("another key has it after the disk was mended")
	}
	if who, err := r.use(t, token, "a"); who != "reviews" {
		t.Errorf("the same key after the disk was mended is %q, %v", who, err)
	}
	r.restart(t)
	if _, err := r.use(t, token, "b"); err == nil {
		t.Error("another key has it after a restart")
	}
	if n := r.Outstanding(); n != 0 {
		t.Errorf("%d are out", n)
	}
}

// A token of another authority is told apart from one that has expired.
func TestForeignToken(t *testing.T) {
	t.Parallel()
	here, elsewhere := newTokens(t), newTokens(t)
	if _, err := here.use(t, elsewhere.issue(t, "reviews"), "a"); err == nil || !strings.Contains(err.Error(), "of another authority") {
		t.Errorf("the error is %v", err)
	}
}

// A text is a token in one spelling only, and errors do not hold it.
func FuzzParseToken(f *testing.F) {
	good := newTokens(f).issue(f, "reviews")
	f.Add(good)
	f.Add(good[:len(good)-1] + "=")
	f.Add("lateen1.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := attest.ParseToken(text)
		if err != nil {
			if len(text) > 40 && strings.Contains(err.Error(), text) {
				t.Errorf("the error holds it: %v", err)
			}
			return
		}
		if token.Reveal() != strings.TrimSpace(text) {
			t.Errorf("%q is written %q", text, token.Reveal())
		}
	})
}

// What cannot be had with a token does not spend it, and neither on the disk.
func TestTokenIsNotSpentInVain(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	token := r.issue(t, "reviews")
	other := errors.New("it wants to be ratings")
	var checked []string
	use := func(key string, err error) (string, error) {
		who, got := r.Attest(t.Context(), attest.Evidence{Token: token, Key: []byte(key), Check: func(p identity.Peer) error {
			checked = append(checked, p.Workload)
			return err
		}})
		return who.Peer.ID.Account, got
	}
	if who, err := use("a", other); !errors.Is(err, other) || who != "" {
		t.Fatalf("it is %q, %v", who, err)
	}
	r.restart(t)
	if n := r.Outstanding(); n != 1 {
		t.Errorf("%d are out, want 1", n)
	}
	if who, err := use("b", nil); who != "reviews" || err != nil {
		t.Errorf("for another key it is %q, %v", who, err)
	}
	if _, err := use("c", nil); err == nil || len(checked) != 2 || checked[0] != "reviews-v1-0.default" {
		t.Errorf("once it is used: %v, checked %v", err, checked)
	}
}
