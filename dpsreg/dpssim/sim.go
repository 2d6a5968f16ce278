// Package dpssim is a stand-in for the Azure Device Provisioning Service on this
// machine: certificates of the resource manager, the data plane, the device API over
// HTTPS and MQTT, Entra tokens and the identity registry of linked hubs. It refuses
// what Azure is documented to refuse; docs/azure-simulator.md has each rule with its
// source, and what is unknown.
//
// Everything but MQTT is on one listener. As at Azure, the TLS server name and the Host
// header say which service is meant:
//
//	login.microsoftonline.com                    tokens
//	management.azure.com                         resource manager
//	NAME.azure-devices-provisioning.net          data plane, and devices
//	global.azure-devices-provisioning.net        devices
//	HUB.azure-devices.net                        identity registry, twins
//
// Clients keep Azure's names and are told to connect elsewhere: curl --connect-to,
// connect in mintmark's configuration, an agent with host and port in Node.
package dpssim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits that keep a runaway client from exhausting the machine. They are the
// simulator's own, but for maxHubs: https://learn.microsoft.com/azure/iot-dps/about-iot-dps
const (
	maxBody        = 1 << 20 // bytes of one request
	maxRecords     = 50000   // devices, enrollments or registrations
	maxConnections = 1000    // MQTT connections at once
	maxEvents      = 1000    // events kept for /_sim/events
	maxCalls       = 1000000 // operation names kept for Calls
	maxHubs        = 50
)

// Sim is a running simulator. Its methods may be called concurrently.
type Sim struct {
	cfg    Config
	store  store
	tls    *serverTLS
	events *eventLog
	faults *faults
	rates  *rates
	tokens *tokens

	https  net.Listener
	mqtt   net.Listener
	server *http.Server

	mu       sync.Mutex
	conns    map[net.Conn]struct{} // of MQTT
	closed   bool
	done     chan struct{}
	wg       sync.WaitGroup // accept loops, MQTT connections, requests
	stopOnce sync.Once
	stopErr  error
}

// Start opens both listeners and returns once they accept connections. The simulator
// runs until ctx is cancelled or Close is called.
func Start(ctx context.Context, cfg Config) (*Sim, error) {
	if cfg.StateDir != "" {
		var err error
		if cfg, err = withSecretsOf(cfg); err != nil {
			return nil, fmt.Errorf("reading the secrets of the Azure simulator: %w", err)
		}
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configuring the Azure simulator: %w", err)
	}
	s := &Sim{
		cfg:    cfg,
		events: &eventLog{now: cfg.Now},
		faults: &faults{},
		rates:  newRates(cfg.Limits, cfg.Now),
		tokens: newTokens(cfg),
		conns:  map[net.Conn]struct{}{},
		done:   make(chan struct{}),
	}
	s.store.open(cfg.Hubs)
	if s.tls, err = newServerTLS(cfg); err != nil {
		return nil, fmt.Errorf("making the server certificates of the Azure simulator: %w", err)
	}
	if s.https, err = cfg.ListenFunc("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("opening HTTPS: %w", err)
	}
	if s.mqtt, err = cfg.ListenFunc("tcp", cfg.MQTT); err != nil {
		s.https.Close()
		return nil, fmt.Errorf("opening MQTT: %w", err)
	}
	if err := s.writeStateDir(); err != nil {
		s.https.Close()
		s.mqtt.Close()
		return nil, fmt.Errorf("writing the state directory of the Azure simulator: %w", err)
	}
	s.server = &http.Server{
		Handler:           s.handler(),
		TLSConfig:         s.tls.config(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          s.errorLog(),
		// Only HTTP/1.1: a connection of HTTP/2 is used for every name of its certificate,
		// and cutting one request would cut them all.
		Protocols: http1(),
	}
	s.wg.Go(func() {
		if err := s.server.ServeTLS(s.https, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("HTTPS stopped", "err", err)
		}
	})
	s.wg.Go(s.acceptMQTT)
	forget := context.AfterFunc(ctx, func() { s.Close() })
	s.wg.Go(func() {
		<-s.done
		forget()
	})
	return s, nil
}

func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// Addr is the host and port of HTTPS.
func (s *Sim) Addr() string { return s.https.Addr().String() }

// MQTTAddr is the host and port of MQTT.
func (s *Sim) MQTTAddr() string { return s.mqtt.Addr().String() }

// RootPEM is the trust anchor of the simulator's server certificates.
func (s *Sim) RootPEM() []byte { return s.tls.root.pem() }

// Config is the configuration with everything that was made at start.
func (s *Sim) Config() Config { return s.cfg }

// Close ends every connection and frees the ports. It returns when nothing of the
// simulator runs any more.
func (s *Sim) Close() error {
	s.stopOnce.Do(func() {
		close(s.done)
		s.mu.Lock()
		s.closed = true
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.stopErr = errors.Join(s.mqtt.Close(), s.server.Close())
		s.wg.Wait()
	})
	return s.stopErr
}

// track counts a connection of MQTT, so that Close ends it and waits for untrack. It
// reports false, and counts nothing, once the simulator closes or has too many.
func (s *Sim) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= maxConnections {
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

// untrack ends what track began.
func (s *Sim) untrack(c net.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.wg.Done()
}

// enter counts a request that is being served, so that Close waits for it; the
// caller calls s.wg.Done at its end. It reports false once the simulator closes.
func (s *Sim) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// now is the simulator's clock.
func (s *Sim) now() time.Time { return s.cfg.Now() }
