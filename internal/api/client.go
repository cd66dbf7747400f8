package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 64 << 20

// How long an answer may take, beyond what is waited for on purpose: one that takes longer comes from a control plane that hangs.
const (
	readPatience  = 10 * time.Second
	writePatience = 30 * time.Second // what is written is judged first, and may be much
)

// Client speaks to the control plane that serves on a Unix socket. Its methods return an [*Unreachable] when nobody
// serves there or no answer comes in time, and an [*Error] when the control plane refuses. Those that take a time to wait
// have that much more.
type Client struct {
	place       Place
	http        *http.Client
	read, write time.Duration
}

// Place is where a control plane answers.
type Place struct {
	Name string // for people: the path of its socket, or another way to it
	// Dial makes a connection to it.
	Dial func(ctx context.Context) (net.Conn, error)
	// Advice is what to do when nobody answers there; "": what to do about a mesh on this machine.
	Advice string
	Slow   time.Duration // what an answer from there takes longer
}

// NewClient returns a client for the socket at this path.
func NewClient(socket string) *Client {
	return NewClientAt(Place{Name: socket, Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}})
}

// NewClientAt returns a client for a place.
func NewClientAt(p Place) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return p.Dial(ctx) }
	return &Client{p, &http.Client{Transport: &http.Transport{DialContext: dial}}, readPatience + p.Slow, writePatience + p.Slow}
}

// ErrOtherBase is the error when the control plane has another registry than the one that an edit was made from.
var ErrOtherBase = errors.New("the control plane has another registry")

// ErrSilent is why a control plane is unreachable that takes connections and does not answer.
var ErrSilent = errors.New("no answer in time")

// Unreachable is the error when no control plane answers on a socket.
type Unreachable struct {
	Socket string // the name of the place
	Cause  error  // [ErrSilent]: somebody listens
	Advice string // what to do about it; "": the usual
}

func (e *Unreachable) Error() string {
	if errors.Is(e.Cause, ErrSilent) {
		return "the control plane on " + e.Socket + " does not answer"
	}
	message := "no control plane answers on " + e.Socket
	if e.Advice == "" && (errors.Is(e.Cause, fs.ErrNotExist) || errors.Is(e.Cause, syscall.ECONNREFUSED)) {
		return message // of a socket there is nothing more to say
	}
	return message + ": " + e.Cause.Error()
}

// Unwrap returns why.
func (e *Unreachable) Unwrap() error { return e.Cause }

// Hint returns the next step.
func (e *Unreachable) Hint() string {
	if errors.Is(e.Cause, ErrSilent) {
		return "it hangs, is stopped, or has far too much to do: look at its process and its log; proxies go on with what they have"
	}
	return cmp.Or(e.Advice, "start a mesh with `lateen demo` or `lateen up`")
}

// Write writes objects.
func (c *Client) Write(ctx context.Context, w Write) (Written, error) {
	return call[Written](ctx, c, http.MethodPost, "/v1/objects", w)
}

// Delete deletes objects.
func (c *Client) Delete(ctx context.Context, d Delete) (Written, error) {
	return call[Written](ctx, c, http.MethodPost, "/v1/objects/delete", d)
}

// Compare tells what applying objects would change.
func (c *Client) Compare(ctx context.Context, d Compare) (Compared, error) {
	return call[Compared](ctx, c, http.MethodPost, "/v1/objects/diff", d)
}

// Objects returns the objects that q asks for, sorted.
func (c *Client) Objects(ctx context.Context, q Query) ([]Object, error) {
	values := url.Values{}
	for key, value := range map[string]string{"kind": q.Kind, "namespace": q.Namespace, "name": q.Name, "labels": q.Labels} {
		if value != "" {
			values.Set(key, value)
		}
	}
	return call[[]Object](ctx, c, http.MethodGet, "/v1/objects?"+values.Encode(), nil)
}

// PutRegistry says what services there are and what runs, and returns the revision that holds it.
func (c *Client) PutRegistry(ctx context.Context, r mesh.Registry) (revision int64, err error) {
	accepted, err := call[Accepted](ctx, c, http.MethodPut, "/v1/registry", r)
	return accepted.Revision, err
}

// EditRegistry says what changed since the registry of the edit's base was handed in, and returns the revision that holds
// it. When the control plane has another one, as after it was started again, the error is [ErrOtherBase], and the whole
// must be handed in with [Client.PutRegistry].
func (c *Client) EditRegistry(ctx context.Context, e mesh.RegistryEdit) (revision int64, err error) {
	accepted, err := call[Accepted](ctx, c, http.MethodPatch, "/v1/registry", e)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Status == http.StatusConflict {
		err = fmt.Errorf("%w: %w", ErrOtherBase, refused)
	}
	return accepted.Revision, err
}

