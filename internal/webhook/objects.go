package webhook

import (
	"context"
	"fmt"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// validate looks at an object of our kinds. One that was bad before may change in everything but what makes it bad: else nobody could take
// a finalizer from it.
func (s *Server) validate(_ context.Context, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	if r.SubResource != "" || r.Operation != admissionv1.Create && r.Operation != admissionv1.Update {
		return allowed(nil), nil
	}
	o, err := objectOf(r.Object.Raw)
	if err != nil {
		return refused([]mesh.Problem{{Code: config.CodeSyntax, Severity: mesh.Error, Message: fmt.Sprintf("the object cannot be read: %v", err)}}), nil
	}
	if o.GetNamespace() == "" {
		o.SetNamespace(r.Namespace)
	}
	problems := s.c.Check(o)
	if !mesh.HasErrors(problems) {
		return allowed(problems), nil
	}
	if r.Operation == admissionv1.Update && o.GetDeletionTimestamp() != nil || sameSpec(r.OldObject.Raw, o) {
		for i := range problems {
			problems[i].Severity = mesh.Warning
		}
		return allowed(problems), nil
	}
	response := refused(problems)
	response.Result.Message = "configuration is invalid: " + response.Result.Message
	return response, nil
}

// objectOf reads an object as the watches of it do: with whole numbers as such.
func objectOf(raw []byte) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	return o, json.Unmarshal(raw, &o.Object)
}

// sameSpec tells whether an object says what it said before.
func sameSpec(before []byte, now *unstructured.Unstructured) bool {
	old, err := objectOf(before)
	return len(before) > 0 && err == nil && reflect.DeepEqual(old.Object["spec"], now.Object["spec"])
}
