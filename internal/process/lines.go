package process

import (
	"bytes"
	"slices"
	"sync"
)

const (
	maxLine   = 4096 // longer lines are cut into pieces
	keptLines = 10
)

// Lines takes the output of a process and hands it on line by line. It is safe for concurrent use.
type Lines struct {
	emit func(line string)

	mu      sync.Mutex
	partial []byte
	last    []string
}

// NewLines returns a Lines that calls emit, never twice at a time, with each line, without its end. Nil: nobody is called.
func NewLines(emit func(line string)) *Lines {
	if emit == nil {
		emit = func(string) {}
	}
	return &Lines{emit: emit}
}

// Write takes any piece of output; it never fails.
func (l *Lines) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, data...)
	rest := l.partial
	for {
		end := bytes.IndexByte(rest, '\n')
		switch {
		case end >= 0 && end <= maxLine:
			l.line(rest[:end])
			rest = rest[end+1:]
		case len(rest) > maxLine:
			l.line(rest[:maxLine])
			rest = rest[maxLine:]
		default:
			l.partial = append(l.partial[:0], rest...)
			return len(data), nil
		}
	}
}

// flush hands on what came after the last end of line.
func (l *Lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.line(l.partial)
		l.partial = l.partial[:0]
	}
}

// Last returns the last lines that were not empty, at most ten.
func (l *Lines) Last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.last)
}

func (l *Lines) line(raw []byte) {
	line := string(bytes.TrimSuffix(raw, []byte("\r")))
	if line != "" {
		if len(l.last) == keptLines {
			l.last = slices.Delete(l.last, 0, 1)
		}
		l.last = append(l.last, line)
	}
	l.emit(line)
}