// Progress waits, at most for the given time, until no proxy is waited for, and tells how far the revision is.
func (c *Client) Progress(ctx context.Context, revision int64, wait time.Duration) (Progress, error) {
	path := "/v1/revisions/" + strconv.FormatInt(revision, 10) + "/progress?wait=" + wait.String()
	return call[Progress](ctx, c, http.MethodGet, path, nil)
}

// ObjectProgress waits, at most for the given time, until objects that were written to or deleted from a cluster are known to all
// replicas of the control plane and in force, and tells how far they are. It takes 500 of them.
func (c *Client) ObjectProgress(ctx context.Context, results []Result, wait time.Duration) (Progress, error) {
	values := url.Values{"wait": {wait.String()}}
	for _, r := range results {
		key := "object"
		if r.Verb == "deleted" {
			key = "deleted"
		}
		values.Add(key, r.Object.Kind+"/"+r.Object.Path()+"@"+strconv.FormatInt(r.ResourceVersion, 10))
	}
	return call[Progress](ctx, c, http.MethodGet, "/v1/progress?"+values.Encode(), nil)
}

// Status tells how the control plane is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Problems returns what is wrong with the objects that the control plane knows.
func (c *Client) Problems(ctx context.Context) ([]mesh.Problem, error) {
	answer, err := call[Problems](ctx, c, http.MethodGet, "/v1/problems", nil)
	return answer.Problems, err
}

// Uses lists the hosts that the next replica of each workload is given at once.
func (c *Client) Uses(ctx context.Context) ([]Use, error) {
	return call[[]Use](ctx, c, http.MethodGet, "/v1/uses", nil)
}

// Explain returns the text of one stage of one resource.
func (c *Client) Explain(ctx context.Context, e Explain) (string, error) {
	values := url.Values{"proxy": {string(e.Proxy)}, "resource": {e.Resource}, "stage": {e.Stage}}
	text, err := c.do(ctx, http.MethodGet, "/v1/explain?"+values.Encode(), nil)
	return string(text), err
}

// Page returns a page about the control plane itself: "/metrics", "/debug/snapshot". Where that refuses, the error says so beside its words.
func (c *Client) Page(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, nil)
}

// call sends a request with a JSON body, unless body is nil, and reads a JSON answer.
func call[Answer any](ctx context.Context, c *Client, method, path string, body any) (Answer, error) {
	var answer Answer
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return answer, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	text, err := c.do(ctx, method, path, sent)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, fmt.Errorf("%s %s: answer: %w", method, path, err)
	}
	return answer, nil
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	// The host is not looked up: every connection goes to the socket.
	request, err := http.NewRequestWithContext(ctx, method, "http://lateen"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, c.patience(request), ErrSilent)
	defer cancel()
	request = request.WithContext(limited)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unanswered(limited, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, c.unanswered(limited, err)
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("%s %s: the answer has more than %d bytes", method, path, maxAnswer)
	case response.StatusCode >= http.StatusBadRequest:
		refused := refusal(response, text)
		if refused.Message == "there is no "+method+" "+request.URL.Path {
			refused.Hint = "the mesh was started by another version of lateen: end it, and start it with this one"
		}
		return text, refused
	}
	return text, nil
}

// patience returns how long a request may take, with what it asks to wait for.
func (c *Client) patience(r *http.Request) time.Duration {
	most := c.read
	if r.Method != http.MethodGet {
		most = c.write
	}
	if wait, err := time.ParseDuration(r.URL.Query().Get("wait")); err == nil && wait > 0 {
		most += wait
	}
	return most
}

// unanswered says why there is no answer: the context's own reason comes first.
func (c *Client) unanswered(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), ErrSilent) {
		return &Unreachable{Socket: c.place.Name, Cause: ErrSilent, Advice: c.place.Advice}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the control plane on %s: %w", c.place.Name, ctx.Err())
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err // without the address, which is made up
	}
	return &Unreachable{Socket: c.place.Name, Cause: err, Advice: c.place.Advice}
}

func refusal(response *http.Response, text []byte) *Error {
	refused := Error{Status: response.StatusCode}
	if err := json.Unmarshal(text, &refused); err != nil || refused.Message == "" {
		return &Error{Message: "the control plane answers " + response.Status, Status: response.StatusCode}
	}
	return &refused
}
