package testcluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Ports of the API server and of etcd, at the address of a [Server].
const (
	apiPort      = 6443
	etcdPort     = 2379
	etcdPeerPort = 2380
)

// Server says how one API server runs with its etcd, at fixed ports of an address that nobody else uses.
type Server struct {
	// Kube and Etcd are the programs.
	Kube, Etcd string
	// Dir holds what etcd keeps, and in pki the certificates.
	Dir string
	// Address is where both listen.
	Address string
	// Alone says that there is neither controller nor kubelet: nothing makes the ServiceAccounts that pods would need, and
	// the service kubernetes leads nowhere.
	Alone bool
}

// names that the certificate of the API server is for, besides its address.
func apiServerNames() []string {
	return []string{serviceIP(1), "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + Domain}
}

// URL is where the API server answers.
func (s Server) URL() string { return fmt.Sprintf("https://%s:%d", s.Address, apiPort) }

func (s Server) pki(file string) string { return filepath.Join(s.Dir, "pki", file) }

// MakePKI makes all certificates that the API server needs and one for its administrator, admin, with a kubeconfig. It
// returns the authority that issues them.
func (s Server) MakePKI() (*Authority, error) {
	dir := s.pki("")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ca, err := NewAuthority(dir, "ca")
	if err != nil {
		return nil, err
	}
	front, err := NewAuthority(dir, "front-proxy-ca")
	if err != nil {
		return nil, err
	}
	masters := []string{"system:masters"}
	if err := errors.Join(
		ca.Issue("apiserver", "kube-apiserver", nil, append(apiServerNames(), s.Address)...),
		ca.Issue("apiserver-kubelet-client", "kube-apiserver-kubelet-client", masters),
		ca.Issue("admin", "admin", masters),
		front.Issue("front-proxy-client", "front-proxy-client", nil),
		newTokenKey(s.pki("tokens.key")),
	); err != nil {
		return nil, err
	}
	_, err = ca.Kubeconfig("admin", s.URL())
	return ca, err
}

// EtcdCommand is the command line of etcd. What it keeps need not survive the machine.
func (s Server) EtcdCommand() []string {
	url := func(port int) string { return fmt.Sprintf("http://%s:%d", s.Address, port) }
	return []string{
		s.Etcd, "--name=test", "--data-dir=" + filepath.Join(s.Dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=" + url(etcdPort), "--advertise-client-urls=" + url(etcdPort),
		"--listen-peer-urls=" + url(etcdPeerPort), "--initial-advertise-peer-urls=" + url(etcdPeerPort),
		"--initial-cluster=test=" + url(etcdPeerPort), "--logger=zap",
	}
}

// APIServerCommand is the command line of the API server.
func (s Server) APIServerCommand() []string {
	command := []string{
		s.Kube, "kube-apiserver",
		fmt.Sprintf("--etcd-servers=http://%s:%d", s.Address, etcdPort),
		fmt.Sprintf("--secure-port=%d", apiPort), "--service-cluster-ip-range=" + s.serviceRanges(),
		"--cert-dir=" + s.pki(""), "--tls-cert-file=" + s.pki("apiserver.crt"), "--tls-private-key-file=" + s.pki("apiserver.key"),
		"--client-ca-file=" + s.pki("ca.crt"),
		"--kubelet-certificate-authority=" + s.pki("ca.crt"), "--kubelet-client-certificate=" + s.pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + s.pki("apiserver-kubelet-client.key"), "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + s.pki("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + s.pki("front-proxy-client.crt"), "--proxy-client-key-file=" + s.pki("front-proxy-client.key"),
		"--service-account-issuer=https://kubernetes.default.svc." + Domain,
		"--service-account-signing-key-file=" + s.pki("tokens.key"), "--service-account-key-file=" + s.pki("tokens.key"),
		"--authorization-mode=Node,RBAC", "--allow-privileged=true", "--event-ttl=30m", "--advertise-address=" + s.Address,
	}
	if s.Alone {
		return append(command, "--bind-address="+s.Address, "--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none")
	}
	return append(command, "--bind-address=0.0.0.0", "--enable-admission-plugins=NodeRestriction")
}

// serviceRanges are those of which Services get their addresses: with pods there are two families.
func (s Server) serviceRanges() string {
	if s.Alone {
		return ServiceRange
	}
	return ServiceRange + "," + ServiceRange6
}

// Client returns an HTTP client that knows the certificates of the API server and is its administrator. It needs what
// [Server.MakePKI] has written.
func (s Server) Client() (*http.Client, error) {
	pair, err := tls.LoadX509KeyPair(s.pki("admin.crt"), s.pki("admin.key"))
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(s.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}, nil
}

// AwaitReady returns when the API server says that it is ready, or with why not when ctx ends.
func (s Server) AwaitReady(ctx context.Context) error {
	client, err := s.Client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return poll(ctx, "the API server", func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10)) // what was read is told
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d: %s", response.StatusCode, text)
		}
		return nil
	})
}

// poll calls f until it has no error or ctx ends; then it returns the last one.
func poll(ctx context.Context, what string, f func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
