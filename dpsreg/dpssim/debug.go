package dpssim

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
)

// The simulator's own endpoints, which need no token. They answer to this machine
// only, even where Config.AllowRemote opens the port to others.
func (s *Sim) debugHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/events", local(func(w http.ResponseWriter, r *http.Request) {
		writeDebug(w, s.events.list(r.URL.Query()))
	}))
	mux.HandleFunc("GET /_sim/calls", local(func(w http.ResponseWriter, _ *http.Request) {
		writeDebug(w, append([]string{}, s.Calls()...))
	}))
	mux.HandleFunc("GET /_sim/state", local(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(s.State())
	}))
	mux.HandleFunc("GET /_sim/faults", local(func(w http.ResponseWriter, _ *http.Request) { writeDebug(w, s.faults.list()) }))
	mux.HandleFunc("POST /_sim/faults", local(s.serveInject))
	mux.HandleFunc("DELETE /_sim/faults", local(func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	}))
	return mux
}

func (s *Sim) serveInject(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFaultBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	f, err := ParseFault(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := s.faults.arm(f); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
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
			http.Error(w, "this endpoint answers to this machine only, as localhost or 127.0.0.1", http.StatusForbidden)
		case r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/json":
			http.Error(w, "the content type must be application/json", http.StatusUnsupportedMediaType)
		default:
			next(w, r)
		}
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
