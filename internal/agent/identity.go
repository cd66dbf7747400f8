package agent

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
)

// startIdentity begins to keep the workload's identity, until the returned function is called. Without a control plane that
// gives identities there is nothing to keep.
func (a *Agent) startIdentity(ctx context.Context) (stop func(), err error) {
	if a.config.ControlPlane == "" {
		return func() {}, nil
	}
	k, closer, err := a.newKeeper()
	if err != nil {
		return nil, err
	}
	unserve := func() {}
	if a.config.Proxyless {
		a.keepFiles(k)
	} else if unserve, err = a.keepSecrets(ctx, k); err != nil {
		return nil, errors.Join(err, closer.Close())
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // an Envoy that drains may still want it
	var keeping sync.WaitGroup
	keeping.Go(func() { k.run(ctx) })
	return func() {
		cancel()
		keeping.Wait()
		unserve()
		_ = closer.Close() // the end of a pair of sockets
	}, nil
}

// newKeeper makes what keeps the identity, but for what is done with it. The closer is for when it is no longer needed.
func (a *Agent) newKeeper() (*keeper, io.Closer, error) {
	c := &a.config
	file := &statusFile{dir: c.Dir}
	k := &keeper{
		name: c.Name, workload: c.Node, trustDomain: c.TrustDomain, clock: c.Clock, random: rand.Float64, log: c.Log,
		load: func(string) (*credential, error) { return nil, nil }, //nolint:nilnil // nothing is kept
		save: func(*credential) error { return nil },
		tell: func(s Status) {
			a.status.Store(&s)
			if err := file.write(s); err != nil {
				c.Log.Warn("status of the certificate not written", "proxy", c.Name, "err", err)
			}
		},
	}
	if address, err := netip.ParseAddr(c.Address); err == nil { // else nobody has said which it is
		k.address = address.Unmap()
	}
	var err error
	if k.sign, err = newSigner(c); err != nil {
		return nil, nil, err
	}
	var closer io.Closer = io.NopCloser(nil)
	switch {
	case c.Tokens != nil:
		k.tokens = c.Tokens
	case c.InheritToken:
		if k.tokens, closer, err = inheritedTokens(tokenDescriptor); err != nil {
			return nil, nil, err
		}
	case c.ServiceAccountToken != "":
		k.tokens, k.lasting = serviceAccountTokens(c.ServiceAccountToken), true
	default:
		if c.TokenFile != "" {
			k.tokens = fileTokens(c.TokenFile, c.Log)
		} else if _, err := os.Lstat(filepath.Join(c.Dir, keptName(c.Proxyless))); err != nil {
			return nil, nil, &Misused{"nothing proves who this workload is", "make a join token with `lateen ca token`, put it in a file and name that with --token-file"}
		}
		k.load, k.save = oneFile{c.Dir}.load, oneFile{c.Dir}.save
	}
	return k, closer, nil
}

// keptName is the name of what keeps a credential over a restart.
func keptName(proxyless bool) string {
	if proxyless {
		return currentLink
	}
	return identityName
}

// keepSecrets hands the identity to Envoy.
func (a *Agent) keepSecrets(ctx context.Context, k *keeper) (stop func(), err error) {
	s := newSecrets()
	k.use = s.set
	return s.serve(ctx, a.config.SDSSocket())
}

// keepFiles hands the identity to a program, in files that are also what the next run begins with. The key stays the same,
// since the program may read the old certificate just before the files are replaced, and the new key just after.
func (a *Agent) keepFiles(k *keeper) {
	files := linkedFiles{a.config.Dir}
	k.sameKey, k.load, k.save = true, files.load, func(*credential) error { return nil }
	k.use = func(c *credential) error {
		if c == nil {
			return nil // the files stay: whoever is shown the certificate sees that it has expired
		}
		return files.save(c)
	}
	tell := k.tell
	k.tell = func(s Status) {
		tell(s)
		if k.used != nil { // now whoever asks is told the same
			a.becomeReady.Do(func() { a.emit(Event{Event: Ready}) })
		}
	}
}
