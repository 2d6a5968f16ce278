package adminhttp_test

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/ca/revocation"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/audit"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// world is an API over a real registration authority and a real ledger. Its
// keys are in memory, because encrypting their files is slow on purpose; the
// scripts of cmd/mintmark have the real ones.
type world struct {
	dir     string // of the ledger and its log
	handler http.Handler
	ra      *issuer.RA
	keys    *memory
	machine *rotation.Machine
	client  *admin.Client
	// ahead is how far the clock of the API is ahead, in nanoseconds.
	ahead atomic.Int64
	// noCRL makes signing a CRL fail.
	noCRL atomic.Bool
}

// open makes a world; change may alter what the API is made of.
func open(t testing.TB, change func(*adminhttp.Config)) *world {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(dir, "log"), audit.Config{Server: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	store, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	profiles := make(map[string]*issuer.Profile)
	for name, preset := range map[string]string{"device": "device", "server": "server", "claim": "claim", "officer": "officer", "ra": "registration-authority"} {
		if profiles[name], err = issuer.NewProfile(name, issuer.ProfileConfig{Preset: preset}, ""); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{dir: dir, keys: &memory{}}
	quiet := slog.New(slog.DiscardHandler)
	ra, err := issuer.New(t.Context(), issuer.Config{
		Ledger: store, Keys: w.keys, Server: "test", EpochTTL: time.Hour, Logger: quiet, Profiles: profiles,
		Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	crls := revocation.New(revocation.Config{
		Ledger: store, Authorities: ra.Authorities, Period: time.Hour, Lifetime: 24 * time.Hour, Now: ra.Now, Logger: quiet,
	})
	w.ra, w.machine = ra, rotations(ra, store)
	config := adminhttp.Config{
		RA: ra, Ledger: store, Rotations: w.machine, Version: "test", Logger: quiet,
		Actor: func(*http.Request) (access.Principal, bool, error) {
			return access.Principal{Name: "local:tester", Roles: access.Roles}, true, nil
		},
		PublishCRL: func(ctx context.Context, name string) error {
			if w.noCRL.Load() {
				return errors.New("the disk is full")
			}
			authority, err := ra.Authority(name)
			if err != nil {
				return err
			}
			fence, err := store.Acquire(ctx, "crl", "test", ra.Now(), time.Minute)
			if err != nil {
				return err
			}
			return crls.PublishPending(ctx, fence, authority)
		},
		SignCRL: func(ctx context.Context, name string, shard int) error {
			authority, err := ra.Authority(name)
			if err != nil {
				return err
			}
			fence, err := store.Acquire(ctx, "crl", "test", ra.Now(), time.Minute)
			if err != nil {
				return err
			}
			if shard < 0 {
				return crls.Publish(ctx, fence, authority)
			}
			return crls.Publish(ctx, fence, authority, shard)
		},
	}
	if change != nil {
		change(&config)
	}
	w.handler = adminhttp.New(config)
	w.client = admin.New(admin.InProcess(w.handler))
	return w
}

// hierarchy makes a root and an issuing CA over the API.
func (w *world) hierarchy(t testing.TB) *world {
	t.Helper()
	for _, spec := range []admin.AuthoritySpec{
		{Name: "root", Subject: admin.Name{CommonName: "Test Root"}, ValiditySeconds: 20 * 365 * 86400},
		{Name: "issuing", Issuer: "root", Subject: admin.Name{CommonName: "Test Issuing"}, ValiditySeconds: 10 * 365 * 86400},
	} {
		if _, err := w.client.CreateAuthority(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// listen serves the API on a Unix socket and returns its path.
func (w *world) listen(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "admin") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: w.handler}}
	server.Start()
	t.Cleanup(server.Close)
	return socket
}

// csr is a certification request in PEM for a new key.
func csr(t testing.TB, name string) string {
	t.Helper()
	der := pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: name})
	return string(pkitest.PEM("CERTIFICATE REQUEST", der))
}

// issue issues a certificate to a new device.
func (w *world) issue(t testing.TB, name string) admin.Issued {
	t.Helper()
	issued, err := w.client.Issue(t.Context(), admin.Issue{Profile: "device", Issuer: "issuing", CSR: csr(t, name)})
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

// refused checks that err is a refusal of this status by this rule.
func refused(t *testing.T, err error, status int, rule string) {
	t.Helper()
	var e *admin.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want a refusal by rule %s", err, rule)
	}
	if e.Status != status || e.Rule != rule {
		t.Errorf("refused with %d by rule %s (%s), want %d by rule %s", e.Status, e.Rule, e.Text, status, rule)
	}
	if e.Text == "" || e.RequestID == "" {
		t.Errorf("the refusal says too little: %+v", e)
	}
}

// listenAndLeave leaves a socket behind that nobody listens on.
func (w *world) listenAndLeave(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "admin.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return socket
}
