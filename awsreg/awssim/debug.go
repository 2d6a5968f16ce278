package awssim

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The simulator's own endpoints, which need no signature. Those that change
// something or show what is registered or sent answer to this machine only, even
// where Config.AllowRemote opens the port to others.
func (s *Sim) debugHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/events", local(func(w http.ResponseWriter, r *http.Request) {
		writeDebug(w, s.events.list(r.URL.Query()))
	}))
	mux.HandleFunc("GET /_sim/endpoints", s.named(s.serveEndpoints))
	mux.HandleFunc("GET /_sim/state", local(s.serveState))
	mux.HandleFunc("GET /_sim/faults", local(func(w http.ResponseWriter, _ *http.Request) { writeDebug(w, s.faults.list()) }))
	mux.HandleFunc("POST /_sim/faults", local(s.serveInject))
	mux.HandleFunc("DELETE /_sim/faults", local(s.serveDisarm))
	mux.HandleFunc("GET /_sim/reports/{account}/{region}/{task}/{file}", s.named(s.serveReport))
	return mux
}

func writeDebug(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(body)
}

// local refuses requests from other machines, and those that a web page makes a
// browser on this machine send: they come with the page's host name or without a
// content type that a form cannot send.
func local(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		peer := peerOf(r)
		switch {
		case peer != nil && !peer.IsLoopback(), !localName(r.Host):
			http.Error(w, "this endpoint answers to this machine only", http.StatusForbidden)
		case r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/json":
			http.Error(w, "the content type must be application/json", http.StatusUnsupportedMediaType)
		default:
			next(w, r)
		}
	}
}

// named is for what other machines may ask too where Config.AllowRemote lets them.
// Elsewhere it refuses what a web page makes a browser send by a name of its own
// that it has point here.
func (s *Sim) named(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.cfg.AllowRemote && !localName(r.Host) {
			http.Error(w, "this endpoint answers to names of this machine only", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

// localName reports whether a Host header names this machine as itself.
func localName(header string) bool {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host = header
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// peerOf is the address that a request comes from, nil for a listener in memory.
func peerOf(r *http.Request) net.IP {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return nil
	}
	host, _, _ = strings.Cut(host, "%") // a zone
	return net.ParseIP(host)
}

func (s *Sim) serveEndpoints(w http.ResponseWriter, _ *http.Request) {
	type endpoint struct {
		Account    string `json:"account"`
		Region     string `json:"region"`
		ServerName string `json:"serverName"`
		Address    string `json:"address"`
	}
	s.mu.Lock()
	worlds := s.sortedWorlds()
	s.mu.Unlock()
	list := []endpoint{}
	for _, w := range worlds {
		w.mu.Lock()
		for _, d := range sorted(w.domain.configs, func(d *domainConfiguration) int64 { return d.seq }) {
			list = append(list, endpoint{w.account.ID, w.region, w.serverNameOf(d.name), s.BrokerAddr()})
		}
		w.mu.Unlock()
	}
	writeDebug(w, list)
}

// serveState answers the state of ?account=ID&region=NAME; both may be left out
// where there is only one.
func (s *Sim) serveState(w http.ResponseWriter, r *http.Request) {
	account, region := r.URL.Query().Get("account"), r.URL.Query().Get("region")
	if account == "" && len(s.cfg.Accounts) == 1 {
		account = s.cfg.Accounts[0].ID
	}
	if region == "" {
		region = s.cfg.Region
	}
	b, err := s.State(account, region)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b)
}

// faultForm is a fault in JSON.
type faultForm struct {
	ID          int     `json:"id,omitempty"`
	Operation   string  `json:"operation,omitempty"`
	Nth         int     `json:"nth,omitempty"`
	Every       int     `json:"every,omitempty"`
	Rate        float64 `json:"rate,omitempty"`
	Seed        uint64  `json:"seed,omitempty"`
	Times       int     `json:"times,omitempty"`
	Latency     string  `json:"latency,omitempty"` // as in "250ms"
	Code        string  `json:"code,omitempty"`
	Status      int     `json:"status,omitempty"`
	Cut         bool    `json:"cut,omitempty"`
	AfterEffect bool    `json:"afterEffect,omitempty"`
	NoEffect    bool    `json:"noEffect,omitempty"`
	Fired       int     `json:"fired,omitempty"` // answers only
}

// maxFaultBody bounds a request to /_sim/faults.
const maxFaultBody = 64 << 10

// ParseFault reads a fault in JSON, as POST /_sim/faults takes it. Members that it
// does not know are refused.
func ParseFault(text []byte) (Fault, error) {
	var in faultForm
	if err := decodeStrict(text, &in); err != nil {
		return Fault{}, fmt.Errorf("parsing a fault: %w", err)
	}
	f := Fault{
		Operation: in.Operation, Nth: in.Nth, Every: in.Every, Rate: in.Rate, Seed: in.Seed, Times: in.Times,
		Code: in.Code, Status: in.Status, Cut: in.Cut, AfterEffect: in.AfterEffect, NoEffect: in.NoEffect,
	}
	if in.ID != 0 || in.Fired != 0 {
		return Fault{}, fmt.Errorf("parsing a fault: id and fired are members of answers")
	}
	if in.Latency != "" {
		d, err := time.ParseDuration(in.Latency)
		if err != nil {
			return Fault{}, fmt.Errorf("parsing a fault: latency: %w", err)
		}
		f.Latency = d
	}
	if err := f.check(); err != nil {
		return Fault{}, fmt.Errorf("parsing a fault: %w", err)
	}
	return f, nil
}

func (s *Sim) serveInject(w http.ResponseWriter, r *http.Request) {
	body, err := readLimited(w, r, maxFaultBody)
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	f, err := ParseFault(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, err := s.faults.arm(f)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	writeDebug(w, map[string]int{"id": id})
}

// serveDisarm disarms the fault of ?id=N, or all.
func (s *Sim) serveDisarm(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("id") {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
		return
	}
	id, err := strconv.Atoi(r.URL.Query().Get("id"))
	if err != nil || !s.faults.disarm(id) {
		http.Error(w, "there is no armed fault of this id", http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (f *faults) list() []faultForm {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []faultForm{}
	for _, p := range f.pending {
		one := faultForm{
			ID: p.id, Operation: p.Operation, Nth: p.Nth, Every: p.Every, Rate: p.Rate, Seed: p.Seed, Times: p.Times,
			Code: p.Code, Status: p.Status, Cut: p.Cut, AfterEffect: p.AfterEffect, NoEffect: p.NoEffect, Fired: p.fired,
		}
		if p.Latency > 0 {
			one.Latency = p.Latency.String()
		}
		out = append(out, one)
	}
	return out
}

func (f *faults) disarm(id int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, p := range f.pending {
		if p.id == id {
			f.pending = append(f.pending[:i], f.pending[i+1:]...)
			return true
		}
	}
	return false
}
