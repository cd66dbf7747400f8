package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

// A full disk is told in plain words, with the folder and what to do.
func TestFullDiskIsTold(t *testing.T) {
	t.Parallel()
	s := New(Config{Socket: "/state/shop/api.sock", Log: slog.New(slog.DiscardHandler)})
	one := []config.Object{{Ref: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "a"}}}
	on := func(reason error) error {
		return fmt.Errorf("count versions: %w", &fs.PathError{Op: "write", Path: "/state/shop/objects/.new", Err: reason})
	}
	other := errors.New("other")
	for name, c := range map[string]struct {
		err     error
		objects []config.Object
		out     state.Outcome
		want    string
		hint    string
	}{
		"full":         {on(syscall.ENOSPC), one, state.Outcome{}, "cannot store RouteRule/default/a: no space left on the disk of /state/shop; nothing was written", makeRoom},
		"several":      {on(syscall.EDQUOT), append(one, one...), state.Outcome{}, "cannot store RouteRule/default/a and 1 more: no space left on the disk of /state/shop; nothing was written", makeRoom},
		"read-only":    {on(syscall.EROFS), one, state.Outcome{}, "cannot store RouteRule/default/a: read-only file system in /state/shop; nothing was written", ""},
		"written":      {on(syscall.ENOSPC), one, state.Outcome{Changes: []state.Change{{}}}, on(syscall.ENOSPC).Error(), ""},
		"another kind": {other, one, state.Outcome{}, "other", ""},
	} {
		err := s.unstored(c.err, c.objects, c.out)
		refused, ok := errors.AsType[*refusal](err)
		if err.Error() != c.want || ok && (refused.status != http.StatusInsufficientStorage || refused.answer.Hint != c.hint) {
			t.Errorf("%s: %v, %+v", name, err, refused)
		}
	}
	problems := []mesh.Problem{
		{Code: state.CodeNotStored, Message: "not deleted: write /state/.new: " + syscall.ENOSPC.Error()},
		{Code: state.CodeNotStored, Message: "not stored: write /state/.new: " + syscall.EROFS.Error()},
		{Code: state.CodeConflict, Message: "x: " + syscall.ENOSPC.Error()},
	}
	s.plainly(problems)
	for i, want := range []string{
		"not deleted: no space left on the disk of /state/shop", "not stored: write /state/.new: read-only file system", "x: no space left on device",
	} {
		if problems[i].Message != want || (problems[i].Hint != "") != (i == 0) {
			t.Errorf("%+v, want %s", problems[i], want)
		}
	}
}
