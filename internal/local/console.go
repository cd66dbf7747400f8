package local

import (
	"fmt"
	"io"
	"sync"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// console writes what people see: output of the applications with their names, progress, and errors. On a terminal
// the last line shows what is still waited for, and is redrawn under everything else. Whole lines, never mixed.
type console struct {
	out, err io.Writer
	terminal bool
	colour   bool
	quiet    bool

	mu      sync.Mutex
	width   int               // of the longest name
	colours map[string]string // by workload
	status  string
}

// palette holds colours that are readable on light and dark terminals (ECMA-48 SGR).
var palette = [...]string{"36", "33", "35", "32", "34", "96", "93", "95", "92", "94"}

const (
	eraseLine   = "\r\x1b[K"
	statusWidth = 78
)

func newConsole(c Config) *console {
	return &console{
		out: c.Stdout, err: c.Stderr, terminal: c.Terminal, colour: c.Colour, quiet: c.Quiet,
		colours: map[string]string{},
	}
}

// introduce makes room for the name of an instance, and chooses the colour of its workload.
func (c *console) introduce(instance, workload string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.width = max(c.width, len(instance))
	if c.colours[workload] == "" {
		c.colours[workload] = palette[len(c.colours)%len(palette)]
	}
}

// output writes a line that an instance wrote.
func (c *console) output(instance, workload, line string) {
	if c.quiet && workload != planeName { // what the control plane says may be an error
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	prefix := fmt.Sprintf("%-*s |", c.width, instance)
	if code := c.colours[workload]; c.colour && code != "" {
		prefix = "\x1b[" + code + "m" + prefix + "\x1b[0m"
	}
	c.write(c.out, prefix+" "+line+"\n")
}

// say writes a line of progress.
func (c *console) say(format string, args ...any) {
	if c.quiet {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(c.out, fmt.Sprintf(format, args...)+"\n")
}

// fail writes what went wrong, and the next step unless it is "".
func (c *console) fail(message, hint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := "lateen: error: " + message + "\n"
	if hint != "" {
		text += "lateen: hint: " + hint + "\n"
	}
	c.write(c.err, text)
}

// problem writes what is wrong with a Mesh file.
func (c *console) problem(p mesh.Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(c.err, p.String()+"\n")
}

// progress sets the last line of a terminal; "" removes it.
func (c *console) progress(status string) {
	if !c.terminal || c.quiet {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(status) > statusWidth {
		status = status[:statusWidth-1] + "…"
	}
	if status == c.status {
		return
	}
	c.status = status
	c.write(c.out, "")
}

// write writes text above the status line. Output that cannot be written is lost: there is nobody to tell.
func (c *console) write(to io.Writer, text string) {
	if c.terminal && !c.quiet {
		_, _ = io.WriteString(c.out, eraseLine)
	}
	_, _ = io.WriteString(to, text)
	if c.status != "" {
		_, _ = io.WriteString(c.out, c.status)
	}
}
