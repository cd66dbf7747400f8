package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/guard"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Supervisor runs a mesh.
type Supervisor struct {
	config  Config
	console *console
}

// New returns a supervisor for the mesh that the configuration describes.
func New(c Config) *Supervisor { return &Supervisor{config: c, console: newConsole(c)} }

// Run runs the mesh until ctx ends, and then drains and ends everything that it started. It returns nil after that,
// and an error, often a [*Failure], [*Refused] or [*agent.NotFound], when the mesh cannot start.
func (s *Supervisor) Run(ctx context.Context) (err error) {
	began := time.Now()
	state, err := openState(s.config.StateDir, s.config.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.close()) }()
	if err := errors.Join(state.linkProgram(s.config.Executable), s.checkAdminPort()); err != nil {
		return err
	}
	watchdog, err := guard.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watchdog.Close()) }()
	subnet, err := ClaimSubnet(s.config.Name)
	if err != nil {
		return err
	}
	defer subnet.Close()
	places := newPlaces(subnet)
	controlPlane, err := places.controlPlane()
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	kill, end := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-s.config.Kill:
			stop()
			end()
		case <-kill.Done():
		}
	}()
	defer func() { stop(); end(); <-watched }()
	site := s.site(state, watchdog)
	site.controlPlane = controlPlane
	return s.run(ctx, kill, newCrew(s.config, site, places, began))
}

func (s *Supervisor) site(state *stateDir, watchdog *guard.Guard) *site {
	r := newRoster()
	back := func() { s.console.say("the control plane is back") }
	return &site{
		console: s.console, state: state, guard: watchdog, roster: r, announcer: newAnnouncer(s.config.API, r, back),
		api: s.config.API, environ: s.config.Environ, executable: s.config.Executable, log: s.config.Log,
		realm: mesh.Realm{Domain: domain, TrustDomain: cmp.Or(s.config.TrustDomain, domain)},
	}
}

func (s *Supervisor) checkAdminPort() error {
	if s.config.AdminPort == 0 {
		return nil
	}
	return checkPort(loopback.String(), s.config.AdminPort, "the admin pages", "--admin-port")
}

// checkPort returns an error when the port is not free.
func checkPort(address string, port int, purpose, flag string) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return &Failure{
			Message: fmt.Sprintf("port %d for %s is in use", port, purpose),
			Advice:  fmt.Sprintf("choose another one with %s, or end what listens there: ss -ltnp 'sport = :%d'", flag, port),
		}
	case err != nil:
		return &Failure{
			Message: fmt.Sprintf("port %d for %s cannot be used", port, purpose), Advice: "choose another one with " + flag, Cause: err,
		}
	}
	return listener.Close()
}

// run runs all parts. The control plane starts after the Mesh files were found good, and ends after all that it steers.
func (s *Supervisor) run(ctx, kill context.Context, c *crew) error {
	args := append(slices.Clone(s.config.ServeArgs), "--secure-address", c.site.controlPlane.String())
	p := &plane{site: c.site, args: args, broken: make(chan error, 1)}
	told := c.site.announcer.back
	c.site.announcer.back = func() {
		told()
		p.back()
	}
	found := make(chan struct{})
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		path, err := agent.FindEnvoy(running, s.config.Envoy)
		if err == nil {
			c.site.envoy = path
			close(found)
		}
		return unless(running, err)
	})
	group.Go(func() error {
		err := s.config.Source(running, s.sink(c))
		if refused, ok := errors.AsType[*Refused](err); ok {
			return refused // the source has nothing to add
		}
		return err
	})
	group.Go(func() error { c.site.announcer.run(running); return nil })
	group.Go(func() error { return c.run(running, kill, found) })

	steering, stopPlane := context.WithCancel(kill)
	defer stopPlane()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-c.accepted:
			p.keeper().run(steering, kill)
		case <-steering.Done():
		}
	}()
	group.Go(func() error {
		select {
		case err := <-p.broken:
			return err
		case <-running.Done():
			return nil
		}
	})
	err := group.Wait()
	stopPlane()
	<-stopped
	return err
}

// unless returns the error, unless ctx has ended: then the error is only that something was cut off.
func unless(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// Refused is the error that the Mesh files cannot be run as they are.
type Refused struct {
	Problems []mesh.Problem
}

func (e *Refused) Error() string {
	if len(e.Problems) == 0 {
		return "there is no Mesh in these files"
	}
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "the Mesh cannot run:\n" + strings.Join(lines, "\n")
}

// sink returns what takes the Mesh files: the first ones must be good, later ones are told and change nothing if they are
// not. Then a document of which nobody can say whether it is a Mesh is left to the control plane, which watches the same
// files.
func (s *Supervisor) sink(c *crew) func(context.Context, []config.Object, []mesh.Problem) error {
	running := false
	told := map[mesh.Problem]bool{}
	return func(ctx context.Context, objects []config.Object, problems []mesh.Problem) error {
		wanted, found := Read(objects)
		problems = append(about(problems), found...)
		if wanted != nil {
			problems = append(problems, wanted.foreign(c.site.realm.TrustDomain)...)
		}
		if !running && (wanted == nil || mesh.HasErrors(problems)) {
			return &Refused{Problems: problems}
		}
		running = true
		problems = slices.DeleteFunc(problems, func(p mesh.Problem) bool { return p.Object.IsZero() })
		s.tell(told, problems, objects)
		c.site.roster.tell(distinct(problems))
		if wanted == nil {
			return nil
		}
		select {
		case c.meshes <- wanted:
		case <-ctx.Done():
		}
		return nil
	}
}

// tell says which problems there are that were not told, and which objects have none any more. The same problem may be
// there twice, with a hint that only one of them has.
func (s *Supervisor) tell(told map[mesh.Problem]bool, problems []mesh.Problem, objects []config.Object) {
	before := maps.Clone(told)
	clear(told)
	wrong := map[mesh.Ref]bool{}
	for _, p := range problems {
		known := p
		known.Hint = ""
		if !before[known] && !told[known] {
			s.console.problem(p)
		}
		told[known] = true
		wrong[p.Object] = wrong[p.Object] || p.Severity == mesh.Error
	}
	mended := map[mesh.Ref]bool{}
	for p := range before {
		mended[p.Object] = mended[p.Object] || p.Severity == mesh.Error && !wrong[p.Object]
	}
	for _, o := range objects {
		if mended[o.Ref] {
			s.console.say("%s is good again", o.Ref)
		}
	}
}

// distinct returns the problems without those that are there twice; of two the one with a hint stays.
func distinct(problems []mesh.Problem) []mesh.Problem {
	at := map[mesh.Problem]int{}
	var list []mesh.Problem
	for _, p := range problems {
		known := p
		known.Hint = ""
		if i, twice := at[known]; twice {
			list[i].Hint = cmp.Or(list[i].Hint, p.Hint)
			continue
		}
		at[known] = len(list)
		list = append(list, p)
	}
	return list
}

// about returns the problems of Mesh documents, and of documents that may be some.
func about(problems []mesh.Problem) []mesh.Problem {
	var ours []mesh.Problem
	for _, p := range problems {
		if p.Object.Kind == kindMesh || p.Object.IsZero() {
			ours = append(ours, p)
		}
	}
	return ours
}
