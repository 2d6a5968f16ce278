package server

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"mintmark/awsreg"
	"mintmark/ca"
	"mintmark/ca/revocation/ocsp"
	"mintmark/dpsreg"
	"mintmark/internal/audit"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/outbox"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// How soon a revocation is to be seen.
const (
	onCRL    = time.Minute
	byOCSP   = 5 * time.Second
	toClouds = 10 * time.Second
)

// cutLedger is a ledger whose writes, and whose reads, can be cut off.
type cutLedger struct {
	*ledgertest.Faulty
	writes, reads atomic.Bool // true while they fail
}

func (l *cutLedger) read() error {
	if l.reads.Load() {
		return ledger.ErrUnavailable
	}
	return nil
}

func (l *cutLedger) Certificate(ctx context.Context, serial ledger.Serial) (ledger.Certificate, error) {
	if err := l.read(); err != nil {
		return ledger.Certificate{}, err
	}
	return l.Faulty.Certificate(ctx, serial)
}

func (l *cutLedger) ChangedSince(ctx context.Context, position string, limit int) ([]ledger.Serial, string, error) {
	if err := l.read(); err != nil {
		return nil, "", err
	}
	return l.Faulty.ChangedSince(ctx, position, limit)
}

func (l *cutLedger) RevocationsSince(ctx context.Context) (map[ledger.CRLName]int, error) {
	if err := l.read(); err != nil {
		return nil, err
	}
	return l.Faulty.RevocationsSince(ctx)
}

func (l *cutLedger) CRLs(ctx context.Context) ([]ledger.CRL, error) {
	if err := l.read(); err != nil {
		return nil, err
	}
	return l.Faulty.CRLs(ctx)
}

func (l *cutLedger) Due(ctx context.Context, kind string, now time.Time, limit int) ([]ledger.Task, error) {
	if err := l.read(); err != nil {
		return nil, err
	}
	return l.Faulty.Due(ctx, kind, now, limit)
}

// cutKeys is a key store in memory whose keys stop signing while they are away.
type cutKeys struct {
	t    *testing.T
	away atomic.Bool
	made sync.Map // key by URI
}

type cutKey struct {
	crypto.Signer
	keys *cutKeys
}

func (k cutKey) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if k.keys.away.Load() {
		return nil, errors.New("the key is away")
	}
	return k.Signer.Sign(r, digest, o)
}

func (k *cutKeys) Create(_ context.Context, uri, _ string) (string, crypto.Signer, error) {
	key := cutKey{pkitest.NewKey(k.t), k}
	k.made.Store(uri, key)
	return uri, key, nil
}

func (k *cutKeys) Signer(_ context.Context, uri string, _ crypto.PublicKey) (crypto.Signer, error) {
	key, ok := k.made.Load(uri)
	if !ok || k.away.Load() {
		return nil, errors.New("the key is away")
	}
	return key.(cutKey), nil
}

// cutCloud takes what it is told, or lets callers wait for nothing.
type cutCloud struct {
	away         atomic.Bool
	mu           sync.Mutex
	begun, taken map[string]time.Time // when it was first told of a task, and took it, by kind and key
}

func (c *cutCloud) deliver(ctx context.Context, tasks []ledger.Task) []error {
	note := func(of map[string]time.Time) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, task := range tasks {
			name := task.Kind + " " + task.Key
			if of[name].IsZero() {
				of[name] = time.Now()
			}
		}
	}
	note(c.begun)
	errs := make([]error, len(tasks))
	if c.away.Load() {
		select {
		case <-ctx.Done():
		case <-time.After(3 * time.Second):
		}
		for i := range errs {
			errs[i] = errors.New("connecting: i/o timeout")
		}
		return errs
	}
	note(c.taken)
	return errs
}

// outageWorld is a server's jobs, on the clock of a bubble.
type outageWorld struct {
	*Server
	t     *testing.T
	store ledger.Ledger // as another server reaches it
	cut   *cutLedger
	keys  *cutKeys
	cloud *cutCloud
}

// inOutageWorld runs a test in a bubble. The state directory, which other tests copy, is
// not of the bubble's time.
func inOutageWorld(t *testing.T, f func(*testing.T, *outageWorld)) {
	t.Helper()
	dir := newState(t)
	editConfig(t, dir, "server: mintmark\n", "server: mintmark\nocsp: {enabled: true}\n")
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { f(t, newOutageWorld(t, c)) })
}

