package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	reviewVersion = "admission.k8s.io/v1"
	reviewKind    = "AdmissionReview"
)

// Bounds of what is told of one object.
const (
	mostCauses   = 20
	mostWarnings = 20
	maxWarning   = 240 // bytes; API servers cut longer ones
)

// errBadReview is the error of a request that is no review.
var errBadReview = errors.New("this is no admission review")

// review returns what answers admission reviews. Decide returns an error where it could not find out what to answer.
func (s *Server) review(path string, decide func(context.Context, *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error)) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, r *http.Request, body []byte) {
		review, status, err := readReview(r, body)
		if err != nil {
			s.counters.count(path, "bad")
			http.Error(w, err.Error(), status)
			return
		}
		response, err := decide(r.Context(), review.Request)
		if err != nil {
			s.counters.count(path, "failed")
			s.c.Log.Error("an admission review cannot be answered", "path", path, "namespace", review.Request.Namespace, "name", review.Request.Name, "err", err)
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		response.UID = review.Request.UID
		answer, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.counters.count(path, resultOf(response))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer) // whoever asked is gone, if this fails
	}
}

// resultOf names what became of an object, for metrics.
func resultOf(r *admissionv1.AdmissionResponse) string {
	switch {
	case !r.Allowed:
		return "refused"
	case r.Patch != nil:
		return "patched"
	default:
		return "allowed"
	}
}

// readReview reads a review. The status is that of the answer where there is an error.
func readReview(r *http.Request, body []byte) (review admissionv1.AdmissionReview, status int, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return review, http.StatusUnsupportedMediaType, fmt.Errorf("%w: the content type must be application/json", errBadReview)
	}
	err = json.Unmarshal(body, &review)
	switch {
	case err != nil:
		return review, http.StatusBadRequest, fmt.Errorf("%w: %w", errBadReview, err)
	case review.APIVersion != reviewVersion || review.Kind != reviewKind:
		return review, http.StatusBadRequest, fmt.Errorf("%w: want %s of %s", errBadReview, reviewKind, reviewVersion)
	case review.Request == nil:
		return review, http.StatusBadRequest, fmt.Errorf("%w: it has no request", errBadReview)
	}
	return review, http.StatusOK, nil
}

// allowed lets an object in as it is.
func allowed(problems []mesh.Problem) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true, Warnings: warnings(problems)}
}

// refused keeps an object out.
func refused(problems []mesh.Problem) *admissionv1.AdmissionResponse {
	var of mesh.Ref
	if len(problems) > 0 {
		of = problems[0].Object
	}
	var lines []string
	var causes []metav1.StatusCause
	for _, p := range problems {
		if p.Severity != mesh.Error {
			continue
		}
		if len(causes) == mostCauses {
			lines = append(lines, "and more")
			break
		}
		lines = append(lines, line(p))
		field := p.Field
		p.Field = "" // who shows a cause puts it before
		causes = append(causes, metav1.StatusCause{Type: metav1.CauseType(p.Code), Message: line(p), Field: field})
	}
	return &admissionv1.AdmissionResponse{
		Warnings: warnings(problems),
		Result: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			Message: strings.Join(lines, "\n"), Details: &metav1.StatusDetails{Kind: of.Kind, Name: of.Name, Causes: causes},
		},
	}
}

// warnings are those of the problems that keep nobody out.
func warnings(problems []mesh.Problem) []string {
	var all []string
	for _, p := range problems {
		if p.Severity == mesh.Warning && len(all) < mostWarnings {
			all = append(all, fmt.Sprintf("%.*s", maxWarning, strings.ReplaceAll(line(p), "\n", " ")))
		}
	}
	return all
}

// line returns a problem without its place: an API server sends objects without the lines that they had in a file.
func line(p mesh.Problem) string {
	text := p.Message + " [" + p.Code + "]"
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if p.Hint != "" {
		text += "\n  hint: " + p.Hint
	}
	return text
}
