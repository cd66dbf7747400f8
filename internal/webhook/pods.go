package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// errUnknown is the error of a server that does not know which pods get a sidecar.
var errUnknown = errors.New("which pods get a sidecar is not known")

// whyUnknown is the same with the reason.
func (s *Server) whyUnknown() error {
	if why := s.unknown.Load(); why != nil {
		return fmt.Errorf("%w: %s", errUnknown, *why)
	}
	return fmt.Errorf("%w: it has not been read yet", errUnknown)
}

// mutate gives a pod its sidecar.
func (s *Server) mutate(ctx context.Context, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	if r.Resource.Group != "" || r.Resource.Resource != "pods" || r.SubResource != "" || r.Operation != admissionv1.Create {
		return allowed(nil), nil
	}
	c, known := s.Policy()
	if !known {
		return nil, s.whyUnknown()
	}
	var pod struct {
		Metadata struct {
			OwnerReferences []metav1.OwnerReference `json:"ownerReferences"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(r.Object.Raw, &pod); err != nil {
		return refused([]mesh.Problem{{Code: config.CodeSyntax, Severity: mesh.Error, Message: fmt.Sprintf("the pod cannot be read: %v", err)}}), nil
	}
	var patch []byte
	var w inject.Workload
	var problems []mesh.Problem
	// The API server asks where it takes a sidecar for wanted. Where what is known of the namespace says otherwise, it is asked for itself:
	// its labels may have come a moment ago.
	for _, fresh := range []bool{false, true} {
		around, err := s.c.Around.Around(ctx, r.Namespace, pod.Metadata.OwnerReferences, fresh)
		if err != nil {
			return nil, err
		}
		rules := inject.Rules{Config: c, NamespaceLabels: around.NamespaceLabels, Owner: around.Owner}
		patch, w, problems = inject.PatchBy(rules, r.Object.Raw, r.Namespace, s.c.Options)
		if w.Decision.Required || !w.Decision.UseDefault {
			break
		}
	}
	s.tell(ctx, r, w.Decision)
	if mesh.HasErrors(problems) {
		s.c.Log.Warn("a pod cannot have its sidecar", "namespace", r.Namespace, "name", w.Ref.Name, "problem", problems[0].String())
		return refused(problems), nil
	}
	response := allowed(problems)
	if patch != nil {
		kind := admissionv1.PatchTypeJSONPatch
		response.Patch, response.PatchType = patch, &kind
	}
	return response, nil
}

// tell logs what was decided of a pod.
func (s *Server) tell(ctx context.Context, r *admissionv1.AdmissionRequest, d policy.Decision) {
	if d.Object.IsZero() {
		return
	}
	attrs := d.Attrs()
	if r.DryRun != nil && *r.DryRun {
		attrs = append(attrs, slog.Bool("dryRun", true)) //nolint:sloglint // as it is spelled
	}
	s.c.Log.LogAttrs(ctx, slog.LevelInfo, d.Message(), attrs...) //nolint:sloglint // it names the pod, as it did in 2017
}

// file gives the pods in a file their sidecar, as the sidecar-initializer did: what is no YAML comes back as it was, with 500. What is said of a namespace is not looked up: a file is for any cluster.
func (s *Server) file(w http.ResponseWriter, r *http.Request, body []byte) {
	c, known := s.Policy()
	if !known {
		http.Error(w, s.whyUnknown().Error(), http.StatusServiceUnavailable)
		return
	}
	result := inject.By(inject.Rules{Config: c}, "", body, s.c.Options)
	s.c.Log.Debug("a file was injected", "from", r.RemoteAddr, "workloads", len(result.Workloads), "problems", len(result.Problems))
	w.Header().Set("Content-Type", "application/yaml")
	if mesh.HasErrors(result.Problems) {
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, _ = w.Write(result.Text) // whoever asked is gone, if this fails
}