func newOutageWorld(t *testing.T, c *config.Config) *outageWorld {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	log, err := audit.Open(t.TempDir(), audit.Config{Server: "mintmark"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	store, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(t.TempDir(), "ledger.db"), Server: "mintmark", Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w := &outageWorld{t: t, store: store, keys: &cutKeys{t: t}, cloud: &cutCloud{begun: make(map[string]time.Time), taken: make(map[string]time.Time)}}
	w.cut = &cutLedger{Faulty: &ledgertest.Faulty{Ledger: store, Fail: func(string) ledgertest.Mode {
		if w.cut.writes.Load() {
			return ledgertest.NotPersist
		}
		return ledgertest.Pass
	}}}
	s := &Server{config: c, log: quiet, ledger: w.cut, poke: make(poke, 1)}
	w.Server = s
	profiles, err := profiles(c)
	if err != nil {
		t.Fatal(err)
	}
	// As open has it, but for the keys.
	if s.ra, err = issuer.New(t.Context(), issuer.Config{
		Ledger: s.ledger, Keys: w.keys, Server: c.Server, Profiles: profiles, Logger: quiet, PublicURL: c.PublicURL,
		Tasks: s.tasks, Recorded: s.wakeClouds, Revoked: s.revoked,
	}); err != nil {
		t.Fatal(err)
	}
	s.ocsp = newOCSP(s)
	if s.crls, err = s.newPublisher(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.targets()
	one, zero := 1, 0
	for _, spec := range []issuer.AuthoritySpec{
		{Spec: ca.Spec{Name: "root", Subject: pkix.Name{CommonName: "root"}, Validity: 20 * 365 * 24 * time.Hour, PathLen: &one}},
		{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "issuing"}, Validity: 10 * 365 * 24 * time.Hour, PathLen: &zero}, Issuer: "root"},
	} {
		spec.Key, spec.KeyURI = ca.P256, "memory:"+spec.Spec.Name
		if _, err := s.ra.CreateAuthority(t.Context(), spec, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for _, job := range []func(context.Context){
		s.ra.Keep, s.runCRLs, s.runOCSP,
		func(ctx context.Context) { s.holding(ctx, awsreg.TaskKind(s.aws.list[0]), s.aws.by["line"].run) },
		func(ctx context.Context) { s.holding(ctx, dpsreg.TaskKind(s.azure.list[0]), s.azure.by["plant"].run) },
	} {
		wait.Go(func() { job(ctx) })
	}
	t.Cleanup(func() { cancel(); wait.Wait() })
	time.Sleep(time.Second)
	return w
}

// targets makes an AWS and a DPS target, whose workers are those of newAWSTargets and
// newAzureTargets, but for whom they tell: connections cannot live in a bubble.
func (w *outageWorld) targets() {
	w.t.Helper()
	worker := func(kind string, batch int, timeout time.Duration) outbox.Config {
		return outbox.Config{Ledger: w.ledger, Kind: kind, Now: w.ra.Now, Logger: w.log, Batch: batch, Timeout: timeout, Deliver: w.cloud.deliver}
	}
	line := awsreg.Target{Name: "line", CAs: []awsreg.CA{{Issuer: "issuing", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseRegister}}}
	w.aws = &awsTargets{s: w.Server, list: []awsreg.Target{line}, by: map[string]*delivery{"line": newDelivery()}}
	for _, kind := range []string{awsreg.TaskKind(line), awsreg.UrgentKind(line)} {
		w.aws.by["line"].add(worker(kind, awsreg.BatchSize, 5*time.Minute))
	}
	plant := dpsreg.Target{Name: "plant"}
	w.azure = &azureTargets{s: w.Server, list: []dpsreg.Target{plant}, by: map[string]*delivery{"plant": newDelivery()}}
	for _, kind := range []string{dpsreg.TaskKind(plant), dpsreg.UrgentKind(plant)} {
		w.azure.by["plant"].add(worker(kind, dpsreg.BatchSize, 10*time.Minute))
	}
	connections, err := dpsreg.NewConnections(dpsreg.Connecting{Secret: func(string) ([]byte, error) { return nil, errors.New("none") }, Now: w.ra.Now, Logger: w.log})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.azure.devices, err = dpsreg.NewDevices(connections, w.azure.authorities, w.ledger); err != nil {
		w.t.Fatal(err)
	}
}

// enroll issues a certificate, of which OCSP then keeps that it is good.
func (w *outageWorld) enroll(name string) *x509.Certificate {
	w.t.Helper()
	answer, err := w.ra.Enroll(w.t.Context(), issuer.Request{
		Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: ledger.Requester{Kind: "password", Name: "line"},
		CSR: pkitest.CSR(w.t, pkitest.NewKey(w.t), pkix.Name{CommonName: name}),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if status, err := w.ask(answer.Certificate); err != nil || status != xocsp.Good {
		w.t.Fatalf("OCSP says %d of a new certificate, %v", status, err)
	}
	return answer.Certificate
}

func (w *outageWorld) revoke(c *x509.Certificate) error {
	_, err := w.ra.Revoke(w.t.Context(), ledger.Selector{Serial: issuer.SerialOf(c.SerialNumber)}, ledger.KeyCompromise, "test")
	return err
}

func (w *outageWorld) mustRevoke(c *x509.Certificate) {
	w.t.Helper()
	if err := w.revoke(c); err != nil {
		w.t.Fatal(err)
	}
}

// ask is what OCSP says.
func (w *outageWorld) ask(c *x509.Certificate) (int, error) {
	a, err := w.ra.Authority("issuing")
	if err != nil {
		return 0, err
	}
	request, err := xocsp.CreateRequest(c, a.Certificate(), nil)
	if err != nil {
		return 0, err
	}
	recorder := httptest.NewRecorder()
	w.public().ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, ocsp.Path+"issuing", bytes.NewReader(request)))
	answer, err := xocsp.ParseResponseForCert(recorder.Body.Bytes(), c, a.Certificate())
	if err != nil {
		return 0, err
	}
	return answer.Status, nil
}

// listed reports whether the stored CRL has a certificate.
func (w *outageWorld) listed(c *x509.Certificate) bool {
	w.t.Helper()
	stored, err := w.store.LatestCRL(w.t.Context(), "issuing", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	crl, err := x509.ParseRevocationList(stored.DER)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range crl.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
			return true
		}
	}
	return false
}

// told reports whether both clouds are in a map for the revocation of a certificate.
func (w *outageWorld) told(of map[string]time.Time, c *x509.Certificate) bool {
	w.cloud.mu.Lock()
	defer w.cloud.mu.Unlock()
	return !of["aws/line/urgent "+awsreg.CertificateID(c.Raw)].IsZero() && !of["azure/plant/urgent device/"+c.Subject.CommonName].IsZero()
}

// until waits for a condition no longer than that, of the bubble's time.
func (w *outageWorld) until(what string, within time.Duration, f func() bool) {
	w.t.Helper()
	began := time.Now()
	for !f() {
		if time.Since(began) >= within {
			w.t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Logf("%s: after %v", what, time.Since(began))
}

func (w *outageWorld) untilRevoked(c *x509.Certificate) {
	w.t.Helper()
	w.until("OCSP says revoked", byOCSP, func() bool { status, err := w.ask(c); return err == nil && status == xocsp.Revoked })
}

// inTime revokes a new certificate and wants it seen everywhere in time. Each bound counts
// from the revocation.
func (w *outageWorld) inTime(name string) {
	w.t.Helper()
	c := w.enroll(name)
	w.mustRevoke(c)
	began := time.Now()
	w.untilRevoked(c)
	w.until("the clouds are told", toClouds-time.Since(began), func() bool { return w.told(w.cloud.taken, c) })
	w.until("it is on the CRL", onCRL-time.Since(began), func() bool { return w.listed(c) })
}

// nothingLeft wants every task taken.
func (w *outageWorld) nothingLeft(within time.Duration) {
	w.t.Helper()
	w.until("no task is left", within, func() bool {
		backlog, err := w.store.Backlog(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		n := 0
		for _, left := range backlog {
			n += left
		}
		return n == 0
	})
}

// TestRevokedInTime: a revocation is in the CRL within a minute, in OCSP within 5 s and sent
// to the clouds within 10 s, also one by another server.
func TestRevokedInTime(t *testing.T) {
	inOutageWorld(t, func(t *testing.T, w *outageWorld) {
		w.inTime("one")
		w.nothingLeft(time.Second)
		// This server is not poked; its outbox looks every few seconds.
		c := w.enroll("two")
		if _, err := w.store.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(c.SerialNumber)}, ledger.KeyCompromise, "test", time.Now(), w.tasks); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		w.untilRevoked(c)
		w.until("the clouds are told", toClouds-time.Since(began), func() bool { return w.told(w.cloud.taken, c) })
		w.until("it is on the CRL", onCRL-time.Since(began), func() bool { return w.listed(c) })
		w.nothingLeft(time.Second)
	})
}

// TestRevokedWithoutKey: for an hour the CA's key does not sign. OCSP and the clouds have
// what is revoked in time, and the CRL has it once the key is back.
func TestRevokedWithoutKey(t *testing.T) {
	inOutageWorld(t, func(t *testing.T, w *outageWorld) {
		c := w.enroll("one")
		w.keys.away.Store(true)
		w.mustRevoke(c)
		w.untilRevoked(c)
		w.until("the clouds are told", toClouds-byOCSP, func() bool { return w.told(w.cloud.taken, c) })
		time.Sleep(time.Hour)
		if w.listed(c) {
			t.Fatal("on the CRL without a key")
		}
		w.keys.away.Store(false)
		w.until("it is on the CRL", onCRL, func() bool { return w.listed(c) })
		w.inTime("two")
	})
}

// TestRevokedWithoutClouds: for an hour, with MINTMARK_LONG six, the clouds do not answer. They are called in time
// all the same, and take everything as soon as they take anything.
func TestRevokedWithoutClouds(t *testing.T) {
	outage := time.Hour
	if os.Getenv("MINTMARK_LONG") != "" {
		outage *= 6
	}
	inOutageWorld(t, func(t *testing.T, w *outageWorld) {
		c := w.enroll("one")
		w.nothingLeft(time.Minute)
		w.cloud.away.Store(true)
		w.mustRevoke(c)
		began := time.Now()
		w.untilRevoked(c)
		w.until("the clouds are called", toClouds-time.Since(began), func() bool { return w.told(w.cloud.begun, c) })
		w.until("it is on the CRL", onCRL-time.Since(began), func() bool { return w.listed(c) })
		waiting := w.enroll("waits") // for the worker of what is not urgent
		time.Sleep(outage)
		later := w.enroll("later")
		w.mustRevoke(later)
		w.until("the clouds are called", toClouds, func() bool { return w.told(w.cloud.begun, later) })
		if w.told(w.cloud.taken, c) || w.told(w.cloud.taken, later) {
			t.Fatal("a cloud that is away took it")
		}
		if tasks, err := w.store.Tasks(t.Context(), awsreg.CertificateID(waiting.Raw)); err != nil || len(tasks) != 1 || tasks[0].Kind != "aws/line" || tasks[0].Attempts < int(outage/(15*time.Minute)) {
			t.Errorf("what waits: %+v, %v", tasks, err)
		}
		w.cloud.away.Store(false)
		w.inTime("after")       // what is new does not wait for what is old,
		w.nothingLeft(toClouds) // and what is old comes with it, not when its pause is over
		if !w.told(w.cloud.taken, c) || !w.told(w.cloud.taken, later) {
			t.Error("a cloud was never told")
		}
	})
}

// TestRevokedWithoutLedger: for half an hour the ledger fails, in its writes alone or in its
// reads, too. What was revoked right before, or by another server, is lost nowhere, and no
// answer of "good" is given about it for longer than ocsp.outage.
func TestRevokedWithoutLedger(t *testing.T) {
	for name, reads := range map[string]bool{"read-only": false, "away": true} {
		t.Run(name, func(t *testing.T) {
			inOutageWorld(t, func(t *testing.T, w *outageWorld) {
				before, refused, elsewhere := w.enroll("before"), w.enroll("refused"), w.enroll("elsewhere")
				w.nothingLeft(time.Minute)
				time.Sleep(15 * time.Second) // no job is under way
				began := time.Now()
				w.cut.writes.Store(true)
				w.cut.reads.Store(reads)
				for _, c := range []*x509.Certificate{before, elsewhere} {
					if _, err := w.store.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(c.SerialNumber)}, ledger.KeyCompromise, "test", time.Now(), w.tasks); err != nil {
						t.Fatal(err)
					}
				}
				w.revoked()
				w.wakeClouds()
				if err := w.revoke(refused); err == nil {
					t.Fatal("revoked without a ledger")
				}
				bound := byOCSP
				if reads {
					bound = w.config.OCSP.Outage + byOCSP
				}
				for time.Since(began) < 30*time.Minute {
					if status, err := w.ask(before); err == nil && status == xocsp.Good && time.Since(began) > bound {
						t.Fatalf("OCSP says good %v after the revocation", time.Since(began))
					}
					time.Sleep(time.Second)
				}
				if w.listed(before) {
					t.Fatal("on a CRL that could not be recorded")
				}
				w.cut.writes.Store(false)
				w.cut.reads.Store(false)
				back := time.Now()
				for _, c := range []*x509.Certificate{before, elsewhere} {
					w.until("OCSP says revoked", byOCSP-time.Since(back), func() bool { status, err := w.ask(c); return err == nil && status == xocsp.Revoked })
					w.until("it is on the CRL", onCRL-time.Since(back), func() bool { return w.listed(c) })
				}
				// A worker comes back to a ledger that failed within a minute, its lease within 15 s.
				w.nothingLeft(75*time.Second - time.Since(back))
				for _, c := range []*x509.Certificate{before, elsewhere} {
					if !w.told(w.cloud.taken, c) {
						t.Error("a cloud was never told")
					}
				}
				if status, err := w.ask(refused); err != nil || status != xocsp.Good {
					t.Errorf("OCSP says %d of what was not revoked, %v", status, err)
				}
				w.inTime("after")
			})
		})
	}
}
