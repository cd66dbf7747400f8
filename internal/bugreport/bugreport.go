// Package bugreport collects what somebody needs who is to find out what is wrong with a mesh, and leaves out its secrets.
//
// What comes in: sources, each a list of [Part]s: a name and a function that gets a text, from a control plane, an API server, a
// proxy or a file. What goes out: one archive (tar.gz) with a file for each part, and its index.txt, which says of each part
// how large it is, whether it was cut, or why it could not be had. [OfMachine] and [OfCluster] are the sources of a mesh on one machine
// and of one in a cluster.
//
// It promises that a part that fails costs only itself; that size and time of each part and of the whole are bounded; and that nothing
// gets into the archive that did not pass through a [Redactor], errors and names of files included. Nothing is changed anywhere,
// and no Secret is asked for.
package bugreport

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Part is one file of an archive.
type Part struct {
	Name string // path in the archive: "control-plane/lateen-0/problems.json"
	// Get reads it, some times [MaxPart] bytes at most. What is more than that is cut off.
	Get func(ctx context.Context) ([]byte, error)
	// Tail tells that the end of what is too long is kept, not its beginning: of logs.
	Tail bool
}

// Source lists parts. What it cannot list it returns as an error beside those that it can.
type Source struct {
	Name string // for the index, where it fails
	List func(ctx context.Context) ([]Part, error)
}

// Bounds of an archive.
const (
	MaxPart   = 8 << 20   // bytes of a part
	maxWhole  = 256 << 20 // bytes of all parts
	maxParts  = 1000
	partTime  = 20 * time.Second // that one part may take, and the list of a source
	atOnce    = 4
	maxReason = 600 // bytes of an error in the index
)

// IndexName is the name of the file that says what is in an archive.
const IndexName = "index.txt"

// Config says what is collected.
type Config struct {
	Dir      string // that all files of the archive are in
	Head     string // first lines of the index
	Sources  []Source
	Redactor *Redactor
	Time     time.Time // of the files in the archive
	// Tell is told what is being done; nil: nobody is.
	Tell func(line string)
}

// Summary counts the parts of an archive.
type Summary struct{ Whole, Cut, Missing int }

// Write collects everything and writes the archive. The error is that of the writer only, or of the context where it was
// cancelled; one whose time is over has an archive with what was there by then.
func Write(ctx context.Context, w io.Writer, c Config) (Summary, error) {
	packed := gzip.NewWriter(w)
	a := &archive{config: c, tar: tar.NewWriter(packed), names: map[string]int{}}
	for _, source := range c.Sources {
		if err := a.take(ctx, source); err != nil {
			return a.summary, err
		}
	}
	index := c.Head + "\n" + strings.Join(a.index, "\n") + "\n"
	if err := a.add(IndexName, c.Redactor.Text([]byte(index))); err != nil {
		return a.summary, err
	}
	return a.summary, errors.Join(a.tar.Close(), packed.Close())
}

// archive is one that is being written.
type archive struct {
	config  Config
	tar     *tar.Writer
	names   map[string]int
	index   []string
	written int
	parts   int
	summary Summary
}

// got is a part that was read.
type got struct {
	Part
	text []byte
	err  error
}

// take collects a source.
func (a *archive) take(ctx context.Context, s Source) error {
	a.tell(s.Name)
	parts, err := partsOf(ctx, s)
	if err != nil {
		a.miss(s.Name, err)
	}
	for batch := range slices.Chunk(parts, atOnce) {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			return ctx.Err()
		}
		for _, g := range read(ctx, batch) {
			if err := a.keep(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// partsOf asks a source for its parts, for a bounded time.
func partsOf(ctx context.Context, s Source) (parts []Part, err error) {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	return s.List(ctx)
}

// read reads parts side by side. One that does not heed its time is left behind.
func read(ctx context.Context, parts []Part) []got {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	came := make([]chan got, len(parts))
	for i, p := range parts {
		came[i] = make(chan got, 1)
		go func() {
			text, err := p.Get(ctx)
			came[i] <- got{p, text, err}
		}()
	}
	all := make([]got, len(parts))
	for i, p := range parts {
		select {
		case all[i] = <-came[i]:
		case <-ctx.Done():
			select {
			case all[i] = <-came[i]: // it was there in the same moment
			default:
				all[i] = got{p, nil, errors.New("no answer in time")}
			}
		}
	}
	return all
}

// keep puts a part into the archive. One that failed half-way is kept as far as it came.
func (a *archive) keep(g got) error {
	end, onlyEnd := errors.AsType[onlyEnd](g.err)
	size := int64(len(g.text))
	if onlyEnd {
		g.err, size = nil, end.size
	}
	if g.err != nil {
		a.miss(g.Name, g.err)
		if len(g.text) == 0 {
			return nil
		}
	}
	if a.parts++; a.parts > maxParts {
		a.miss(g.Name, fmt.Errorf("the archive has %d parts already", maxParts))
		return nil
	}
	text, cut := bound(a.redacted(g), g.Tail)
	if a.written += len(text); a.written > maxWhole {
		a.miss(g.Name, fmt.Errorf("the archive has %d MiB already", maxWhole>>20))
		return nil
	}
	name := a.name(g.Name)
	switch {
	case g.err != nil: // told
	case cut, onlyEnd:
		a.summary.Cut++
		a.index = append(a.index, fmt.Sprintf("cut      %s: %d of %d bytes", name, len(text), size))
	default:
		a.summary.Whole++
		a.index = append(a.index, fmt.Sprintf("ok       %s: %d bytes", name, len(text)))
	}
	return a.add(name, text)
}

// redacted returns the text of a part without secrets. A part that was cut is no document any more.
func (a *archive) redacted(g got) []byte {
	if strings.HasSuffix(g.Name, ".json") {
		return a.config.Redactor.JSON(g.text)
	}
	return a.config.Redactor.Text(g.text)
}

// bound cuts what is too long, at the end of a line.
func bound(text []byte, tail bool) (kept []byte, cut bool) {
	if len(text) <= MaxPart {
		return text, false
	}
	if !tail {
		return text[:MaxPart], true
	}
	text = text[len(text)-MaxPart:]
	if i := slices.Index(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return text, true
}

// miss notes a part that is not there.
func (a *archive) miss(name string, err error) {
	a.summary.Missing++
	reason := strings.Join(strings.Fields(string(a.config.Redactor.Text([]byte(err.Error())))), " ")
	line := fmt.Sprintf("missing  %s: %.*s", name, maxReason, reason)
	a.index = append(a.index, line)
	a.tell(line)
}

func (a *archive) tell(line string) {
	if a.config.Tell != nil {
		a.config.Tell(line)
	}
}

// name returns the name under which a part is kept: one that is safe as a path, and that no other has.
func (a *archive) name(wanted string) string {
	var elements []string
	for e := range strings.SplitSeq(string(a.config.Redactor.Text([]byte(wanted))), "/") {
		e = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || strings.ContainsRune(`\:*?"<>|`, r) {
				return '_'
			}
			return r
		}, e)
		if e != "" && e != "." && e != ".." {
			elements = append(elements, e)
		}
	}
	name := cmp.Or(strings.Join(elements, "/"), "part")
	if a.names[name]++; a.names[name] > 1 {
		name = fmt.Sprintf("%s.%d", name, a.names[name])
	}
	return name
}

func (a *archive) add(name string, text []byte) error {
	header := &tar.Header{Name: a.config.Dir + "/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: a.config.Time, Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err := a.tar.Write(text)
	return err
}
