package testapp

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	mostClients    = 50 // each with connections of its own; more would only make an overload worse
	toldFailures   = 50 // in a summary
	answersCounted = 100
)

// Summary is what became of requests at a steady rate. Half of them had a connection of their own.
type Summary struct {
	Requests int `json:"requests"`
	Failures int `json:"failures"`
	// First are the first failures, each with the time since the beginning.
	First []string `json:"first,omitempty"`
	// Answers counts right answers by who gave them: the first line of the body, or name and version of a testapp.
	Answers map[string]int `json:"answers"`
	// Statuses counts all answers by status.
	Statuses map[string]int `json:"statuses"`
	Seconds  float64        `json:"seconds"`
	P50      float64        `json:"p50_ms"`
	P99      float64        `json:"p99_ms"`
	Max      float64        `json:"max_ms"`
}

// loader sums up while several clients ask.
type loader struct {
	Client
	begun time.Time

	mu   sync.Mutex
	sum  Summary
	took []time.Duration
}

// load asks at the rate for the duration, or until ctx ends. Slow answers do not lower the rate: a request that is due is sent
// by a client that waits for nothing, or by one more, until there are too many of them.
func (c Client) load(ctx context.Context) (Summary, error) {
	if c.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Duration)
		defer cancel()
	}
	l := &loader{Client: c, begun: time.Now(), sum: Summary{Answers: map[string]int{}, Statuses: map[string]int{}}}
	due := make(chan struct{})
	clients := 0
	var running sync.WaitGroup
	add := func() error {
		ask, done, err := c.asker(c.URLs[0], c.Fresh || clients%2 == 0)
		if err != nil {
			return err
		}
		clients++
		running.Go(func() {
			defer done()
			for range due {
				l.count(l.once(ctx, ask))
			}
		})
		return nil
	}
	err := l.pace(ctx, due, func() error {
		if clients == mostClients {
			return nil
		}
		return add()
	})
	close(due)
	running.Wait()
	l.finish()
	return l.sum, err
}

// mostBehind bounds the time of which the requests are made up for: of a longer pause they are left out.
const mostBehind = time.Second

// pace hands out requests at the rate, and makes up for those that fell into a short pause of its machine. When nobody takes one,
// it asks for one more client.
func (l *loader) pace(ctx context.Context, due chan<- struct{}, more func() error) error {
	interval := time.Duration(float64(time.Second) / l.Rate)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := l.begun.Add(interval); ; next = next.Add(interval) {
		now := time.Now()
		if earliest := now.Add(-mostBehind); next.Before(earliest) {
			next = earliest
		}
		timer.Reset(next.Sub(now))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		select {
		case due <- struct{}{}:
			continue
		default:
		}
		if err := more(); err != nil {
			return err
		}
		select {
		case due <- struct{}{}:
		case <-ctx.Done():
		}
	}
}

// count adds one result to the sum.
func (l *loader) count(r Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.Requests++
	l.sum.Statuses[strconv.Itoa(r.Status)]++
	l.took = append(l.took, r.Took)
	if r.Error != "" {
		l.sum.Failures++
		if len(l.sum.First) < toldFailures {
			l.sum.First = append(l.sum.First, fmt.Sprintf("after %v: %s: status %d: %.200s", time.Since(l.begun).Round(time.Millisecond), r.Error, r.Status, r.Body))
		}
		return
	}
	if name := r.who(); len(l.sum.Answers) < answersCounted || l.sum.Answers[name] > 0 {
		l.sum.Answers[name]++
	}
}

// who says who gave an answer.
func (r Result) who() string {
	if r.Answer != nil {
		return r.Answer.Name + " " + r.Answer.Version
	}
	const most = 80
	for i, c := range r.Body {
		if c == '\n' || i == most {
			return r.Body[:i]
		}
	}
	return r.Body
}

func (l *loader) finish() {
	l.sum.Seconds = time.Since(l.begun).Seconds()
	if len(l.took) == 0 {
		return
	}
	slices.Sort(l.took)
	at := func(share float64) float64 {
		return float64(l.took[int(share*float64(len(l.took)-1))].Microseconds()) / 1000
	}
	l.sum.P50, l.sum.P99, l.sum.Max = at(0.5), at(0.99), at(1)
}
