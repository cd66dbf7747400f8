package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/disk"
)

const (
	statusName = "identity.json"
	maxStatus  = 1 << 20 // bytes
	maxError   = 1 << 10 // bytes of an error that are kept
)

// Status tells of a workload's certificate. The agent keeps it in the workload's folder; there is no secret in it.
type Status struct {
	Identity    string    `json:"identity,omitempty"` // SPIFFE ID; "": there was no certificate yet
	Workload    string    `json:"workload,omitempty"` // instance that the certificate is for
	Address     string    `json:"address,omitempty"`  // of it, when the certificate says one
	Chain       string    `json:"chain,omitempty"`    // PEM, leaf first
	Roots       string    `json:"roots,omitempty"`    // PEM, by which others are trusted
	NotBefore   time.Time `json:"notBefore,omitzero"`
	NotAfter    time.Time `json:"notAfter,omitzero"`
	RenewAt     time.Time `json:"renewAt,omitzero"`    // by this machine's clock
	LastError   string    `json:"lastError,omitempty"` // of the last attempt; "": it went well
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
	SkewSeconds float64   `json:"skewSeconds"` // what the authority's clock was ahead of this machine's
	Renewals    int64     `json:"renewals"`    // since the agent has started, the first certificate too
	Failures    int64     `json:"failures"`    // of attempts, likewise
}

// ReadStatus returns what an agent tells of its workload's certificate in the folder of its proxy.
func ReadStatus(dir string) (Status, error) {
	var s Status
	text, err := disk.ReadFile(filepath.Join(dir, statusName), maxStatus)
	if err != nil {
		return s, err
	}
	if s, err = ParseStatus(text); err != nil {
		return s, fmt.Errorf("%s: %w", filepath.Join(dir, statusName), err)
	}
	return s, nil
}

// ParseStatus returns what an agent tells in a text: the page [LookIdentity].
func ParseStatus(text []byte) (Status, error) {
	var s Status
	err := json.Unmarshal(text, &s)
	return s, err
}

// describe takes over what a credential says.
func (s *Status) describe(c *credential, renewAt time.Time) {
	if c == nil {
		return
	}
	s.Identity, s.Workload, s.Address = c.peer.ID.String(), c.peer.Workload, ""
	if c.peer.Address.IsValid() {
		s.Address = c.peer.Address.String()
	}
	s.Chain, s.Roots = string(c.chainPEM()), string(c.roots.PEM())
	s.NotBefore, s.NotAfter = c.leaf().NotBefore, c.leaf().NotAfter
	s.RenewAt, s.SkewSeconds = renewAt.UTC().Round(time.Second), c.skew.Round(time.Millisecond).Seconds()
}

// statusFile writes the status when it has changed.
type statusFile struct {
	dir  string
	last []byte
}

func (f *statusFile) write(s Status) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if text = append(text, '\n'); bytes.Equal(text, f.last) {
		return nil
	}
	folder, err := disk.Open(f.dir)
	if err != nil {
		return err
	}
	if err := errors.Join(folder.Write(statusName, text), folder.Close()); err != nil {
		return err
	}
	f.last = text
	return nil
}

// cutError bounds an error's words.
func cutError(text string) string {
	if len(text) > maxError {
		text = text[:maxError]
	}
	return strings.ToValidUTF8(text, "")
}
