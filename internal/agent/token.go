package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/disk"
)

const (
	// tokenDescriptor is where an agent that inherits its tokens finds who gives them.
	tokenDescriptor = 3
	tokenQuestion   = "token\n"
	tokenWait       = 10 * time.Second
	maxToken        = 512 // bytes
	// tokenPace bounds how often an agent gets a token: each may be out for minutes, and there can be only so many.
	tokenPace = 200 * time.Millisecond
)

// tokenSource gives join tokens, each good for one certificate. That it has none now is an error.
type tokenSource func(context.Context) (string, error)

// errNoToken is the error that there is no token at this moment.
var errNoToken = errors.New("there is no join token now")

// fileTokens reads the token that is in a file whenever one is needed, since somebody may have put a new one there.
// That others can read it is told once.
func fileTokens(path string, log *slog.Logger) tokenSource {
	told := false
	return func(context.Context) (string, error) {
		text, err := disk.ReadFile(path, maxToken)
		if err != nil {
			return "", fmt.Errorf("read join token: %w", err)
		}
		token, err := checkToken(string(text))
		if stat, statErr := os.Stat(path); err == nil && statErr == nil && stat.Mode().Perm()&0o077 != 0 && !told {
			told = true
			log.Warn("others can read the join token, and be this workload if they are faster: make the file with umask 077", "file", path, "mode", stat.Mode().Perm().String())
		}
		return token, err
	}
}

// maxServiceAccount bounds a file with the token of a ServiceAccount, in bytes.
const maxServiceAccount = 16 << 10

// serviceAccountTokens reads the token that is in a file whenever one is needed: the kubelet puts a newer one there in time.
// Others in the container may read it, as they may read the certificate's key from the agent.
func serviceAccountTokens(path string) tokenSource {
	return func(context.Context) (string, error) {
		text, err := disk.ReadFile(path, maxServiceAccount)
		if err != nil {
			return "", fmt.Errorf("read the token of the ServiceAccount: %w", err)
		}
		return checkToken(string(text))
	}
}

// checkToken returns the token in a line.
func checkToken(line string) (string, error) {
	token := strings.TrimSpace(line)
	switch {
	case token == "":
		return "", errNoToken
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errors.New("what should be a token is something else")
	}
	return token, nil
}

// inheritedTokens asks whoever started this process, through the descriptor that it left open.
func inheritedTokens(descriptor uintptr) (tokenSource, io.Closer, error) {
	file := os.NewFile(descriptor, "tokens")
	if file == nil {
		return nil, nil, fmt.Errorf("descriptor %d is not open", descriptor)
	}
	conn, err := net.FileConn(file)
	if err := errors.Join(err, file.Close()); err != nil { // conn is a copy that no child inherits
		return nil, nil, fmt.Errorf("descriptor %d is not one end of a pair of sockets: %w", descriptor, err)
	}
	a := &asking{conn: conn, lines: bufio.NewReaderSize(conn, maxToken)}
	return a.token, conn, nil
}

// asking asks for tokens at one end of a pair of sockets.
type asking struct {
	conn  net.Conn
	lines *bufio.Reader
	asked bool // and the answer not read yet
}

// token asks for a token. An answer that came too late for one question is taken for that to the next.
func (a *asking) token(ctx context.Context) (string, error) {
	until := time.Now().Add(tokenWait)
	if sooner, ok := ctx.Deadline(); ok && sooner.Before(until) {
		until = sooner
	}
	if err := a.conn.SetDeadline(until); err != nil {
		return "", fmt.Errorf("ask for a join token: %w", err)
	}
	defer a.hurry(ctx)()
	if !a.asked {
		if _, err := io.WriteString(a.conn, tokenQuestion); err != nil {
			return "", fmt.Errorf("ask for a join token: %w", err)
		}
		a.asked = true
	}
	line, err := a.lines.ReadSlice('\n')
	if err != nil {
		return "", fmt.Errorf("wait for a join token: %w", err)
	}
	a.asked = false
	return checkToken(string(line))
}

// hurry makes whoever waits give up when ctx ends, until the returned function is called.
func (a *asking) hurry(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = a.conn.SetDeadline(time.Unix(1, 0)) // on a connection that is closed nobody waits
	})
	return func() {
		if !cancel() {
			<-done // so that it does not hurry the next one
		}
	}
}

// TokenPair returns the two ends of what gives an agent its tokens: its own, which becomes descriptor 3 of the process that
// has --inherit-token, and the one for [GiveTokens]. Whoever started the process closes the agent's end.
func TokenPair() (agents *os.File, ours net.Conn, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("pair of sockets for join tokens: %w", err)
	}
	agents = os.NewFile(uintptr(ends[0]), "tokens of the agent") //nolint:gosec // a descriptor is not negative
	file := os.NewFile(uintptr(ends[1]), "tokens")               //nolint:gosec // a descriptor is not negative
	ours, err = net.FileConn(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("pair of sockets for join tokens: %w", err), agents.Close())
	}
	return agents, ours, nil
}

// GiveTokens answers each question of an agent with a fresh token, five in a second at most, until the agent is gone or ctx
// ends, and closes its end. When there is no token now, fresh returns an error; the agent is told nothing but that, and asks
// again.
func GiveTokens(ctx context.Context, ours net.Conn, fresh func(context.Context) (string, error)) error {
	defer ours.Close()
	defer context.AfterFunc(ctx, func() { _ = ours.Close() })()
	questions := bufio.NewReaderSize(ours, 16)
	pace := time.NewTicker(tokenPace)
	defer pace.Stop()
	for {
		question, err := questions.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || (err == nil && string(question) != tokenQuestion) {
			return errors.New("an agent asks for something else than a token")
		}
		if err != nil {
			return nil // it is gone, or we are to be
		}
		token, missing := fresh(ctx)
		if missing != nil {
			token = "" // why is for our own log: fresh has told it
		}
		if _, err := io.WriteString(ours, token+"\n"); err != nil {
			return nil // as above
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil
		}
	}
}
