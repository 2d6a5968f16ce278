package awssim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"
)

// Limits that keep a runaway client from exhausting the machine. They are the
// simulator's own, not AWS's.
const (
	maxBody        = 16 << 20 // bytes of one control-plane request; BatchWriteItem may have as many
	maxWorlds      = 64       // pairs of account and region
	maxRecords     = 50000    // objects of one kind in one world
	maxConnections = 1000     // broker connections at once
	maxEvents      = 1000     // events kept for /_sim/events
	maxCalls       = 1000000  // operation names kept for Calls
)

// Sim is a running simulator. Its methods may be called concurrently.
type Sim struct {
	cfg     Config
	tls     *serverTLS
	events  *eventLog
	faults  *faults
	keys    keyring
	objects *objectStore
	limits  *limiter

	control net.Listener
	server  *http.Server
	broker  net.Listener

	mu       sync.Mutex
	worlds   map[string]*world // by account/region
	claims   map[string]string // region/certificate id of a CA in DEFAULT mode -> account
	conns    map[net.Conn]struct{}
	closed   bool
	done     chan struct{}
	wg       sync.WaitGroup // accept loops, connections, requests, processes of functions and JITP runs
	stopOnce sync.Once
	stopErr  error
}

// Start opens both listeners and returns once they accept connections. The
// simulator runs until ctx is cancelled or Close is called.
func Start(ctx context.Context, cfg Config) (*Sim, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configuring the AWS simulator: %w", err)
	}
	s := &Sim{
		cfg:     cfg,
		events:  &eventLog{now: cfg.Now},
		faults:  &faults{},
		keys:    newKeyring(cfg.Accounts),
		objects: newObjectStore(cfg),
		limits:  newLimiter(cfg.Quotas),
		worlds:  map[string]*world{},
		claims:  map[string]string{},
		conns:   map[net.Conn]struct{}{},
		done:    make(chan struct{}),
	}
	if s.tls, err = newServerTLS(cfg.Accounts, cfg.Now); err != nil {
		return nil, fmt.Errorf("making the broker's certificates: %w", err)
	}
	if cfg.Localhost {
		s.tls.local = cfg.Region
	}
	if cfg.StateDir != "" {
		name := filepath.Join(cfg.StateDir, "amazon-root.pem")
		if err := os.WriteFile(name, s.tls.rootPEM, 0o644); err != nil {
			return nil, fmt.Errorf("writing the broker's trust anchor: %w", err)
		}
	}
	if s.control, err = cfg.Listen("tcp", cfg.Control); err != nil {
		return nil, fmt.Errorf("opening the control plane: %w", err)
	}
	if s.broker, err = cfg.Listen("tcp", cfg.Broker); err != nil {
		s.control.Close()
		return nil, fmt.Errorf("opening the broker: %w", err)
	}
	// The worlds of the default region exist from the start, so that a device that
	// connects before the first API call is refused by a broker, not by nobody.
	for _, a := range cfg.Accounts {
		if _, err := s.world(a, cfg.Region); err != nil {
			s.Close()
			return nil, err
		}
	}
	s.server = &http.Server{
		Handler:           s.controlHandler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	s.wg.Go(func() {
		if err := s.server.Serve(s.control); err != nil && !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("control plane stopped", "err", err)
		}
	})
	s.wg.Go(s.acceptDevices)
	forget := context.AfterFunc(ctx, func() { s.Close() })
	s.wg.Go(func() {
		<-s.done
		forget()
	})
	return s, nil
}

// ControlURL is the endpoint URL for AWS_ENDPOINT_URL and aws --endpoint-url.
func (s *Sim) ControlURL() string { return "http://" + s.control.Addr().String() }

// BrokerAddr is the host and port of the broker.
func (s *Sim) BrokerAddr() string { return s.broker.Addr().String() }

// RootPEM is the trust anchor of the broker's server certificate, in the place
// of Amazon Root CA 1.
func (s *Sim) RootPEM() []byte { return append([]byte(nil), s.tls.rootPEM...) }

// Close disconnects every device, stops every function and frees the ports. It
// returns when nothing of the simulator runs any more.
func (s *Sim) Close() error {
	s.stopOnce.Do(func() {
		close(s.done)
		s.mu.Lock()
		s.closed = true
		for c := range s.conns {
			c.Close()
		}
		worlds := s.sortedWorlds()
		s.mu.Unlock()
		s.stopErr = s.broker.Close()
		if s.server != nil {
			s.stopErr = errors.Join(s.stopErr, s.server.Close())
		} else {
			s.control.Close()
		}
		for _, w := range worlds {
			w.stopFunctions()
		}
		s.wg.Wait()
		for _, w := range worlds {
			s.stopErr = errors.Join(s.stopErr, w.broker.Close())
		}
	})
	return s.stopErr
}

// world returns the world of an account in a region, and makes it on first use.
func (s *Sim) world(a Account, region string) (*world, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := a.ID + "/" + region
	if w, ok := s.worlds[key]; ok {
		return w, nil
	}
	if s.closed {
		return nil, errors.New("the simulator is closed")
	}
	if len(s.worlds) >= maxWorlds {
		return nil, fmt.Errorf("the simulator holds at most %d pairs of account and region", maxWorlds)
	}
	w, err := newWorld(s, a, region)
	if err != nil {
		return nil, err
	}
	s.worlds[key] = w
	return w, nil
}

// closing reports whether Close was called.
func (s *Sim) closing() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
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

// spawn runs f in the background; Close waits for it. It reports false, and runs
// nothing, once the simulator closes.
func (s *Sim) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(f)
	return true
}

// sortedWorlds lists the worlds in a fixed order: those of the default region
// first, then by region and account. The caller holds s.mu.
func (s *Sim) sortedWorlds() []*world {
	out := make([]*world, 0, len(s.worlds))
	for _, w := range s.worlds {
		out = append(out, w)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if x, y := a.region == s.cfg.Region, b.region == s.cfg.Region; x != y {
			return x
		}
		if a.region != b.region {
			return a.region < b.region
		}
		return a.account.ID < b.account.ID
	})
	return out
}
