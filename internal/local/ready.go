package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	probeEvery = 50 * time.Millisecond
	probeBound = time.Second
)

// probe asks an application at an address whether it is ready.
type probe struct {
	address string
	ready   Ready
}

// await returns nil when the application is ready, and why it is not when its time is over. When ctx ends it returns nil too.
func (p probe) await(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, p.ready.Timeout)
	defer cancel()
	client := &http.Client{
		Timeout:       probeBound,
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy: this is not the mesh's traffic
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		err := p.once(bounded, client)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		select {
		case <-bounded.Done():
			if ctx.Err() != nil {
				return nil
			}
			return &notReady{p.ready.Timeout, err}
		case <-tick.C:
		}
	}
}

func (p probe) once(ctx context.Context, client *http.Client) error {
	if p.ready.HTTP == "" {
		conn, err := (&net.Dialer{Timeout: probeBound}).DialContext(ctx, "tcp", p.address)
		if err != nil {
			return errors.New("it takes no connections on " + p.address)
		}
		return conn.Close()
	}
	url := "http://" + p.address + p.ready.HTTP
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return errors.New("it does not answer at " + url)
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 399 {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}

// notReady is the error that an application does not get ready.
type notReady struct {
	after time.Duration
	cause error
}

func (e *notReady) Error() string { return fmt.Sprintf("is not ready after %s (%s)", e.after, e.cause) }
