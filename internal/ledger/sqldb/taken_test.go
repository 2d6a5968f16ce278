package sqldb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/audit/auditor"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pgtest"
)

// waits is a request of a device that waits for approval.
func waits(device, key string, now time.Time) ledger.Enrollment {
	return ledger.Enrollment{
		Key: ledgertest.Key(key), Subject: "CN=" + device, Label: "line", Profile: "gateway", Device: device, Cause: "label", At: now, ExpiresAt: now.Add(time.Hour),
	}
}

func approve(t *testing.T, l ledger.Ledger, device, key string, now time.Time) ledger.Enrollment {
	t.Helper()
	e, err := l.QueueEnrollment(t.Context(), waits(device, key, now), 100)
	if err == nil {
		e, err = l.DecideEnrollment(t.Context(), e.ID, true, "anna", "", now, now.Add(time.Hour))
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func giveSecret(t *testing.T, l ledger.Ledger, device, secret string, now time.Time) {
	t.Helper()
	d := ledger.DeviceSecret{Device: device, SHA256: ledgertest.Key(secret), At: now, Actor: "anna", ExpiresAt: now.Add(time.Hour)}
	if err := l.PutSecrets(t.Context(), []ledger.DeviceSecret{d}); err != nil {
		t.Fatal(err)
	}
}

// What was decided and recorded is in the log, and what follows from intents is
// not there twice.
func TestEventsOfWhatIsTaken(t *testing.T) {
	clock := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s, log := open(t, t.TempDir(), func(c *sqldb.Config) { c.Now = func() time.Time { return clock } })
	ctx, now := t.Context(), clock
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	last := ledger.Head{}
	logged := func(what string, want ...ledger.Event) {
		t.Helper()
		var got []ledger.Event
		for b, err := range log.Batches(last) {
			ok(err)
			got = append(got, b.Events...)
		}
		last = log.Head()
		g, err := json.Marshal(got)
		ok(err)
		w, err := json.Marshal(want)
		ok(err)
		if string(g) != string(w) {
			t.Errorf("%s:\n got %s\nwant %s", what, g, w)
		}
	}
	epoch, err := s.Join(ctx, "alpha", now, time.Hour)
	ok(err)
	e, err := s.QueueEnrollment(ctx, waits("dev-1", "k1", now), 9)
	ok(err)
	logged("queued", ledger.Event{Kind: ledger.EventEnrollment, At: now, Enrollment: &e})
	_, err = s.QueueEnrollment(ctx, waits("dev-1", "k1", now.Add(time.Second)), 9)
	ok(err)
	if _, err = s.QueueEnrollment(ctx, waits("dev-2", "k2", now), 1); err == nil {
		t.Error("more wait than may")
	}
	var nothing []ledger.Event
	logged("queued again", nothing...)
	// The clock of whoever decides may be behind.
	e, err = s.DecideEnrollment(ctx, e.ID, true, "anna", "seen", now.Add(-time.Minute), now.Add(time.Hour))
	ok(err)
	logged("approved", ledger.Event{Kind: ledger.EventEnrollment, At: now.Add(time.Microsecond), Enrollment: &e})
	secret := ledger.DeviceSecret{Device: "dev-1", SHA256: ledgertest.Key("s"), At: now, Actor: "anna", ExpiresAt: now.Add(time.Hour)}
	ok(s.PutSecrets(ctx, []ledger.DeviceSecret{secret}))
	logged("secret", ledger.Event{Kind: ledger.EventSecrets, At: now, Secrets: []ledger.DeviceSecret{secret}})
	i := ledgertest.NewIntent(epoch, now, "dev-1", "k1")
	i.Enrollment, i.Secret = e.ID, secret.SHA256
	for _, want := range []error{nil, ledger.ErrInFlight} {
		results, err := s.Begin(ctx, []ledger.Intent{i})
		ok(err)
		if !errors.Is(results[0], want) {
			t.Fatal(results[0])
		}
	}
	logged("taken", ledger.Event{Kind: ledger.EventIntent, At: now, Intent: &i})
	ok(s.Void(ctx, i.Serial, now))
	logged("given back", ledger.Event{Kind: ledger.EventVoided, At: now, Voided: &i.Serial})
	ok(s.DropSecret(ctx, "dev-1", "otto", now))
	secret.SHA256, secret.Actor, secret.At = [32]byte{}, "otto", now.Add(time.Microsecond)
	logged("dropped", ledger.Event{Kind: ledger.EventSecrets, At: now, Secrets: []ledger.DeviceSecret{secret}})
	r := ledger.Rollover{Old: "a", New: "b", OldWithNew: []byte{1}, At: now, Actor: "anna"}
	ok(s.PutRollover(ctx, r))
	logged("rollover", ledger.Event{Kind: ledger.EventRollover, At: now, Rollover: &r})
	r.EndedAt, r.EndedBy = now, "otto"
	ok(s.PutRollover(ctx, r))
	logged("ended", ledger.Event{Kind: ledger.EventRollover, At: now.Add(time.Microsecond), Rollover: &r})
}

// An intent that failed with its log gives back what it took once the ledger is
// sound again.
func TestTakenReturns(t *testing.T) {
	for name, mode := range map[string]ledgertest.Mode{"not persisted": ledgertest.NotPersist, "persisted all the same": ledgertest.ButPersist} {
		t.Run(name, func(t *testing.T) {
			var log *brittleLog
			s, _ := open(t, t.TempDir(), func(c *sqldb.Config) {
				log = &brittleLog{Log: c.Log.(*audit.Log)}
				c.Log = log
			})
			ctx, now := t.Context(), time.Now()
			epoch, err := s.Join(ctx, "alpha", now, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			e := approve(t, s, "dev-1", "k1", now)
			giveSecret(t, s, "dev-1", "s", now)
			intent := func() ledger.Intent {
				i := ledgertest.NewIntent(epoch, now, "dev-1", "k1")
				i.Enrollment, i.Secret = e.ID, ledgertest.Key("s")
				return i
			}
			log.mode.Store(int32(mode))
			if _, err := s.Begin(ctx, []ledger.Intent{intent()}); err == nil {
				t.Fatal("begun without a log")
			}
			log.mode.Store(0)
			eventually(t, "what was taken", func() bool {
				e, err := s.Enrollment(ctx, e.ID)
				d, derr := s.DeviceSecret(ctx, "dev-1")
				return err == nil && derr == nil && s.Health() == nil && e.State == ledger.EnrollmentApproved && d.Serial == ""
			})
			if results, err := s.Begin(ctx, []ledger.Intent{intent()}); err != nil || results[0] != nil {
				t.Errorf("afterwards: %v, %v", results, err)
			}
		})
	}
}

// Entries that were removed for their age are not in a rebuilt ledger either.
func TestReplayForgetsAlike(t *testing.T) {
	dir := t.TempDir()
	s, log := open(t, dir)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for n := range 250 {
		if _, err := s.QueueEnrollment(t.Context(), waits(fmt.Sprint("dev-", n), fmt.Sprint("k", n), now), 1000); err != nil {
			t.Fatal(err)
		}
		giveSecret(t, s, fmt.Sprint("dev-", n), "s", now)
	}
	now = now.Add(100 * 24 * time.Hour)
	for n := range 2 { // each removes some
		approve(t, s, fmt.Sprint("new-", n), fmt.Sprint("n", n), now)
		giveSecret(t, s, "new", "s", now)
	}
	left, err := s.Enrollments(t.Context(), ledger.EnrollmentQuery{Limit: 1000})
	if err != nil || len(left) != 52 {
		t.Errorf("%d are left, %v", len(left), err)
	}
	if _, err := s.DeviceSecret(t.Context(), "dev-1"); !errors.Is(err, ledger.ErrNotFound) {
		t.Error(err)
	}
	epoch, err := s.Join(t.Context(), "alpha", now, time.Hour) // one without an intent is not in the log
	if err != nil {
		t.Fatal(err)
	}
	if results, err := s.Begin(t.Context(), []ledger.Intent{ledgertest.NewIntent(epoch, now, "dev", "k")}); err != nil || results[0] != nil {
		t.Fatal(results, err)
	}
	s.Close()
	log.Close()
	rebuilt, _ := replay(t, dir)
	same(t, openFile(t, filepath.Join(dir, "ledger.db")), openFile(t, rebuilt))
}

// An approval that two servers have taken, one after the other, is in the
// rebuilt ledger that of the certificate, whatever their clocks say.
func TestReplayOfWhatTwoServersTook(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		pending := waits("dev-1", "k1", now)
		pending.ID, pending.Purpose, pending.State = "0644aef0000000", ledger.ForDevice, ledger.EnrollmentPending
		approved := pending
		approved.State, approved.DecidedBy, approved.DecidedAt = ledger.EnrollmentApproved, "anna", now.Add(time.Second)
		secret := ledger.DeviceSecret{Device: "dev-1", SHA256: ledgertest.Key("s"), At: now, ExpiresAt: now.Add(time.Hour)}
		intent := func(server string) ledger.Intent {
			i := ledgertest.NewIntent(ledger.Epoch{Server: server, Number: 1}, now.Add(2*time.Second), "dev-1", "k1")
			i.Enrollment, i.Secret = pending.ID, secret.SHA256
			return i
		}
		given, kept := intent("alpha"), intent("beta")
		issued := ledgertest.Signed(kept, now)
		var dirs []string
		for server, events := range map[string][]ledger.Event{
			"alpha": {
				{Kind: ledger.EventEnrollment, At: now, Enrollment: &pending}, {Kind: ledger.EventSecrets, At: now, Secrets: []ledger.DeviceSecret{secret}},
				{Kind: ledger.EventIntent, At: now.Add(2 * time.Second), Intent: &given}, {Kind: ledger.EventVoided, At: now.Add(3 * time.Second), Voided: &given.Serial},
			},
			"beta": {
				{Kind: ledger.EventEnrollment, At: now.Add(time.Second).Add(skew), Enrollment: &approved},
				{Kind: ledger.EventIntent, At: now.Add(4 * time.Second).Add(skew), Intent: &kept}, {Kind: ledger.EventIssued, At: now.Add(5 * time.Second).Add(skew), Issued: &issued},
			},
		} {
			dir := t.TempDir()
			dirs = append(dirs, dir)
			log, err := audit.Open(dir, audit.Config{Server: server})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				if _, err := log.Append([]ledger.Event{e}); err != nil {
					t.Fatal(err)
				}
			}
			log.Close()
		}
		path := filepath.Join(t.TempDir(), "ledger.db")
		if _, err := sqldb.ReplayInto(t.Context(), path, dirs); err != nil {
			t.Fatalf("skew %v: %v", skew, err)
		}
		db := openFile(t, path)
		for _, text := range []string{`SELECT lower(hex(serial)) FROM enrollments`, `SELECT lower(hex(serial)) FROM device_secrets`} {
			var serial ledger.Serial
			if err := db.QueryRow(text).Scan(&serial); err != nil || serial != kept.Serial {
				t.Errorf("skew %v: %s is %q, want %s: %v", skew, text, serial, kept.Serial, err)
			}
		}
		// Which of the two orders was the true one does not show from one log.
		report, err := auditor.Verify(t.Context(), auditor.Config{Logs: dirs, Unread: true})
		if err != nil || report.Found != 0 {
			t.Errorf("skew %v: %v, %v", skew, report.Findings, err)
		}
	}
}

// Of two servers that want an approval or a secret one gets it.
func TestServersShareWhatIsTaken(t *testing.T) {
	isolations(t, func(t *testing.T, url string) {
		servers := together(t, url, "alpha", "beta")
		const clients = 6 // of each server
		race := func(f func(m *member, n int) error) (won int32) {
			var count atomic.Int32
			var wg sync.WaitGroup
			for s, m := range servers {
				for n := range clients {
					wg.Go(func() {
						var enrollment *ledger.EnrollmentError
						var secret *ledger.SecretError
						switch err := f(m, s*clients+n); {
						case err == nil:
							count.Add(1)
						case errors.As(err, &enrollment) && enrollment.Why == "issued", errors.As(err, &secret) && secret.Why == "used":
						default:
							t.Error(err)
						}
					})
				}
			}
			wg.Wait()
			return count.Load()
		}
		for round := range 8 {
			device := fmt.Sprint("dev-", round)
			var entries sync.Map
			race(func(m *member, n int) error {
				e, err := m.QueueEnrollment(t.Context(), waits(device, device, time.Now()), 100)
				entries.Store(e.ID, true)
				return err
			})
			ids := 0
			entries.Range(func(any, any) bool { ids++; return true })
			if ids > 1 {
				t.Errorf("%s: %d entries for one request", device, ids)
			}
			e := approve(t, servers[0], device, device, time.Now())
			won := race(func(m *member, n int) error {
				_, err := m.enroll(device, device, func(i *ledger.Intent) { i.Enrollment, i.Repeat = e.ID, 0 })
				return err
			})
			if won != 1 {
				t.Errorf("%s: %d have got the approval", device, won)
			}
			giveSecret(t, servers[1], device, "s", time.Now())
			won = race(func(m *member, n int) error {
				_, err := m.enroll(device, fmt.Sprint(device, "/", n), func(i *ledger.Intent) { i.Secret, i.SecondKey = ledgertest.Key("s"), true })
				return err
			})
			if won != 1 {
				t.Errorf("%s: %d have got the secret", device, won)
			}
		}
		accounts(t, servers...)
		report, err := auditor.Verify(t.Context(), auditor.Config{Logs: []string{servers[0].dir, servers[1].dir}, Unread: true})
		if err != nil || report.Found != 0 {
			t.Errorf("%v, %v", report.Findings, err)
		}
	})
}

// What is being taken on one server cannot be changed on another one, which
// waits and sees it; and the other way round.
func TestTakingWaitsAndIsWaitedFor(t *testing.T) {
	begin := func(m *member, i ledger.Intent) error {
		return first(m.Begin(context.Background(), []ledger.Intent{i}))
	}
	for name, test := range map[string]struct {
		first, second func(m *member, i ledger.Intent) error
		want          func(error) bool // of the second
	}{
		"rejecting what is being taken": {
			begin, func(m *member, i ledger.Intent) error {
				_, err := m.DecideEnrollment(context.Background(), i.Enrollment, false, "otto", "", time.Now(), time.Now().Add(time.Hour))
				return err
			}, func(err error) bool {
				var refusal *ledger.EnrollmentError
				return errors.As(err, &refusal) && refusal.Why == "issued"
			},
		},
		"taking what is being rejected": {
			func(m *member, i ledger.Intent) error {
				_, err := m.DecideEnrollment(context.Background(), i.Enrollment, false, "otto", "", time.Now(), time.Now().Add(time.Hour))
				return err
			}, begin, func(err error) bool {
				var refusal *ledger.EnrollmentError
				return errors.As(err, &refusal) && refusal.Why == "rejected"
			},
		},
		"taking a secret that is being dropped": {
			func(m *member, i ledger.Intent) error {
				return m.DropSecret(context.Background(), i.Device, "otto", time.Now())
			}, begin, func(err error) bool {
				var refusal *ledger.SecretError
				return errors.As(err, &refusal) && refusal.Why == "unknown"
			},
		},
		"recording a secret anew that is being taken": {
			begin, func(m *member, i ledger.Intent) error {
				d := ledger.DeviceSecret{Device: i.Device, SHA256: i.Secret, At: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
				if err := m.PutSecrets(context.Background(), []ledger.DeviceSecret{d}); err != nil {
					return err
				}
				i.Serial, i.Key, i.Enrollment, i.SecondKey = ledgertest.NewSerial(i.At), ledgertest.Key("k2"), "", true
				return begin(m, i)
			}, func(err error) bool { return errors.Is(err, ledger.ErrInFlight) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Start(t).NewDatabase(t)
			alpha, log := hooked(t, url, "alpha")
			beta := together(t, url, "beta")[0]
			now := time.Now()
			e := approve(t, beta, "dev-1", "k1", now)
			giveSecret(t, beta, "dev-1", "s", now)
			intent := func(m *member) ledger.Intent {
				i := ledgertest.NewIntent(m.epoch, now, "dev-1", "k1")
				i.Enrollment, i.Secret = e.ID, ledgertest.Key("s")
				return i
			}
			var second sync.WaitGroup
			var err error
			hook := func() {
				second.Go(func() { err = test.second(beta, intent(beta)) })
				waiting(t, url)
			}
			log.before.Store(&hook)
			if err := test.first(alpha, intent(alpha)); err != nil {
				t.Fatal(err)
			}
			if second.Wait(); !test.want(err) {
				t.Errorf("the second got %v", err)
			}
		})
	}
}

// A server of an earlier version is told to stay away: it would not give back
// what a void intent has taken, would issue from a CA that was replaced, and names an index
// that is gone.
func TestSchema5IsNeeded(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	s.Close()
	var needed string
	if err := openFile(t, filepath.Join(dir, "ledger.db")).QueryRow(`SELECT value FROM meta WHERE name = 'schema_min'`).Scan(&needed); err != nil || needed != "5" {
		t.Errorf("a server must know schema %q, %v", needed, err)
	}
}
