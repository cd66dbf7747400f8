package admin

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

const makeRoom = "make room there, and write it again"

// unstored says in plain words that nothing could be written to the disk, where that is what went wrong.
func (s *Server) unstored(err error, objects []config.Object, out state.Outcome) error {
	reason, ok := errors.AsType[syscall.Errno](err)
	if !ok || len(objects) == 0 || len(out.Changes) > 0 {
		return err
	}
	what := s.typeOf(objects[0].Kind) + "/" + objects[0].Path()
	if more := len(objects) - 1; more > 0 {
		what += fmt.Sprintf(" and %d more", more)
	}
	refused := refuse(http.StatusInsufficientStorage, "cannot store %s: %s; nothing was written", what, s.diskSays(reason))
	if isFull(reason) {
		refused.answer.Hint = makeRoom
	}
	s.config.Log.Error("objects not stored", "err", err)
	return refused
}

// diskSays returns why the disk of the state folder does not take something.
func (s *Server) diskSays(reason syscall.Errno) string {
	dir := filepath.Dir(s.config.Socket)
	if isFull(reason) {
		return "no space left on the disk of " + dir
	}
	return fmt.Sprintf("%v in %s", reason, dir)
}

func isFull(reason syscall.Errno) bool { return reason == syscall.ENOSPC || reason == syscall.EDQUOT }

// plainly says of objects that were not stored that the disk is full, where that is why.
func (s *Server) plainly(problems []mesh.Problem) {
	for i := range problems {
		p := &problems[i]
		for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
			if p.Code == state.CodeNotStored && strings.HasSuffix(p.Message, full.Error()) {
				did, _, _ := strings.Cut(p.Message, ":")
				p.Message, p.Hint = did+": "+s.diskSays(full), makeRoom
			}
		}
	}
}
