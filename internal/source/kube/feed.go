package kube

import (
	"context"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// lister lists and watches the objects of one kind, of one namespace or of all.
type lister struct {
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// Bounds of a feed.
const (
	pageSize    = 500              // objects in one answer
	listTimeout = time.Minute      // for one answer
	watchFor    = 5 * time.Minute  // at least, then it is asked anew: so no watch hangs for ever
	steady      = 10 * time.Second // a watch that lasted so long was none that fails
	firstPause  = 200 * time.Millisecond
	longPause   = 5 * time.Second
)

// feed keeps what somebody knows of the objects of one kind equal to what the API server says. It is what client-go calls a
// reflector, with three differences: pages are handed on one by one and not kept until the last, what the server answers is told,
// so that a kind that may not be read is no secret, and it is asked again after seconds, not a minute.
type feed struct {
	lister
	put     func(runtime.Object)     // an object that is there
	remove  func(metav1.Object)      // one that is gone
	only    func(seen map[name]bool) // all that there are: others are gone
	answers func(error)              // what the server answered last: nil, or why the objects cannot be read
}

// run lists and watches until ctx ends.
func (f *feed) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		version, err := f.fill(ctx)
		if err == nil {
			f.answers(nil)
			err = f.follow(ctx, version)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			f.answers(err)
		}
		if time.Since(began) > steady {
			pause = firstPause
		}
		doze(ctx, &pause)
	}
}

// doze waits a while, longer each time. Not all feeds come back in the same moment.
func doze(ctx context.Context, pause *time.Duration) {
	wait := *pause/2 + rand.N(*pause) //nolint:gosec // no secret
	*pause = min(2**pause, longPause)
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}

// fill lists all objects, and returns the version to watch from.
func (f *feed) fill(ctx context.Context) (version string, err error) {
	options := metav1.ListOptions{Limit: pageSize}
	seen := map[name]bool{}
	for {
		page, err := f.page(ctx, options)
		if apierrors.IsResourceExpired(err) && options.Continue != "" {
			options, seen = metav1.ListOptions{}, map[name]bool{} // it took too long: all at once, and nothing of before counts
			continue
		}
		if err != nil {
			return "", err
		}
		list, err := meta.ListAccessor(page)
		if err != nil {
			return "", err
		}
		err = meta.EachListItem(page, func(o runtime.Object) error {
			accessor, err := meta.Accessor(o)
			if err == nil {
				seen[nameOf(accessor)] = true
				f.put(o)
			}
			return err
		})
		if err != nil {
			return "", err
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			f.only(seen)
			return list.GetResourceVersion(), nil
		}
	}
}

func (f *feed) page(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return f.list(ctx, options)
}

// follow hands on what changes after a version. It returns nil when everything is to be listed anew, and an error when that would
// not help for now. While the server cannot be reached it waits, and goes on where it was.
func (f *feed) follow(ctx context.Context, version string) error {
	pause := firstPause
	for {
		began := time.Now()
		seconds := int64((watchFor + rand.N(watchFor)).Seconds()) //nolint:gosec // no secret
		w, err := f.watch(ctx, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: &seconds})
		if err == nil {
			f.answers(nil)
			version, err = f.take(ctx, w, version)
			w.Stop()
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case apierrors.IsResourceExpired(err), apierrors.IsGone(err), isFromElsewhere(err):
			return nil
		case apierrors.IsForbidden(err), apierrors.IsNotFound(err), apierrors.IsUnauthorized(err):
			return err
		case err != nil:
			f.answers(err)
		}
		if time.Since(began) > steady {
			pause = firstPause
		}
		doze(ctx, &pause)
	}
}

// isFromElsewhere tells whether the server has not come to a version yet that it is asked for. It may lag behind another one, or it
// was set back, as by a backup, and will not come to it for long: what it has is listed.
func isFromElsewhere(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// take hands on the events of a watch until it ends, and returns the version that it has come to.
func (f *feed) take(ctx context.Context, w watch.Interface, version string) (string, error) {
	for {
		select {
		case <-ctx.Done():
			return version, ctx.Err()
		case event, open := <-w.ResultChan():
			if !open {
				return version, nil
			}
			if event.Type == watch.Error {
				return version, apierrors.FromObject(event.Object)
			}
			o, err := meta.Accessor(event.Object)
			if err != nil {
				return version, err
			}
			switch event.Type {
			case watch.Added, watch.Modified:
				f.put(event.Object)
			case watch.Deleted:
				f.remove(o)
			}
			version = o.GetResourceVersion()
		}
	}
}
