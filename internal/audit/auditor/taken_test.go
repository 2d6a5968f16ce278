package auditor

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"mintmark/internal/audit/heads"
	"mintmark/internal/ledger"
)

// queued records that a request waits: of dev-1 and the key 1.
func (w *world) queued(id string) ledger.Enrollment {
	w.t.Helper()
	e := ledger.Enrollment{
		ID: id, Key: [32]byte{1}, Subject: "CN=dev-1", Label: "line", Profile: "gateway", Purpose: ledger.ForDevice, Device: "dev-1", Cause: "label",
		State: ledger.EnrollmentPending, At: w.now, ExpiresAt: w.now.Add(time.Hour),
	}
	return w.decide(e, ledger.EnrollmentPending, "")
}

// decide records the next state of an enrollment.
func (w *world) decide(e ledger.Enrollment, state ledger.EnrollmentState, by string) ledger.Enrollment {
	w.t.Helper()
	e.State, e.DecidedBy = state, by
	logged := e
	w.append(ledger.Event{Kind: ledger.EventEnrollment, Enrollment: &logged})
	return e
}

// secret records a one-time secret of dev-1; 0 drops the one that it has.
func (w *world) secret(value byte) {
	w.t.Helper()
	w.append(ledger.Event{Kind: ledger.EventSecrets, Secrets: []ledger.DeviceSecret{
		{Device: "dev-1", SHA256: [32]byte{value}, At: w.now, Actor: "anna", ExpiresAt: w.now.Add(time.Hour)},
	}})
}

// dev1 begins a certificate for dev-1.
func (w *world) dev1(above *ca, change func(*ledger.Intent)) *x509.Certificate {
	w.t.Helper()
	c := w.sign("dev-1", above, newKey(w.t), false)
	i := w.intentOf(c, above.name, ledger.ForDevice)
	i.Intent.Key = [32]byte{1}
	change(i.Intent)
	w.append(i)
	return c
}

func approvedBy(id string) func(*ledger.Intent) {
	return func(i *ledger.Intent) { i.Enrollment = id }
}

func bySecret(value byte) func(*ledger.Intent) {
	return func(i *ledger.Intent) { i.Secret = [32]byte{value} }
}

// takes does all that is right with approvals and secrets: two certificates and
// two void intents.
func (w *world) takes(line *ca) {
	w.t.Helper()
	w.decide(w.queued("e0"), ledger.EnrollmentRejected, "anna")
	e := w.decide(w.queued("e1"), ledger.EnrollmentApproved, "anna")
	e = w.decide(e, ledger.EnrollmentPending, "") // another key came meanwhile
	e = w.decide(e, ledger.EnrollmentRejected, "anna")
	w.decide(e, ledger.EnrollmentApproved, "otto")
	w.append(voidedOf(serialOf(w.dev1(line, approvedBy("e1")))))
	w.append(issuedOf(w.dev1(line, approvedBy("e1"))))
	w.secret(2)
	w.secret(3)
	w.append(voidedOf(serialOf(w.dev1(line, bySecret(3)))))
	w.append(issuedOf(w.dev1(line, bySecret(3))))
	w.secret(0)
	w.secret(3)
}

// rollover records one from a root to another, with the certificates that these
// functions choose.
func (w *world) rollover(change func(a, b *ca) (oldWithNew, newWithOld *x509.Certificate)) {
	w.t.Helper()
	a, b := w.authority("a", nil), w.authority("b", nil)
	first, second := change(a, b)
	r := &ledger.Rollover{Old: "a", New: "b", OldWithNew: first.Raw, At: w.now, Actor: "anna"}
	if second != nil {
		r.NewWithOld = second.Raw
	}
	w.append(ledger.Event{Kind: ledger.EventRollover, Rollover: r})
}

