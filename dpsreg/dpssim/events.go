package dpssim

import (
	"context"
	"log"
	"log/slog"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// event is one thing that happened. The kinds are listed in docs/azure-simulator.md.
type event struct {
	Seq     int64             `json:"seq"`
	Time    time.Time         `json:"time"`
	Kind    string            `json:"kind"`
	Message string            `json:"message,omitempty"`
	Details map[string]string `json:"details,omitempty"`
}

// eventLog keeps the last maxEvents events.
type eventLog struct {
	now  func() time.Time
	mu   sync.Mutex
	seq  int64
	ring []event
}

func (l *eventLog) add(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	e.Seq, e.Time = l.seq, l.now().UTC()
	if len(l.ring) < maxEvents {
		l.ring = append(l.ring, e)
		return
	}
	l.ring[int((l.seq-1)%maxEvents)] = e
}

// list returns the events in order, those after ?since=SEQ and of ?kind=KIND if
// these are given.
func (l *eventLog) list(q url.Values) []event {
	since, _ := strconv.ParseInt(q.Get("since"), 10, 64)
	kind := q.Get("kind")
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []event{}
	for i := l.seq - int64(len(l.ring)); i < l.seq; i++ {
		e := l.ring[int(i%maxEvents)]
		if e.Seq > since && (kind == "" || e.Kind == kind) {
			out = append(out, e)
		}
	}
	return out
}

// note records an event. pairs are alternating names and values; no secrets.
func (s *Sim) note(kind, message string, pairs ...string) {
	e := event{Kind: kind, Message: clip(message, 4096)}
	if len(pairs) > 0 {
		e.Details = map[string]string{}
		for i := 0; i+1 < len(pairs); i += 2 {
			e.Details[pairs[i]] = clip(pairs[i+1], 4096)
		}
	}
	s.events.add(e)
	s.cfg.Logger.Log(context.Background(), slog.LevelInfo, kind, "message", e.Message)
}

// errorLog takes what net/http has to say, such as TLS handshakes that failed.
func (s *Sim) errorLog() *log.Logger {
	return slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelInfo)
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}
