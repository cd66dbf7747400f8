//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// BookInfo runs without the mesh: the page comes through its Service, whole, and reviews has its three versions. (Which of them
// a page shows is up to the connection that productpage keeps.)
func TestBookInfoWithoutMesh(t *testing.T) {
	t.Parallel()
	s := newSpace(t, "pod-security.kubernetes.io/enforce=restricted")
	s.applyFile("deploy/bookinfo/bookinfo.yaml")
	s.apply(strings.ReplaceAll(clientPod, "NAME", "client"))
	s.allRolledOut()
	s.phase("client", "Running")
	s.await("the page", func() error {
		r := s.ask("pod/client", "--expect=The Comedy of Errors", "http://productpage:9080/productpage")[0]
		if r.Error == "" && !strings.Contains(r.Body, "reviews v") || strings.Contains(r.Body, "Sorry") {
			r.Error = "a part of the page is missing"
		}
		if r.Error != "" {
			return fmt.Errorf("status %d: %s: %s", r.Status, r.Error, r.Body)
		}
		return nil
	})
	seen := map[string]bool{}
	s.await("each version of the reviews", func() error {
		for _, r := range s.ask("pod/client", "--count=12", "--fresh", "http://reviews:9080/reviews/0") {
			if r.Error != "" {
				return fmt.Errorf("status %d: %s", r.Status, r.Error)
			}
			switch {
			case strings.Contains(r.Body, `"black"`):
				seen["v2"] = true
			case strings.Contains(r.Body, `"red"`):
				seen["v3"] = true
			default:
				seen["v1"] = true
			}
		}
		if len(seen) != 3 {
			return fmt.Errorf("only %v", seen)
		}
		return nil
	})
}
