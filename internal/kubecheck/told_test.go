package kubecheck

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/kubetest"
)

// A control plane that has just begun is waited for until it has told the API server of both objects, and no longer than it takes or
// is allowed; one that began long ago, or that is not there, and objects that nobody makes are not.
func TestYoungControlPlaneIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := kubetest.StartOwn(t)
	client := kubetest.Client(t, s.Kubeconfig, nil)
	plane := func(replicas int32, since time.Duration) *appsv1.Deployment {
		return &appsv1.Deployment{Status: appsv1.DeploymentStatus{AvailableReplicas: replicas, Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now().Add(-since))},
		}}}
	}
	look := func(ctx context.Context, d *appsv1.Deployment, patience time.Duration) (*facts, bool, error) {
		f := &facts{config: Config{Patience: patience}, client: client, now: time.Now(), deployment: d}
		waited, err := f.awaitTold(ctx)
		return f, waited, err
	}
	const kinds = "mutatingwebhookconfiguration,validatingwebhookconfiguration"
	if _, waited, err := look(t.Context(), plane(1, 0), time.Hour); waited || err != nil {
		t.Errorf("objects that are not there: %v, %v", waited, err)
	}
	for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
		s.Kubectl(t, "{apiVersion: admissionregistration.k8s.io/v1, kind: "+kind+", metadata: {name: lateen}}", "create", "-f", "-")
	}
	for name, c := range map[string]struct {
		plane    *appsv1.Deployment
		patience time.Duration
	}{
		"nobody waits": {plane(1, 0), 0}, "an old one": {plane(1, time.Minute), 30 * time.Second}, "none": {nil, time.Hour}, "no replica": {plane(0, 0), time.Hour},
	} {
		if _, waited, err := look(t.Context(), c.plane, c.patience); waited || err != nil {
			t.Errorf("%s: %v, %v", name, waited, err)
		}
	}
	if f, waited, err := look(t.Context(), plane(1, -time.Hour), lookAgain); !waited || err != nil || !f.asked.untold {
		t.Errorf("what is not told in time, by a clock that is ahead: %v, %v", waited, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, _, err := look(ended, plane(1, 0), time.Hour); err == nil {
		t.Error("it waits for longer than whoever asked")
	}
	type seen struct {
		*facts
		waited bool
		err    error
	}
	done := make(chan seen, 1)
	go func() {
		f, waited, err := look(t.Context(), plane(1, 0), time.Hour)
		done <- seen{f, waited, err}
	}()
	hook := `{"webhooks":[{"name":"a.example.com","admissionReviewVersions":["v1"],"sideEffects":"None","clientConfig":{"url":"https://127.0.0.1:1/"}}]}`
	s.Kubectl(t, "", "patch", "mutatingwebhookconfiguration", "lateen", "--type=merge", "-p", hook)
	select {
	case got := <-done:
		t.Errorf("it does not wait for the second: %v, %v", got.waited, got.err)
	case <-time.After(2 * lookAgain):
	}
	s.Kubectl(t, "", "patch", "validatingwebhookconfiguration", "lateen", "--type=merge", "-p", hook)
	if got := <-done; !got.waited || got.err != nil || got.asked.untold || len(got.asked.hooks) != 2 {
		t.Errorf("%v, %v, %+v", got.waited, got.err, got.asked)
	}
	s.Kubectl(t, "", "delete", kinds, "lateen")
}
