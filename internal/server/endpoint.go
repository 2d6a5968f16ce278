package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"mintmark/issuer/est"
)

// endpoint is one address that is served.
type endpoint struct {
	name     string // in what the server prints; empty for the socket
	listener net.Listener
	server   *http.Server
}

// serve answers until the server is shut down, which is no error.
func (e endpoint) serve() error {
	var err error
	if e.server.TLSConfig != nil {
		err = e.server.ServeTLS(e.listener, "", "")
	} else {
		err = e.server.Serve(e.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving %s: %w", e.listener.Addr(), err)
}

// endpoints opens all listeners or none. That of EST comes last: who waits for
// its line finds the others open.
func (s *Server) endpoints(enrollment http.Handler, own *ownTLS) (list []endpoint, err error) {
	defer func() {
		if err != nil {
			for _, e := range list {
				e.listener.Close()
			}
		}
	}()
	errorLog := log.New(&serverLog{s.log}, "", 0)
	bounds := newGateMetrics()
	s.register(bounds.all...)
	limits := s.config.Limits
	open := func(name, address string, server *http.Server) error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listening: %w", err)
		}
		limitTimes(server)
		server.ErrorLog = errorLog
		if name == "metrics" {
			l = netutil.LimitListener(l, maxMonitoring)
		} else {
			g := newGate(l, name, limits.Connections, limits.ConnectionsPerAddress, limits.Handshakes, limits.Prefixes(), bounds)
			g.track(server)
			l = g
		}
		list = append(list, endpoint{name, l, server})
		return nil
	}
	monitoring := http.NewServeMux()
	monitoring.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	monitoring.HandleFunc("GET /healthz", s.healthz)
	monitoring.HandleFunc("GET /readyz", s.newReadiness().ServeHTTP)

	address := s.addresses()
	if err := open("http", address.http, &http.Server{Handler: s.public()}); err != nil {
		return list, err
	}
	if err := open("metrics", address.metrics, &http.Server{Handler: monitoring}); err != nil {
		return list, err
	}
	if address.admin != "" {
		server := &http.Server{Handler: s.admin(s.certified), TLSConfig: adminTLS(own.get)}
		if err := open("admin", address.admin, server); err != nil {
			return list, err
		}
		administrative(server)
	}
	socket, err := listenAdmin(s.config.Dir)
	if err != nil {
		return list, err
	}
	local := &http.Server{Handler: s.admin(s.peer), ErrorLog: errorLog, ConnContext: withPeer}
	limitTimes(local)
	administrative(local)
	list = append(list, endpoint{"", socket, local})
	return list, open("est", address.est, &http.Server{Handler: enrollment, TLSConfig: est.TLSConfig(own.get), ConnContext: est.ConnContext})
}

// administrative lets a part of a device list come in, and answers take their
// time: aws apply streams for as long as the cloud does.
func administrative(server *http.Server) {
	server.ReadTimeout = 30 * time.Second
	server.WriteTimeout = 0
}

// addresses are where to listen, after the command line.
func (s *Server) addresses() (a struct{ est, http, metrics, admin string }) {
	a.est, a.http, a.metrics, a.admin = s.config.Listen.EST, s.config.Listen.HTTP, s.config.Listen.Metrics, s.config.Listen.Admin
	if s.options.Listen != "" {
		a.est = s.options.Listen
		if host, ok := strings.CutSuffix(a.est, ":0"); ok {
			a.http, a.metrics = host+":0", host+":0"
			if a.admin != "" {
				a.admin = host + ":0"
			}
		}
	}
	if s.options.ListenHTTP != "" {
		a.http = s.options.ListenHTTP
	}
	if s.options.ListenMetrics != "" {
		a.metrics = s.options.ListenMetrics
	}
	return a
}

// serverLog takes what net/http has to say. Most of it is about clients that
// went away in a handshake; a panic and a lack of file descriptors are ours.
type serverLog struct{ log *slog.Logger }

func (l *serverLog) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.Contains(line, []byte("panic serving")) || bytes.Contains(line, []byte("Accept error")) {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, strings.TrimSpace(string(line)))
	return len(line), nil
}
