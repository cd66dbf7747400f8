package peers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// What replicas ask of each other.
const (
	pathConnected = "/peers/connected"
	pathHandover  = "/peers/handover"
	pathReading   = "/peers/reading" // and behind it a path of the API
)

// asksConnected asks which proxies are connected.
type asksConnected struct {
	Known   string         `json:"known"`             // version of the list that is known; "": none
	Reaches *ReachQuestion `json:"reaches,omitempty"` // how far objects are is asked too; nil: not
}

// connected is the answer. Without proxies the list of that version is known.
type connected struct {
	Version string         `json:"version"`
	Proxies []mesh.ProxyID `json:"proxies,omitempty"`
	Reaches *ReachNews     `json:"reaches,omitempty"`
}

// asksHandover asks how hosts are secured, and which of some proxies are connected.
type asksHandover struct {
	Hosts   []mesh.Host    `json:"hosts"`
	Missing []mesh.ProxyID `json:"missing,omitempty"`
}

// call asks a replica once.
func (p *Peers) call(ctx context.Context, r Replica, path string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	text, status, err := p.send(ctx, r, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("it answers with status %d", status)
	}
	return json.Unmarshal(text, answer)
}

// send sends a request to a replica, and returns its answer.
func (p *Peers) send(ctx context.Context, r Replica, method, path string, body io.Reader) (text []byte, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+r.Address+path, body)
	if err != nil {
		return nil, 0, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		var inner interface{ Unwrap() error } // without the URL, which says nothing to people
		if errors.As(err, &inner) && inner.Unwrap() != nil {
			err = inner.Unwrap()
		}
		return nil, 0, err
	}
	defer response.Body.Close()
	text, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err == nil && len(text) > maxAnswer {
		err = fmt.Errorf("its answer has more than %d bytes", maxAnswer)
	}
	return text, response.StatusCode, err
}

// Said is what a replica says to a question that all are asked.
type Said struct {
	Replica string
	Body    []byte
	Err     error // it cannot be asked, or does not answer
}

// Gather asks all others for a page of their reading API, such as "/v1/proxies".
func (p *Peers) Gather(ctx context.Context, page string) []Said {
	list, err := p.members()
	if err != nil {
		return []Said{{Err: err}}
	}
	said := make([]Said, len(list))
	var asking sync.WaitGroup
	for i, r := range list {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askBound)
			defer cancel()
			text, status, err := p.send(ctx, r, http.MethodGet, pathReading+page, http.NoBody)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("it answers with status %d", status)
			}
			said[i] = Said{r.Name, text, err}
		})
	}
	asking.Wait()
	return said
}

// Get asks one replica for a page, and returns what it answers whatever that is.
func (p *Peers) Get(ctx context.Context, r Replica, page string) (text []byte, status int, err error) {
	return p.send(ctx, r, http.MethodGet, pathReading+page, http.NoBody)
}

// Handler answers other replicas. Nobody else may reach it.
func (p *Peers) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pathConnected, func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(q asksConnected) any {
			ids := p.c.Engine.Settled()
			sum := sha256.New()
			for _, id := range ids {
				fmt.Fprintln(sum, id)
			}
			now := connected{Version: hex.EncodeToString(sum.Sum(nil)[:12])}
			if now.Version != q.Known {
				now.Proxies = ids
			}
			if q.Reaches != nil && p.c.Reaches != nil {
				news := p.c.Reaches.News(*q.Reaches)
				now.Reaches = &news
			}
			return now
		})
	})
	mux.HandleFunc("POST "+pathHandover, func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(q asksHandover) any {
			// One counts as connected that was so before and after it was looked what is confirmed.
			before := p.c.Engine.Here(q.Missing)
			reports := p.c.Report(q.Hosts)
			return handover.Answer{Replica: p.c.Replica, Reports: reports, Here: p.c.Engine.Here(before)}
		})
	})
	mux.Handle("GET "+pathReading+"/", http.StripPrefix(pathReading, p.c.Reading))
	return mux
}

// answer answers a question in JSON with an answer in JSON.
func answer[Q any](w http.ResponseWriter, r *http.Request, to func(Q) any) {
	var q Q
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsked)).Decode(&q)
	if err != nil {
		http.Error(w, "this is no question", http.StatusBadRequest)
		return
	}
	text, err := json.Marshal(to(q))
	if err != nil {
		http.Error(w, "there is no answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // whoever asked has gone
}

// Serve answers other replicas on connections that have shaken hands, until ctx ends.
func (p *Peers) Serve(ctx context.Context, l net.Listener) error {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true) // as the client
	server := &http.Server{
		Handler: p.Handler(), Protocols: &protocols, ReadHeaderTimeout: askBound, IdleTimeout: idleBound, MaxHeaderBytes: maxHeaders,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: slog.NewLogLogger(p.c.Log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); ctx.Err() == nil && !strings.Contains(err.Error(), net.ErrClosed.Error()) {
		return fmt.Errorf("answer other replicas: %w", err)
	}
	return nil
}

// DialTLS returns what connects to a replica with a way to shake hands.
func DialTLS(shake func(ctx context.Context, raw net.Conn) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: askBound, KeepAlive: 10 * time.Second}
	return func(ctx context.Context, address string) (net.Conn, error) {
		raw, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		connection, err := shake(ctx, raw)
		if err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		return connection, nil
	}
}
