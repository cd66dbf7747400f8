package kube

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/lateen-mesh/lateen/internal/kubeapi"
)

// Settings says which ConfigMap holds the settings of the mesh.
type Settings struct {
	Client    *rest.Config // how to reach the API server
	Namespace string
	Name      string
	Key       string // whose value the settings are
	// Sink takes what the ConfigMap says, at the start and whenever that changes.
	Sink func(ctx context.Context, r SettingsReading) error
	Log  *slog.Logger
}

// SettingsReading is what a ConfigMap says.
type SettingsReading struct {
	Text  []byte
	Found bool  // false: there is no such ConfigMap, or it has no such key
	Err   error // why it may not be read
}

// Pauses before the ConfigMap is asked for again.
const (
	afterWatch   = 100 * time.Millisecond // that has ended
	firstRefusal = time.Second
	lastRefusal  = 30 * time.Second
)

// WatchSettings hands over what a ConfigMap says until ctx ends or the sink fails. That one ConfigMap is all that it reads. While
// the API server is away it says nothing; that the ConfigMap may not be read is told, and asked again.
func WatchSettings(ctx context.Context, c Settings) error {
	client, err := kubeapi.New(c.Client)
	if err != nil {
		return err
	}
	w := &settingsWatch{Settings: c, maps: client.ConfigMaps(c.Namespace)}
	refusal := firstRefusal
	for ctx.Err() == nil {
		version, err := w.list(ctx)
		pause := afterWatch
		if err == nil && version != "" {
			refusal = firstRefusal
			err = w.follow(ctx, version)
		} else {
			pause, refusal = refusal, min(2*refusal, lastRefusal)
		}
		if err != nil {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

// settingsWatch is one use of [WatchSettings].
type settingsWatch struct {
	Settings
	maps kubeapi.Kind[*corev1.ConfigMap, *corev1.ConfigMapList]
	last *SettingsReading
}

func (w *settingsWatch) only() metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "metadata.name=" + w.Name}
}

// list reads the ConfigMap, and returns the version from which on it can be followed, "" where it cannot be read. Its errors
// are the sink's.
func (w *settingsWatch) list(ctx context.Context) (version string, err error) {
	list, err := w.maps.List(ctx, w.only())
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return "", w.say(ctx, SettingsReading{Err: err})
	case err != nil:
		if ctx.Err() == nil {
			w.Log.Warn("the settings of the mesh cannot be read now", "object", w.Namespace+"/"+w.Name, "err", err)
		}
		return "", nil
	case len(list.Items) == 0:
		return list.ResourceVersion, w.say(ctx, SettingsReading{})
	default:
		return list.ResourceVersion, w.say(ctx, w.read(&list.Items[0]))
	}
}

// follow hands over what changes, until the API server ends the watch.
func (w *settingsWatch) follow(ctx context.Context, version string) error {
	options := w.only()
	options.ResourceVersion = version
	changes, err := w.maps.Watch(ctx, options)
	if err != nil {
		return nil // it is read again, and then told
	}
	defer changes.Stop()
	for event := range changes.ResultChan() {
		object, ok := event.Object.(*corev1.ConfigMap)
		switch {
		case !ok: // an error: the version is too old
			return nil
		case event.Type == watch.Deleted:
			err = w.say(ctx, SettingsReading{})
		default:
			err = w.say(ctx, w.read(object))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *settingsWatch) read(object *corev1.ConfigMap) SettingsReading {
	if text, ok := object.Data[w.Key]; ok {
		return SettingsReading{Text: []byte(text), Found: true}
	}
	text, ok := object.BinaryData[w.Key]
	return SettingsReading{Text: text, Found: ok}
}

// say hands over what is new.
func (w *settingsWatch) say(ctx context.Context, r SettingsReading) error {
	if last := w.last; last != nil && bytes.Equal(last.Text, r.Text) && last.Found == r.Found && (last.Err == nil) == (r.Err == nil) {
		return nil
	}
	w.last = &r
	return w.Sink(ctx, r)
}
