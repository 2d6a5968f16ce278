package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

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
	if err := s.azure.check(); err != nil {
		return err
	}
	own, followers := newOwnTLS(s), newFollowers(s)
	s.register(followers.collectors()...)
	handler, err := est.NewHandler(est.Config{
		Authority: s.ra, Labels: labels, Logger: s.log, Now: s.ra.Now, Signer: own.signer, Stations: s.config.Limits.Prefixes(),
		Paths: s.ra, Seen: followers.see,
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
	for _, words := range Replaced(s.config, s.ra.KnownRotations()) {
		s.log.Warn("the configuration names a CA that was replaced", "reason", words)
	}
	for _, words := range azureFiles(s.config) {
		s.log.Warn("Azure is not told until this is put right", "reason", words)
	}

	if err := own.refresh(ctx); err != nil {
		// Without a signature there is no certificate to serve EST with; CRLs
		// and health are served all the same.
		s.log.Error("the EST listener has no certificate and refuses handshakes until it has one", "error", err)
	}

	if s.options.Inside != nil {
		s.options.Inside(s.inside(handler, own))
	}
	endpoints, err := s.endpoints(handler, own)
	if err != nil {
		return err
	}
	limitMemory()

	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	var wait sync.WaitGroup
	s.followers.Store(followers)
	note := func(ctx context.Context) {
		defer s.followers.Store(nil) // all is written
		followers.run(ctx)
	}
	for _, job := range []func(context.Context){own.keep, note, s.runCRLs, s.runOCSP, s.crls.RunPlaces, s.aws.run, s.azure.run, s.keepFollowing, s.keepShutting, s.keepOverdue, s.packLog, s.warm} {
		wait.Go(func() { job(work) })
	}
	// Last to end, so that the last head covers what the others did.
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	var recorded sync.WaitGroup
	recorded.Go(func() { exporter.Run(recording) })

	failed := make(chan error, len(endpoints))
	for _, e := range endpoints {
		go func() {
			if err := e.serve(); err != nil {
				failed <- err
			}
		}()
		if e.name != "" {
			fmt.Fprintf(s.options.Out, "%s listening on %s\n", e.name, e.listener.Addr())
		}
	}

	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	for _, e := range slices.Backward(endpoints) {
		// A client that reads slower than that is cut off: its request can be
		// repeated, and what it was to get is on record.
		if err := e.server.Shutdown(stopping); err != nil {
			s.log.Warn("cutting off requests in flight", "error", err)
			e.server.Close()
		}
	}
	stopWork()
	wait.Wait()
	stopRecording()
	recorded.Wait()
	return err
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