// cross makes a certificate for a root's key by another root, without the ledger.
func (w *world) cross(of, by *ca) *x509.Certificate {
	w.t.Helper()
	template := *of.certificate
	template.SerialNumber = big.NewInt(7)
	der, err := x509.CreateCertificate(rand.Reader, &template, by.certificate, of.key.Public(), by.key)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// What an intent takes must be there, be its own, and be taken once.
func TestTaken(t *testing.T) {
	for name, test := range map[string]struct {
		words string // empty if nothing is wrong
		write func(w *world, root *ca)
	}{
		"all that is right": {"", func(w *world, root *ca) { w.takes(root) }},
		"unknown enrollment": {"none of the given logs has recorded it", func(w *world, root *ca) {
			w.dev1(root, approvedBy("e1"))
		}},
		"pending": {"which is pending", func(w *world, root *ca) {
			w.queued("e1")
			w.dev1(root, approvedBy("e1"))
		}},
		"rejected": {"which is rejected", func(w *world, root *ca) {
			w.decide(w.decide(w.queued("e1"), ledger.EnrollmentApproved, "anna"), ledger.EnrollmentRejected, "anna")
			w.dev1(root, approvedBy("e1"))
		}},
		"enrollment that is over": {"after it was over", func(w *world, root *ca) {
			w.decide(w.queued("e1"), ledger.EnrollmentApproved, "anna")
			w.dev1(root, func(i *ledger.Intent) { i.Enrollment, i.At = "e1", w.now.Add(2*time.Hour) })
		}},
		"enrollment of another key": {"is not for what enrollment e1 is about", func(w *world, root *ca) {
			w.decide(w.queued("e1"), ledger.EnrollmentApproved, "anna")
			w.dev1(root, func(i *ledger.Intent) { i.Enrollment, i.Key = "e1", [32]byte{2} })
		}},
		"enrollment of another profile": {"is not for what enrollment e1 is about", func(w *world, root *ca) {
			w.decide(w.queued("e1"), ledger.EnrollmentApproved, "anna")
			w.dev1(root, func(i *ledger.Intent) { i.Enrollment, i.Profile = "e1", "other" })
		}},
		"enrollment taken twice": {"which was used", func(w *world, root *ca) {
			w.decide(w.queued("e1"), ledger.EnrollmentApproved, "anna")
			w.append(issuedOf(w.dev1(root, approvedBy("e1"))))
			w.dev1(root, approvedBy("e1"))
		}},
		"enrollment taken by two open intents": {"which was used", func(w *world, root *ca) {
			w.decide(w.queued("e1"), ledger.EnrollmentApproved, "anna")
			c := w.dev1(root, approvedBy("e1"))
			w.dev1(root, approvedBy("e1"))
			w.append(voidedOf(serialOf(c)))
		}},
		"decided after it was used": {"after it was used for a certificate", func(w *world, root *ca) {
			e := w.decide(w.queued("e1"), ledger.EnrollmentApproved, "anna")
			w.append(issuedOf(w.dev1(root, approvedBy("e1"))))
			w.decide(e, ledger.EnrollmentApproved, "anna")
		}},
		"queued twice": {"is pending after it was \"pending\"", func(w *world, root *ca) {
			w.queued("e1")
			w.queued("e1")
		}},
		"approved by nobody": {"was approved by nobody", func(w *world, root *ca) {
			w.decide(w.queued("e1"), ledger.EnrollmentApproved, "")
		}},
		"another request": {"is not of the request that it was recorded for", func(w *world, root *ca) {
			e := w.queued("e1")
			e.Key = [32]byte{2}
			w.decide(e, ledger.EnrollmentApproved, "anna")
		}},
		"no such state": {"enrollment e1 is issued", func(w *world, root *ca) {
			w.decide(w.queued("e1"), ledger.EnrollmentIssued, "anna")
		}},
		"unknown secret": {"none of the given logs has recorded", func(w *world, root *ca) {
			w.secret(3)
			w.dev1(root, bySecret(4))
		}},
		"secret of another device": {"none of the given logs has recorded", func(w *world, root *ca) {
			w.secret(3)
			w.dev1(root, func(i *ledger.Intent) { i.Device, i.Secret = "dev-2", [32]byte{3} })
		}},
		"replaced secret": {"was replaced or dropped", func(w *world, root *ca) {
			w.secret(3)
			w.secret(4)
			w.dev1(root, bySecret(3))
		}},
		"dropped secret": {"was replaced or dropped", func(w *world, root *ca) {
			w.secret(3)
			w.secret(0)
			w.dev1(root, bySecret(3))
		}},
		"expired secret": {"after it had expired", func(w *world, root *ca) {
			w.secret(3)
			w.dev1(root, func(i *ledger.Intent) { i.Secret, i.At = [32]byte{3}, w.now.Add(2*time.Hour) })
		}},
		"used secret": {"which was used", func(w *world, root *ca) {
			w.secret(3)
			w.append(issuedOf(w.dev1(root, bySecret(3))))
			w.secret(3) // the same again stays used
			w.dev1(root, bySecret(3))
		}},
		"secret given again after another": {"", func(w *world, root *ca) {
			w.secret(3)
			w.append(issuedOf(w.dev1(root, bySecret(3))))
			w.secret(4)
			w.secret(3)
			w.dev1(root, bySecret(3))
		}},
		"rollover": {"", func(w *world, root *ca) {
			w.rollover(func(a, b *ca) (*x509.Certificate, *x509.Certificate) { return w.cross(a, b), w.cross(b, a) })
		}},
		"rollover after a compromise": {"", func(w *world, root *ca) {
			w.rollover(func(a, b *ca) (*x509.Certificate, *x509.Certificate) { return w.cross(a, b), nil })
		}},
		"rollover by another root": {"the certificate of \"a\" is not by \"b\"", func(w *world, root *ca) {
			w.rollover(func(a, b *ca) (*x509.Certificate, *x509.Certificate) { return w.cross(a, root), w.cross(b, a) })
		}},
		"rollover of another key": {"is not of the key and name of \"b\"", func(w *world, root *ca) {
			w.rollover(func(a, b *ca) (*x509.Certificate, *x509.Certificate) { return w.cross(a, b), w.cross(root, a) })
		}},
		"rollover of an unknown root": {"none of the given logs has recorded both", func(w *world, root *ca) {
			w.append(ledger.Event{Kind: ledger.EventRollover, Rollover: &ledger.Rollover{Old: "root", New: "c", OldWithNew: root.certificate.Raw, At: w.now}})
		}},
		"rollover without a certificate": {"cannot be read", func(w *world, root *ca) {
			w.append(ledger.Event{Kind: ledger.EventRollover, Rollover: &ledger.Rollover{Old: "root", New: "c", At: w.now}})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "alpha", 0)
			test.write(w, w.authority("root", nil))
			w.head()
			if test.words == "" {
				clean(t, w.config())
			} else {
				finds(t, w.config(), test.words)
			}
		})
	}
}

