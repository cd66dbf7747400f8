package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// answers is an API server that answers what a test says, and notes what it was asked.
type answers struct {
	lists   []func() (runtime.Object, error) // one after the other; the last again and again
	watches []func() (watch.Interface, error)

	mu    sync.Mutex
	asked []string
}

func (a *answers) ask(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, what)
}

// times is how often it was asked.
func (a *answers) times() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

func next[T any](all *[]func() (T, error)) (T, error) {
	answer := (*all)[0]
	if len(*all) > 1 {
		*all = (*all)[1:]
	}
	return answer()
}

// feed returns a feed of it that keeps the names of what there is.
func (a *answers) feed() (*feed, map[string]bool) {
	known := map[string]bool{}
	return &feed{
		lister: lister{
			list: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
				a.ask(fmt.Sprintf("list limit=%d continue=%q version=%q", o.Limit, o.Continue, o.ResourceVersion))
				return next(&a.lists)
			},
			watch: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
				a.ask("watch version=" + o.ResourceVersion)
				return next(&a.watches)
			},
		},
		put:    func(o runtime.Object) { known[o.(*metav1.PartialObjectMetadata).Name] = true },
		remove: func(o metav1.Object) { delete(known, o.GetName()) },
		only: func(seen map[name]bool) {
			maps.DeleteFunc(known, func(n string, _ bool) bool { return !seen[name{name: n}] })
		},
		answers: func(error) {},
	}, known
}

// page is an answer with objects of these names.
func page(version, more string, names ...string) func() (runtime.Object, error) {
	list := &metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{ResourceVersion: version, Continue: more}}
	for _, n := range names {
		list.Items = append(list.Items, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: n, ResourceVersion: version}})
	}
	return func() (runtime.Object, error) { return list, nil }
}

func fails[T any](err error) func() (T, error) {
	return func() (none T, _ error) { return none, err }
}

// ends is a watch that says an error and ends.
func ends(err apierrors.APIStatus) func() (watch.Interface, error) {
	return func() (watch.Interface, error) {
		status := err.Status()
		w := watch.NewFakeWithChanSize(1, false)
		w.Error(&status)
		return w, nil
	}
}

// hangs is a watch on which nothing happens.
func hangs() (watch.Interface, error) { return watch.NewFake(), nil }

// run runs the feed until it has asked so often.
func (a *answers) run(t *testing.T, f *feed, times int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.run(ctx) }()
	for range 1000 {
		if synctest.Wait(); a.times() >= times {
			break
		}
		pause := firstPause
		doze(ctx, &pause)
	}
	cancel()
	<-ended
}

// tooLarge is what the API server says that has not come to a version yet.
func tooLarge() *apierrors.StatusError {
	err := apierrors.NewTimeoutError("Too large resource version: 9, current: 3", 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// A version from which the server cannot go on has everything listed anew, whether it says so at once or in the watch; any other
// failure does not.
func TestWatchCannotGoOn(t *testing.T) {
	expired, other := apierrors.NewResourceExpired("too old"), apierrors.NewTimeoutError("busy", 1)
	for what, test := range map[string]struct {
		watch func() (watch.Interface, error)
		anew  bool
	}{
		"expired":               {fails[watch.Interface](expired), true},
		"expired, in the watch": {ends(expired), true},
		"gone":                  {fails[watch.Interface](apierrors.NewGone("gone")), true},
		"too large":             {fails[watch.Interface](tooLarge()), true},
		"too large, in a watch": {ends(tooLarge()), true},
		"a timeout":             {fails[watch.Interface](other), false},
		"a timeout in a watch":  {ends(other), false},
		"no answer":             {fails[watch.Interface](errors.New("refused")), false},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &answers{
				lists:   []func() (runtime.Object, error){page("9", "", "a", "b"), page("3", "", "b", "c")},
				watches: []func() (watch.Interface, error){test.watch, hangs},
			}
			f, known := a.feed()
			const list = `list limit=500 continue="" version=""`
			want, names := []string{list, "watch version=9", "watch version=9"}, []string{"a", "b"}
			if test.anew {
				want, names = []string{list, "watch version=9", list, "watch version=3"}, []string{"b", "c"}
			}
			a.run(t, f, len(want))
			if !slices.Equal(a.asked, want) {
				t.Errorf("%s: it is asked\n%s", what, strings.Join(a.asked, "\n"))
			}
			if got := slices.Sorted(maps.Keys(known)); !slices.Equal(got, names) {
				t.Errorf("%s: known are %v", what, got)
			}
		})
	}
}

// A list that expires between two pages begins anew, in one piece; what went away meanwhile is no ghost of its first page.
func TestListExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{
			lists:   []func() (runtime.Object, error){page("1", "more", "a", "b"), fails[runtime.Object](apierrors.NewResourceExpired("too old")), page("7", "", "b", "c")},
			watches: []func() (watch.Interface, error){hangs},
		}
		f, known := a.feed()
		a.run(t, f, 4)
		want := []string{`list limit=500 continue="" version=""`, `list limit=500 continue="more" version=""`, `list limit=0 continue="" version=""`, "watch version=7"}
		if !slices.Equal(a.asked, want) {
			t.Errorf("it is asked\n%s", strings.Join(a.asked, "\n"))
		}
		if got := slices.Sorted(maps.Keys(known)); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("known are %v", got)
		}
	})
}

// A list that does not end well removes nothing.
func TestListFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{
			lists: []func() (runtime.Object, error){
				page("1", "", "a", "b"), page("2", "more", "c"), fails[runtime.Object](apierrors.NewInternalError(errors.New("x"))),
			},
			watches: []func() (watch.Interface, error){fails[watch.Interface](apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("x")))},
		}
		f, known := a.feed()
		a.run(t, f, 4)
		if got := slices.Sorted(maps.Keys(known)); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("known are %v", got)
		}
	})
}
