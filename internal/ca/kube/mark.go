package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// mostConflicts bounds how often the mark is tried again since somebody else was faster.
const mostConflicts = 20

// readMark returns the mark. A ConfigMap without one is as good as none.
func (s *Storage) readMark(ctx context.Context) ([]byte, error) {
	there, err := s.marked(ctx)
	if err != nil {
		return nil, err
	}
	text, ok := there.Data[MarkKey]
	if !ok {
		return nil, fmt.Errorf("%s in the ConfigMap %s: %w", MarkKey, mesh.RootConfigMap, fs.ErrNotExist)
	}
	return []byte(text), nil
}

func (s *Storage) marked(ctx context.Context) (there *corev1.ConfigMap, err error) {
	err = call(ctx, func(ctx context.Context) error {
		there, err = s.client.ConfigMaps(s.namespace).Get(ctx, mesh.RootConfigMap, metav1.GetOptions{})
		return err
	})
	return there, err
}

// writeMark writes the mark, over another one or only where there is none. What else the ConfigMap holds stays: others write it
// too, so that a try may have to be made again.
func (s *Storage) writeMark(ctx context.Context, text []byte, over bool) (ca.Aside, error) {
	for try := 1; ; try++ {
		err := s.tryMark(ctx, text, over)
		if !apierrors.IsConflict(err) && !(over && errors.Is(err, fs.ErrExist)) || try == mostConflicts {
			return ca.Aside{}, err
		}
	}
}

func (s *Storage) tryMark(ctx context.Context, text []byte, over bool) error {
	maps := s.client.ConfigMaps(s.namespace)
	there, err := s.marked(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := &corev1.ConfigMap{ObjectMeta: meta(mesh.RootConfigMap), Data: map[string]string{MarkKey: string(text)}}
		err := call(ctx, func(ctx context.Context) error {
			_, err := maps.Create(ctx, fresh, metav1.CreateOptions{})
			return err
		})
		if errors.Is(err, fs.ErrExist) && !over { // there may be one without a mark
			if _, readErr := s.readMark(ctx); errors.Is(readErr, fs.ErrNotExist) {
				return apierrors.NewConflict(corev1.Resource("configmaps"), mesh.RootConfigMap, err)
			}
		}
		return err
	}
	if err != nil {
		return err
	}
	if _, has := there.Data[MarkKey]; has && !over {
		return fmt.Errorf("%s in the ConfigMap %s: %w", MarkKey, mesh.RootConfigMap, fs.ErrExist)
	}
	next := there.DeepCopy()
	if next.Data == nil {
		next.Data = map[string]string{}
	}
	next.Data[MarkKey] = string(text)
	if next.Immutable != nil && *next.Immutable {
		return s.renew(ctx, next)
	}
	return call(ctx, func(ctx context.Context) error {
		_, err := maps.Update(ctx, next, metav1.UpdateOptions{})
		return err
	})
}

// renew puts a ConfigMap in the place of one that nobody can change.
func (s *Storage) renew(ctx context.Context, next *corev1.ConfigMap) error {
	maps := s.client.ConfigMaps(s.namespace)
	err := call(ctx, func(ctx context.Context) error {
		return maps.Delete(ctx, next.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &next.UID, ResourceVersion: &next.ResourceVersion}})
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh := &corev1.ConfigMap{ObjectMeta: meta(next.Name), Data: next.Data, BinaryData: next.BinaryData}
	return call(ctx, func(ctx context.Context) error {
		_, err := maps.Create(ctx, fresh, metav1.CreateOptions{})
		return err
	})
}
