package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

// TestEditsOfObjectsLeadWhereTheWholeLeads shows that edits of objects change and tell the same as handing in all objects
// does, be it each time or to a store that is new.
func TestEditsOfObjectsLeadWhereTheWholeLeads(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{random: rand.New(rand.NewPCG(seed, 7))}
				objects := map[string]map[mesh.Ref]config.Object{}
				wholes, edits := start(t, worldSources...), start(t, worldSources...)
				hand := func(b *bench, source string) {
					if _, err := b.SetObjects(t.Context(), source, inOrder(objects[source]), nil); err != nil {
						t.Fatal(err)
					}
				}
				for _, source := range worldSources {
					objects[source] = map[mesh.Ref]config.Object{}
					hand(wholes, source)
					hand(edits, source)
				}
				for step := range 40 {
					source := one(w.random, worldSources...)
					written, deleted := w.editObjects(objects[source], fmt.Sprintf("%s-%d.yaml", source, w.random.IntN(5)))
					hand(wholes, source)
					if w.random.IntN(8) == 0 {
						hand(edits, source) // now and then the whole
					} else if _, err := edits.EditObjects(t.Context(), source, written, deleted); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(wholes.takeKeys(), edits.takeKeys()); diff != "" {
						t.Fatalf("step %d: changed (-whole +edit): %s", step, diff)
					}
					fresh := start(t, worldSources...)
					for _, source := range worldSources {
						hand(fresh, source)
					}
					if diff := cmp.Diff(shows(t, wholes), shows(t, edits)); diff != "" {
						t.Fatalf("step %d (-whole +edit): %s", step, diff)
					}
					if diff := cmp.Diff(shows(t, fresh), shows(t, edits)); diff != "" {
						t.Fatalf("step %d (-fresh +edit): %s", step, diff)
					}
				}
			})
		})
	}
}

func inOrder(objects map[mesh.Ref]config.Object) []config.Object {
	var all []config.Object
	for _, ref := range slices.SortedFunc(maps.Keys(objects), mesh.Ref.Compare) {
		all = append(all, objects[ref])
	}
	return all
}

// editObjects writes or deletes some objects, and says which.
func (w *world) editObjects(objects map[mesh.Ref]config.Object, file string) (written []config.Object, deleted []mesh.Ref) {
	put := map[mesh.Ref]config.Object{}
	for range w.random.IntN(3) {
		parsed, _ := config.Parse(file, []byte(w.document()), "")
		for _, o := range parsed {
			put[o.Ref] = o
		}
	}
	for range w.random.IntN(3) {
		ref := mesh.Ref{Kind: one(w.random, "RouteRule", "EgressRule", "DestinationPolicy", "Said", "Ingress"), Namespace: "default", Name: one(w.random, "a", "b", "c", "d", "e")}
		deleted = append(deleted, ref)
		delete(objects, ref)
	}
	maps.Copy(objects, put)
	written = inOrder(put)
	w.random.Shuffle(len(written), func(i, j int) { written[i], written[j] = written[j], written[i] })
	return written, deleted
}

func TestEditOfObjectsNeedsTheWholeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		if _, err := b.EditObjects(t.Context(), "state", nil, []mesh.Ref{{Kind: "RouteRule"}}); !errors.Is(err, store.ErrOtherBase) {
			t.Errorf("an edit of what was never said: %v", err)
		}
	})
}
