package serve

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
)

const tokenBytes = 16 // random ones

// openGate returns the gate with the token in the state folder. A new token is made where there is none, and where
// others may have read it.
func openGate(stateDir string) (admin.Gate, error) {
	g := admin.Gate{File: filepath.Join(stateDir, api.TokenFile)}
	text, err := readToken(g.File)
	if err != nil {
		return g, fmt.Errorf("token of the debug pages: %w", err)
	}
	if text == "" {
		if text, err = writeToken(g.File); err != nil {
			return g, fmt.Errorf("token of the debug pages: %w", err)
		}
	}
	g.Token = text
	return g, nil
}

// readToken returns the token in a file, or "" if there is none that will do.
func readToken(path string) (string, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || info.Size() > 4*tokenBytes {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if raw, err := hex.DecodeString(token); err != nil || len(raw) != tokenBytes {
		return "", nil //nolint:nilerr // what is no token is replaced
	}
	return token, nil
}

// writeToken makes a token and puts it in the place of whatever the file was.
func writeToken(path string) (string, error) {
	raw := make([]byte, tokenBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	token := hex.EncodeToString(raw)
	file, err := os.CreateTemp(filepath.Dir(path), "."+api.TokenFile+"-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(token + "\n")
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return token, nil
}
