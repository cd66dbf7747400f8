package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// maxOutput bounds what a command in a pod may say.
const maxOutput = 64 << 20

// Look returns a page of the proxy in a pod, as `lateen-agent look` there prints it. It takes the right to create pods/exec.
func Look(ctx context.Context, c kubeclient.Cluster, proxy mesh.ProxyID, page string) ([]byte, error) {
	name, namespace := proxy.Split()
	if namespace == "" {
		return nil, fmt.Errorf("%q names no pod", proxy)
	}
	client, err := c.Typed()
	if err != nil {
		return nil, err
	}
	url := client.Core().Post().Resource("pods").Namespace(namespace).Name(name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: mesh.ProxyContainer, Command: []string{"lateen-agent", "look", "--page=" + page}, Stdout: true, Stderr: true,
		}, client.Parameters()).URL()
	older, err := remotecommand.NewSPDYExecutor(c.Config, http.MethodPost, url)
	if err != nil {
		return nil, err
	}
	newer, err := remotecommand.NewWebSocketExecutor(c.Config, http.MethodGet, url.String())
	if err != nil {
		return nil, err
	}
	both, err := remotecommand.NewFallbackExecutor(newer, older, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, err
	}
	out, told := &bounded{most: maxOutput}, &bounded{most: maxWords}
	if err := both.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out, Stderr: told}); err != nil {
		if words := strings.Join(strings.Fields(told.String()), " "); words != "" {
			err = errors.New(words)
		}
		return nil, fmt.Errorf("look at pod %s: %w", proxy, err)
	}
	return out.Bytes(), nil
}

// bounded keeps so many bytes, and refuses more.
type bounded struct {
	bytes.Buffer
	most int
}

func (b *bounded) Write(text []byte) (int, error) {
	if b.Len()+len(text) > b.most {
		return 0, fmt.Errorf("more than %d bytes", b.most)
	}
	return b.Buffer.Write(text)
}
