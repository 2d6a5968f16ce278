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
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"mintmark/internal/jobs"
	"mintmark/internal/ledger"
	"mintmark/issuer/est"
)

const (
	// maxMonitoring bounds the connections of the metrics listener, which is on a
	// network of its own.
	maxMonitoring = 256
	// drain is how long requests in flight may take at shutdown.
	drain = 30 * time.Second

	crlJob   = "crl"
	crlLease = time.Minute
	// crlEvery is how soon the server that signs CRLs sees what another one has
	// revoked.
	crlEvery = 10 * time.Second
)

// Serve opens the listeners, says on Options.Out where they are, runs the jobs
// and returns when ctx has ended and the requests in flight are answered.
func (s *Server) Serve(ctx context.Context) error {
	labels, err := s.labels()
	if err != nil {
		return err
	}
	if err := s.openKeys(ctx); err != nil {
		return err
	}
	if err := s.aws.check(); err != nil {
		return err
	}
	own := newOwnTLS(s)
	handler, err := est.NewHandler(est.Config{
		Authority: s.ra, Labels: labels, Logger: s.log, Now: s.ra.Now, Signer: own.signer, Stations: s.config.Limits.Prefixes(),
	})
	if err != nil {
		return err
	}
	s.register(handler.Metrics()...)
	exporter, err := s.headExporter(ctx)
	if err != nil {
		return err
	}
	s.register(exporter.Metrics()...)
	if words, err := s.unprotected(ctx); err != nil {
		return err
	} else if words != "" {
		s.log.Warn("operations that need two persons are not protected", "reason", words)
	}
	for _, words := range risks(s.config) {
		s.log.Warn("the configuration takes a risk", "risk", words)
	}

	if err := own.refresh(ctx); err != nil {
		// Without a signature there is no certificate to serve EST with; CRLs
		// and health are served all the same.
		s.log.Error("the EST listener has no certificate and refuses handshakes until it has one", "error", err)
	}

	addresses := s.addresses()
	tcp := []string{addresses.est, addresses.http, addresses.metrics}
	if addresses.admin != "" {
		tcp = append(tcp, addresses.admin)
	}
	listeners, err := listen(tcp...)
	if err != nil {
		return err
	}
	socket, err := listenAdmin(s.config.Dir)
	if err != nil {
		closeAll(listeners)
		return err
	}

	monitoring := http.NewServeMux()
	monitoring.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	monitoring.HandleFunc("GET /healthz", s.healthz)
	monitoring.HandleFunc("GET /readyz", s.newReadiness().ServeHTTP)

	errorLog := log.New(&serverLog{s.log}, "", 0)
	servers := []*http.Server{
		{Handler: handler, TLSConfig: est.TLSConfig(own.get), ErrorLog: errorLog},
		{Handler: s.crls.Handler(), ErrorLog: errorLog},
		{Handler: monitoring, ErrorLog: errorLog},
	}
	if addresses.admin != "" {
		servers = append(servers, &http.Server{Handler: s.admin(s.certified), TLSConfig: adminTLS(own.get), ErrorLog: errorLog})
	}
	servers = append(servers, &http.Server{Handler: s.admin(s.peer), ErrorLog: errorLog, ConnContext: withPeer})
	for _, server := range servers {
		limitTimes(server)
	}
	for _, server := range servers[3:] {
		server.ReadTimeout = 30 * time.Second // a part of a device list
		server.WriteTimeout = 0               // aws apply streams for as long as the cloud takes
	}
	bounds := newGateMetrics()
	s.register(bounds.all...)
	limits := s.config.Limits
	for i, name := range map[int]string{0: "est", 1: "http", 3: "admin"} {
		if i < len(listeners) {
			g := newGate(listeners[i], name, limits.Connections, limits.ConnectionsPerAddress, limits.Handshakes, limits.Prefixes(), bounds)
			g.track(servers[i])
			listeners[i] = g
		}
	}
	listeners[2] = netutil.LimitListener(listeners[2], maxMonitoring)
	limitMemory()

	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	var wait sync.WaitGroup
	for _, job := range []func(context.Context){own.keep, s.runCRLs, s.aws.run} {
		wait.Go(func() { job(work) })
	}
	// Last to end, so that the last head covers what the others did.
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	var recorded sync.WaitGroup
	recorded.Go(func() { exporter.Run(recording) })

	failed := make(chan error, len(servers))
	serve := func(i int, l net.Listener) {
		var err error
		if servers[i].TLSConfig != nil {
			err = servers[i].ServeTLS(l, "", "")
		} else {
			err = servers[i].Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving %s: %w", l.Addr(), err)
		}
	}
	for i, l := range append(listeners, socket) {
		go serve(i, l)
	}
	fmt.Fprintf(s.options.Out, "http listening on %s\n", listeners[1].Addr())
	fmt.Fprintf(s.options.Out, "metrics listening on %s\n", listeners[2].Addr())
	if addresses.admin != "" {
		fmt.Fprintf(s.options.Out, "admin listening on %s\n", listeners[3].Addr())
	}
	fmt.Fprintf(s.options.Out, "est listening on %s\n", listeners[0].Addr())

	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	for _, server := range servers {
		// A client that reads slower than that is cut off: its request can be
		// repeated, and what it was to get is on record.
		if err := server.Shutdown(stopping); err != nil {
			s.log.Warn("cutting off requests in flight", "error", err)
			server.Close()
		}
	}
	stopWork()
	wait.Wait()
	stopRecording()
	recorded.Wait()
	return err
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

// runCRLs publishes CRLs under a lease, when they are due and soon after a
// revocation.
func (s *Server) runCRLs(ctx context.Context) {
	jobs.Run(ctx, jobs.Config{
		Ledger: s.ledger, Name: crlJob, Holder: s.config.Server, TTL: crlLease, Every: crlEvery,
		Poke: s.poke, Now: s.ra.Now, Logger: s.log,
	}, func(ctx context.Context, fence ledger.Fence) error {
		return s.crls.PublishDue(ctx, fence)
	})
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

// listen opens all addresses or none.
func listen(addresses ...string) ([]net.Listener, error) {
	var list []net.Listener
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			closeAll(list)
			return nil, fmt.Errorf("listening: %w", err)
		}
		list = append(list, l)
	}
	return list, nil
}

func closeAll(list []net.Listener) {
	for _, l := range list {
		l.Close()
	}
}
