package kubewrite

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// StancesConfigMap is where it is kept how ports are secured.
const StancesConfigMap = "lateen-stances"

// Bounds of what is kept, in bytes: an object of a cluster has 1 MiB at most.
const (
	maxPacked   = 900 << 10
	maxUnpacked = 64 << 20
)

// Stances keeps how ports are secured in the cluster, for a control plane that starts again. What is handed to the leader to
// save is written before Save returns. The other replicas remember it: they are never more than one step from the leader, and
// each writes what it has when it becomes the leader. What a leader has written no former one writes over, which may not know yet
// that it does not lead any more: each writes its term beside it. It is what package store takes.
type Stances struct {
	client  *kubeapi.Client
	leading func() bool
	follows func() bool // another one leads
	term    func() int32
	// overtaken is called with the term of who has written, where that is higher.
	overtaken func(term int32)
	log       *slog.Logger
	beat      time.Duration

	saving sync.Mutex // one is written after the other

	mu      sync.Mutex
	part    string
	latest  func() any // nil: nothing was handed in
	written bool       // by this replica, while it leads
	fail    bool       // told once
}

var errOvertaken = errors.New("another replica has led since: what this one has is not written over what that one wrote")

var errNobodyLeads = errors.New("no replica is known to lead, so nobody keeps how ports are secured")

// Save keeps a part and returns when a start would find it, or at once where another replica leads, which keeps its own.
func (s *Stances) Save(part string, v any) error {
	s.Keep(part, func() any { return v })
	switch {
	case s.leading():
	case s.follows():
		return nil
	default:
		return errNobodyLeads
	}
	return s.flush(context.Background()) //nolint:forbidigo // who saves has none, and each call is bounded
}

// Keep has a part kept within a moment.
func (s *Stances) Keep(part string, v func() any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.part, s.latest, s.written = part, v, false
}

// Load reads a part. The error is [fs.ErrNotExist] when there is none, and a [*cache.Refused] when it cannot be read.
func (s *Stances) Load(part string, v any) (time.Time, error) {
	refused := func(err error) error {
		return &cache.Refused{File: "ConfigMap " + StancesConfigMap, Why: cache.Unreadable, Detail: err.Error()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), callBound) //nolint:forbidigo // likewise
	defer cancel()
	there, err := s.client.ConfigMaps(mesh.SystemNamespace).Get(ctx, StancesConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return time.Time{}, fmt.Errorf("%s: %w", part, fs.ErrNotExist)
	}
	if err != nil {
		return time.Time{}, refused(err)
	}
	data, ok := there.BinaryData[key(part)]
	if !ok {
		return time.Time{}, fmt.Errorf("%s: %w", part, fs.ErrNotExist)
	}
	if err := unpack(data, v); err != nil {
		return time.Time{}, refused(err)
	}
	return time.Time{}, nil
}

func key(part string) string { return part + ".json.gz" }

// run writes what waits, at each beat while this replica leads.
func (s *Stances) run(ctx context.Context) error {
	beats(ctx, min(s.beat, time.Second), func(ctx context.Context) {
		s.mu.Lock()
		waits := s.latest != nil && (!s.written || !s.leading())
		if !s.leading() {
			s.written = false // whoever leads now writes other ones
		}
		s.mu.Unlock()
		if waits && s.leading() {
			s.tell(s.flush(ctx))
		}
	})
	return nil
}

func (s *Stances) tell(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failed := err != nil; failed != s.fail {
		s.fail = failed
		if failed {
			s.log.Warn("how ports are secured is not kept in the cluster now", "err", err)
		} else {
			s.log.Info("how ports are secured is kept in the cluster again")
		}
	}
}

// flush writes the latest.
func (s *Stances) flush(ctx context.Context) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	part, latest := s.part, s.latest
	s.written = true // until something else is handed in
	s.mu.Unlock()
	err := s.write(ctx, part, latest())
	if err != nil {
		s.mu.Lock()
		s.written = false
		s.mu.Unlock()
		return fmt.Errorf("keep %s: %w", part, err)
	}
	return nil
}

func (s *Stances) write(ctx context.Context, part string, v any) error {
	term := s.term() // before anything is read: it is the one in which it was decided to write
	data, err := pack(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	configs := s.client.ConfigMaps(mesh.SystemNamespace)
	there, err := configs.Get(ctx, StancesConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		fresh := &corev1.ConfigMap{ObjectMeta: meta(StancesConfigMap), BinaryData: map[string][]byte{key(part): data}}
		setTerm(fresh, term)
		_, err = configs.Create(ctx, fresh, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	written := writtenIn(there)
	if written > term {
		s.overtaken(written)
		return errOvertaken
	}
	if written == term && bytes.Equal(there.BinaryData[key(part)], data) {
		return nil
	}
	next := there.DeepCopy() // with its version: what is written meanwhile is not written over
	setTerm(next, term)
	next.BinaryData = map[string][]byte{key(part): data}
	_, err = configs.Update(ctx, next, metav1.UpdateOptions{})
	return err
}

// mostTerm bounds what is believed to be a term.
const mostTerm = 1 << 30

// writtenIn returns the term in which something was written; 0: in none that is known.
func writtenIn(c *corev1.ConfigMap) int32 {
	term, err := strconv.ParseInt(c.Annotations[TermAnnotation], 10, 32)
	if err != nil || term < 0 || term > mostTerm {
		return 0
	}
	return int32(term)
}

func setTerm(c *corev1.ConfigMap, term int32) {
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[TermAnnotation] = strconv.FormatInt(int64(term), 10)
}

func pack(v any) ([]byte, error) {
	var data bytes.Buffer
	packer := gzip.NewWriter(&data)
	if err := errors.Join(json.NewEncoder(packer).Encode(v), packer.Close()); err != nil {
		return nil, err
	}
	if data.Len() > maxPacked {
		return nil, fmt.Errorf("%d bytes are more than an object of the cluster can hold", data.Len())
	}
	return data.Bytes(), nil
}

func unpack(data []byte, v any) error {
	unpacker, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(unpacker, maxUnpacked))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
