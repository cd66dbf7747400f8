package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/lateen-mesh/lateen/internal/api"
)

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

// failure is an error with the next step for the user and an exit code.
type failure struct {
	error
	hint string // "": none
	code int
}

func (f *failure) Unwrap() error { return f.error }

// Hint returns the next step.
func (f *failure) Hint() string { return f.hint }

// errDiffers is the exit code of a command that compares and found a difference. It is told by nothing else.
var errDiffers = &failure{errors.New("there are differences"), "", exitFailure}

// failed returns an error of a command that was used rightly.
func failed(hint, format string, args ...any) error {
	return &failure{fmt.Errorf(format, args...), hint, exitFailure}
}

// misused returns an error of a command that was used wrongly.
func misused(hint, format string, args ...any) error {
	return &failure{fmt.Errorf(format, args...), hint, exitUsage}
}

// report tells an error, with its hint if it has one, and returns the exit code.
func report(w io.Writer, err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errDiffers), errors.Is(err, errFindings):
		return exitFailure
	}
	message := err.Error()
	if errors.Is(err, context.Canceled) {
		message = "interrupted"
	}
	paint := painter(w)
	fmt.Fprintf(w, "lateen: %s %s\n", paint("31", "error:"), message)
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(w, "lateen: %s %s\n", paint("36", "hint:"), hint)
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return exitFailure
}

func hintOf(err error) string {
	type hinted interface {
		error
		Hint() string
	}
	if h, ok := errors.AsType[hinted](err); ok {
		return h.Hint()
	}
	if refused, ok := errors.AsType[*api.Error](err); ok {
		return refused.Hint
	}
	return ""
}

// painter returns a function that gives a text a colour (ECMA-48 SGR), if w is a terminal that wants it.
func painter(w io.Writer) func(code, text string) string {
	if !isTerminal(w) || os.Getenv("NO_COLOR") != "" {
		return func(_, text string) string { return text }
	}
	return func(code, text string) string { return "\x1b[" + code + "m" + text + "\x1b[0m" }
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	stat, err := f.Stat()
	return err == nil && stat.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// count returns "1 error" or "2 errors".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		noun = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
