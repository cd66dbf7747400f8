package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// tell prints problems with the text that they have everywhere. It begins with file, line and column, as editors and
// CI systems expect it; what has no place in a file is told like any other error.
func tell(w io.Writer, problems []mesh.Problem) {
	for _, p := range problems {
		text := p.String()
		if p.Position.File == "" {
			text = "lateen: " + strings.Replace(text, "\n  hint: ", "\nlateen: hint: ", 1)
		}
		fmt.Fprintln(w, text)
	}
}

func errorsIn(problems []mesh.Problem) int {
	n := 0
	for _, p := range problems {
		if p.Severity == mesh.Error {
			n++
		}
	}
	return n
}
