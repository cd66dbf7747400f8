package kube

import (
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Codes of problems. They are fixed: docs/reference/problems.md shows them, and users match on them.
const (
	// CodeNotInstalled: the cluster does not know a kind.
	CodeNotInstalled = "kind-not-installed"
	// CodeNotReadable: Lateen may not read a kind, or the API server fails to.
	CodeNotReadable = "kind-not-readable"
	// CodeClusterAway: the API server does not answer.
	CodeClusterAway = "cluster-away"
)

// phase is how it is with reading a kind.
type phase int

const (
	pending    phase = iota // nothing is known yet
	live                    // all objects were read, and what changes is
	unreadable              // they may not be read, or the API server fails to
	absent                  // there is no such kind
)

// state is how it is with reading the objects of one kind, of one namespace or of all.
type state struct {
	kind      *kind
	namespace string
	phase     phase
	known     bool      // all objects were read once
	why       string    // they cannot be read
	since     time.Time // of answers that are not believed at once, since they are those of a server that starts, too
}

// listed notes that all objects of a kind were read.
func (s *Source) listed(st *state) {
	s.mu.Lock()
	fresh := st.phase != live || !st.known
	st.phase, st.known, st.why, st.since = live, true, "", time.Time{}
	if fresh {
		s.objects.whole = true // kept ones do not count any more
	}
	s.mu.Unlock()
	s.otherSecretsIf(st.kind)
	wake(s.objectsAwake)
	wake(s.registryAwake)
}

// otherSecretsIf notes that other Secrets may be named, when a kind is one that says so.
func (s *Source) otherSecretsIf(k *kind) {
	if k.object == ingressKind || k.word == classesWord {
		s.otherSecrets()
	}
}

// answered notes what the API server said: nil, or why the objects cannot be read.
func (s *Source) answered(st *state, err error) {
	now := time.Now()
	s.mu.Lock()
	before := *st
	gone := false
	switch {
	case err == nil:
		s.back()
		if st.known {
			st.phase, st.why, st.since = live, "", time.Time{}
		}
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		s.back()
		st.refused(err)
	case apierrors.IsNotFound(err):
		s.back()
		if gone = s.stands(&st.since, now) || (!st.known && !s.objects.kept.has(st)); gone {
			st.phase, st.known, st.why = absent, false, ""
		}
	case apierrors.ReasonForError(err) != metav1.StatusReasonUnknown: // it answers, and fails to read this kind
		s.back()
		if s.stands(&st.since, now) {
			st.refused(err)
		}
	default:
		s.lose(now, err)
	}
	if st.phase != before.phase || st.why != before.why || !s.away.IsZero() {
		s.objects.doubt = true
	}
	s.mu.Unlock()
	if gone {
		st.kind.only(st.namespace, nil)
	}
	s.otherSecretsIf(st.kind)
	wake(s.objectsAwake)
	wake(s.registryAwake)
}

// refused notes that objects cannot be read.
func (st *state) refused(err error) {
	st.phase, st.why = unreadable, fmt.Sprintf("%.300s", err.Error())
}

// stands tells whether the API server has said for long enough, since when is noted, what one that starts says for a moment.
func (s *Source) stands(since *time.Time, now time.Time) bool {
	if since.IsZero() {
		*since = now
	}
	return now.Sub(*since) >= s.config.Patience
}

// back notes that the API server answers. The lock is held.
func (s *Source) back() {
	if s.away.IsZero() {
		return
	}
	s.away = time.Time{}
	s.objects.doubt = true
	if s.told {
		s.told = false
		s.config.Log.Info("the API server answers again")
	}
}

// lose notes that the API server does not answer. The lock is held.
func (s *Source) lose(now time.Time, err error) {
	if s.away.IsZero() {
		s.away = now
	}
	if !s.told {
		s.told = true
		s.config.Log.Warn("the API server does not answer", "err", err)
	}
}

// complete tells whether everything was read that is to be known first: of what runs, or of objects. A kind that cannot be read
// for a reason holds up nothing, unless nobody could tell what runs without it. The lock is held.
func (s *Source) complete(objects bool) bool {
	return !slices.ContainsFunc(s.states, func(st *state) bool {
		if (st.kind.object != "") != objects || st.known {
			return false
		}
		return st.phase == pending || st.kind.required
	})
}

// problems tells what is wrong with reading the cluster. The lock is held.
func (s *Source) problems(now time.Time) []mesh.Problem {
	var all []mesh.Problem
	for _, st := range s.states {
		if p, ok := st.problem(); ok && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	if !s.away.IsZero() && now.Sub(s.away) >= s.config.Patience {
		all = append(all, mesh.Problem{
			Code: CodeClusterAway, Severity: mesh.Warning, Message: "the API server does not answer: what it said before counts",
			Hint: "traffic goes on; what starts or changes meanwhile is not known",
		})
	}
	return all
}

func (st *state) problem() (mesh.Problem, bool) {
	p := mesh.Problem{Severity: mesh.Warning}
	where := ""
	if st.namespace != "" {
		where = " of namespace " + st.namespace
	}
	switch st.phase {
	case unreadable:
		p.Code = CodeNotReadable
		p.Message = fmt.Sprintf("the %s%s cannot be read: %s", st.kind.word, where, st.why)
		p.Hint = "let Lateen's ServiceAccount get, list and watch them, as `lateen install` does; they count as soon as they can be read"
		if st.kind.required {
			p.Severity = mesh.Error
		}
		if st.known {
			p.Message += "; what was read before counts"
		} else if st.kind.without != "" {
			p.Message += "; " + st.kind.without
		}
	case absent:
		p.Code = CodeNotInstalled
		p.Message = fmt.Sprintf("the cluster does not know the kind %s", st.kind.word)
		p.Hint = st.kind.installHint()
		if st.kind.without != "" {
			p.Message += ": " + st.kind.without
		}
	default:
		return p, false
	}
	return p, true
}

func (k *kind) installHint() string {
	if k.object != "" {
		return "`lateen install` installs it; its objects count as soon as it is there"
	}
	return ""
}

// tellProblems logs what is wrong with what a registry is made from and was not before, and returns what was logged of it: the sink
// only shows it.
func (s *Source) tellProblems(logged map[mesh.Problem]bool, problems []mesh.Problem) map[mesh.Problem]bool {
	for _, p := range problems {
		if !logged[p] {
			s.config.Log.Warn("problem", "object", p.Object.String(), "problem", p.String())
		}
	}
	if problems == nil {
		return logged
	}
	now := make(map[mesh.Problem]bool, len(problems))
	for _, p := range problems {
		now[p] = true
	}
	return now
}
