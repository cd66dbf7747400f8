package kubeobjects

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

// Error is why a question or a deletion failed, with the next step.
type Error struct {
	error
	hint string
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.error }

// Hint returns the next step.
func (e *Error) Hint() string { return e.hint }

// isGone tells that there is no such object, and not that there is no such kind.
func isGone(err error) bool { return apierrors.IsNotFound(err) && !isUnknownKind(err) }

// isUnknownKind tells that the API server does not know the kind: it answers for a path that it does not have.
func isUnknownKind(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || status.Status().Code != http.StatusNotFound {
		return false
	}
	details := status.Status().Details
	if details == nil {
		return true
	}
	for _, cause := range details.Causes {
		if cause.Type == metav1.CauseTypeUnexpectedServerResponse {
			return true
		}
	}
	return details.Name == ""
}

// unknownHint says what to do about a kind that a cluster does not know.
func unknownHint(kind *config.Kind) string {
	if strings.HasSuffix(group(kind), ".istio.io") {
		return "`lateen install` makes the kinds known; `kubectl get crd` shows those that are"
	}
	return "the cluster is too old, or it is none"
}

func group(kind *config.Kind) string {
	name, _, _ := strings.Cut(kind.APIVersions[0], "/")
	return name
}

// asked says why a question about a kind was not answered.
func asked(err error, kind *config.Kind) error {
	away, isAway := errors.AsType[*url.Error](err)
	switch {
	case isAway:
		return &Error{fmt.Errorf("the cluster's API server does not answer: %w", away.Err), "the kubeconfig says where it is; --context chooses another one, --local the mesh on this machine"}
	case isUnknownKind(err):
		return &Error{fmt.Errorf("the cluster does not know %s of %s", kind.Plural, kind.APIVersions[0]), unknownHint(kind)}
	case apierrors.IsForbidden(err):
		return &Error{fmt.Errorf("the cluster does not let you: %s", words(err)), "`kubectl auth can-i --list` shows what you may do"}
	case apierrors.IsUnauthorized(err):
		return &Error{fmt.Errorf("the cluster does not know who you are: %s", words(err)), "sign in anew: the kubeconfig's credentials are no good (any more)"}
	default:
		return fmt.Errorf("ask the cluster: %w", err)
	}
}

// why turns the API server's answer about one object into a problem of it, if it is one.
func (k *Objects) why(err error, o *config.Object, kind *config.Kind) error {
	notStored := func(hint, format string, args ...any) error {
		p := o.Problem(state.CodeNotStored, "", format, args...)
		p.Hint = hint
		return &refused{p}
	}
	switch {
	case isUnknownKind(err):
		return notStored(unknownHint(kind), "not stored: the cluster does not know %s of %s", kind.Plural, kind.APIVersions[0])
	case apierrors.IsForbidden(err):
		return notStored("`kubectl auth can-i --list -n "+o.Namespace+"` shows what you may do", "not stored: %s", words(err))
	case apierrors.IsNotFound(err): // its namespace
		return notStored("`kubectl create namespace "+o.Namespace+"` makes it", "not stored: there is no namespace %s", o.Namespace)
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		p := o.Problem(state.CodeConflict, "", "others write the object all the time")
		p.Hint = "try again"
		return &refused{p}
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return notStored("", "not stored: the cluster does not take it: %s", words(err))
	default:
		return asked(err, kind)
	}
}

// maxWords bounds what is told of the API server's words.
const maxWords = 1000

// words returns the API server's own words in one line.
func words(err error) string {
	text := err.Error()
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok && status.Status().Message != "" {
		text = status.Status().Message
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords], "") + "…"
	}
	return text
}