// One server approves and records secrets, another one issues, and its clock is
// what it is.
func TestTakenOnTwoServers(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		for name, test := range map[string]struct {
			words string
			write func(a, b *world, root *ca)
		}{
			"all that is right": {"", func(a, b *world, root *ca) {
				a.decide(a.queued("e1"), ledger.EnrollmentApproved, "anna")
				a.secret(3)
				first, second := a.dev1(root, approvedBy("e1")), a.dev1(root, bySecret(3))
				b.append(voidedOf(serialOf(first)), voidedOf(serialOf(second)))
				b.append(issuedOf(b.dev1(root, approvedBy("e1"))))
				b.append(issuedOf(b.dev1(root, bySecret(3))))
			}},
			"taken on both": {"enrollment e1 was used for 2 certificates and intents", func(a, b *world, root *ca) {
				a.decide(a.queued("e1"), ledger.EnrollmentApproved, "anna")
				a.append(issuedOf(a.dev1(root, approvedBy("e1"))))
				b.append(issuedOf(b.dev1(root, approvedBy("e1"))))
			}},
			"never approved": {"enrollment e1 was used for a certificate and never approved", func(a, b *world, root *ca) {
				a.queued("e1")
				b.append(issuedOf(b.dev1(root, approvedBy("e1"))))
			}},
			"of another key": {"is not for what enrollment e1 is about", func(a, b *world, root *ca) {
				a.decide(a.queued("e1"), ledger.EnrollmentApproved, "anna")
				b.dev1(root, func(i *ledger.Intent) { i.Enrollment, i.Key = "e1", [32]byte{2} })
			}},
			"secret used on both": {"a one-time secret was used for 2 certificates and intents", func(a, b *world, root *ca) {
				a.secret(3)
				a.append(issuedOf(a.dev1(root, bySecret(3))))
				b.append(issuedOf(b.dev1(root, bySecret(3))))
			}},
		} {
			a, b := newWorld(t, "alpha", 0), newWorld(t, "beta", 0)
			b.now = b.now.Add(skew)
			test.write(a, b, a.authority("root", nil))
			a.head()
			b.head()
			both := a.config()
			both.Logs, both.Heads, both.MaxAge = append(both.Logs, b.dir), append(both.Heads, b.heads), 3*time.Hour
			var err error
			if both.Keys, err = heads.Verifiers(a.key.Verifier(), b.key.Verifier()); err != nil {
				t.Fatal(err)
			}
			copyHeads(t, a.heads, b.heads)
			copyHeads(t, b.heads, a.heads)
			t.Run(name, func(t *testing.T) {
				if test.words == "" {
					clean(t, both)
				} else {
					finds(t, both, test.words)
				}
			})
		}
	}
}
