package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// defaultPatience is how long sources have to report before what is kept of them counts.
const defaultPatience = 10 * time.Second

// Stale is a source that has not reported since the start, and whose last registry counts until it does.
type Stale struct {
	Source string
	Saved  time.Time // when it was reported
}

// silence is what is known of the sources that have not reported.
type silence struct {
	optional []string
	waited   bool                    // they have had their time
	standIn  map[string]time.Time    // those whose last registry counts, with the time at which it was saved
	refused  map[string]mesh.Problem // by source: what was kept of it and cannot be used
}

// end notes that a source reports. What it says is kept from then on, in the place of what was before.
func (s *silence) end(source string) {
	delete(s.standIn, source)
	delete(s.refused, source)
}

// goOn is done when the sources have had their time: what is kept of those that are silent counts until they report.
// Nothing of it is removed before.
func (s *Store) goOn() {
	q := &s.queues[ofRegistries]
	q.add(change{ofRegistries, s.standIn, make(chan answer, 1)})
	s.take(q)
}

func (s *Store) standIn(f *fold) error {
	f.silence.waited = true
	for _, source := range f.silent() {
		last, saved, err := s.Kept(source)
		if refused, ok := errors.AsType[*cache.Refused](err); ok {
			f.silence.refused[source] = refused.Problem()
		}
		if err != nil || f.setRegistry(source, &last) != nil {
			continue
		}
		f.reported[source] = false
		f.silence.standIn[source] = saved
	}
	return nil
}

// silent returns the sources that have not reported, the optional ones last.
func (f *fold) silent() []string {
	return slices.DeleteFunc(slices.Concat(f.required, f.silence.optional), func(s string) bool { return f.reported[s] })
}

// tellSilence tells anew which sources are silent.
func (f *fold) tellSilence() {
	f.tell(subject{about: aboutSource, kind: "silence"}, f.silenceProblems())
}

// silenceProblems tells which sources are silent for too long.
func (f *fold) silenceProblems() []mesh.Problem {
	if !f.silence.waited {
		return nil
	}
	var problems []mesh.Problem
	for _, source := range f.silent() {
		if refused, ok := f.silence.refused[source]; ok {
			problems = append(problems, refused)
		}
		p := mesh.Problem{Code: config.CodeSourceStale, Severity: mesh.Warning}
		saved, ok := f.silence.standIn[source]
		switch {
		case ok:
			p.Message = fmt.Sprintf("the source %q has not reported: what it said at %s counts until it does", source, saved.Format(time.RFC3339))
			p.Hint = "nothing is removed before; what has changed since is not known"
		case slices.Contains(f.required, source):
			p.Severity = mesh.Error
			p.Message = fmt.Sprintf("the source %q has not reported, and nothing is kept of it: nothing is sent to proxies before it does", source)
		default:
			p.Message = fmt.Sprintf("the source %q has not reported: what it knows is missing", source)
		}
		problems = append(problems, p)
	}
	return problems
}

// standIns returns the sources whose last registry counts.
func (f *fold) standIns() []Stale {
	var stale []Stale
	for _, source := range slices.Sorted(maps.Keys(f.silence.standIn)) {
		stale = append(stale, Stale{source, f.silence.standIn[source]})
	}
	return stale
}

// partOf is the name under which the registry of a source is kept.
func partOf(source string) string { return "registry-" + source }

// Kept returns what is kept of a source, and since when. The error is [fs.ErrNotExist] when that is nothing, and a [*cache.Refused]
// when it must not be used.
func (s *Store) Kept(source string) (mesh.Registry, time.Time, error) {
	var r mesh.Registry
	if s.last == nil {
		return r, time.Time{}, fs.ErrNotExist
	}
	saved, err := s.last.Load(partOf(source), &r)
	return r, saved, err
}

// keeping has what a source knows kept for a restart, once a change of it is applied.
func (s *Store) keeping(source string, apply func(*fold) error) func(*fold) error {
	return func(f *fold) error {
		err := apply(f)
		if err == nil && s.last != nil {
			s.last.Keep(partOf(source), func() any { return s.whole(source) })
		}
		return err
	}
}

// whole returns what a source knows now, without the keys of its certificates. It asks the owner goroutine, also when it
// is only the last moment.
func (s *Store) whole(source string) mesh.Registry {
	answer := make(chan mesh.Registry, 1)
	ask := func(f *fold) { answer <- f.registries[source].whole() }
	select {
	case s.asks <- ask:
	case <-s.stopped:
		ask(s.fold)
	}
	r := <-answer
	slices.SortFunc(r.Services, func(a, b *mesh.Service) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortFunc(r.Endpoints, func(a, b *mesh.EndpointSet) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortFunc(r.Workloads, func(a, b *mesh.Workload) int { return cmp.Compare(a.ID(), b.ID()) })
	slices.SortFunc(r.Certificates, func(a, b mesh.SealedCertificate) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return r
}

// whole returns what the registry holds, in no order. Of a certificate the key is left out: that it is there is enough to
// take nothing from proxies that have it.
func (r *registry) whole() mesh.Registry {
	all := mesh.Registry{
		Services:  slices.Collect(maps.Values(r.services)),
		Endpoints: slices.Collect(maps.Values(r.endpoints)),
		Workloads: slices.Collect(maps.Values(r.workloads)),
		Settings:  r.settings,
	}
	for _, c := range r.certificates {
		all.Certificates = append(all.Certificates, mesh.SealedCertificate{
			Namespace: c.Namespace, Name: c.Name, Origin: c.Origin, Chain: c.Chain,
		})
	}
	return all
}
