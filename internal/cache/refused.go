package cache

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// CodeDamagedCache is the code of a problem: what was kept for a restart cannot be used. It is fixed like those of package
// config.
const CodeDamagedCache = "damaged-cache"

// Reason is why a file is refused.
type Reason string

// A file is damaged when its checksum does not fit, foreign when it has another format, part or mesh, and unreadable when
// there is no reading it: it is too large, or no regular file, or the disk fails.
const (
	Damaged    Reason = "damaged"
	Foreign    Reason = "foreign"
	Unreadable Reason = "unreadable"
)

// Refused is the error that a file must not be used.
type Refused struct {
	File   string
	Why    Reason
	Detail string
}

func refuse(why Reason, format string, args ...any) *Refused {
	return &Refused{Why: why, Detail: fmt.Sprintf(format, args...)}
}

func (r *Refused) Error() string { return fmt.Sprintf("%s is %s: %s", r.File, r.Why, r.Detail) }

// Problem tells users of it.
func (r *Refused) Problem() mesh.Problem {
	return mesh.Problem{
		Position: mesh.Position{File: r.File}, Code: CodeDamagedCache, Severity: mesh.Warning,
		Message: fmt.Sprintf("the file is %s and is not used: %s", r.Why, r.Detail),
		Hint:    "what it kept for a restart is lost; it is written anew with the next change",
	}
}
