package hook

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	pending = types.CertificateStatusPendingActivation
	active  = types.CertificateStatusActive
	revoked = types.CertificateStatusRevoked
	caID    = strings.Repeat("ca", 32)
)

func newCertificate(t testing.TB, notAfter time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xabcdef01),
		Subject:      pkix.Name{CommonName: "pump-1"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// registry is the little of AWS IoT Core that an activator sees. It fails, or
// performs and then fails, the calls that a test names.
type registry struct {
	mu       sync.Mutex
	pem      string
	status   types.CertificateStatus
	ca       string
	things   map[string]bool
	attached map[string]bool
	calls    []string
	failAt   int  // number of the call that fails, from 1; 0 for none
	persist  bool // whether the failing call takes effect
	race     func(operation string)
}

var errCut = errors.New("connection cut")

func (r *registry) do(operation string, effect func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.race != nil {
		r.race(operation)
	}
	r.calls = append(r.calls, operation)
	if r.failAt == len(r.calls) {
		if r.persist {
			_ = effect()
		}
		return errCut
	}
	return effect()
}

func (r *registry) DescribeCertificate(_ context.Context, in *iot.DescribeCertificateInput, _ ...func(*iot.Options)) (*iot.DescribeCertificateOutput, error) {
	out := &iot.DescribeCertificateOutput{}
	return out, r.do("DescribeCertificate", func() error {
		out.CertificateDescription = &types.CertificateDescription{
			CertificateArn:  aws.String("arn:aws:iot:eu-central-1:123456789012:cert/" + *in.CertificateId),
			CertificatePem:  aws.String(r.pem),
			CaCertificateId: aws.String(r.ca),
			Status:          r.status,
		}
		return nil
	})
}

func (r *registry) CreateThing(_ context.Context, in *iot.CreateThingInput, _ ...func(*iot.Options)) (*iot.CreateThingOutput, error) {
	return &iot.CreateThingOutput{}, r.do("CreateThing", func() error {
		if r.things[*in.ThingName] {
			return &types.ResourceAlreadyExistsException{Message: aws.String("there")}
		}
		r.things[*in.ThingName] = true
		return nil
	})
}

func (r *registry) AttachPolicy(_ context.Context, in *iot.AttachPolicyInput, _ ...func(*iot.Options)) (*iot.AttachPolicyOutput, error) {
	return &iot.AttachPolicyOutput{}, r.do("AttachPolicy", func() error {
		r.attached["policy "+*in.PolicyName] = true
		return nil
	})
}

func (r *registry) AttachThingPrincipal(_ context.Context, in *iot.AttachThingPrincipalInput, _ ...func(*iot.Options)) (*iot.AttachThingPrincipalOutput, error) {
	return &iot.AttachThingPrincipalOutput{}, r.do("AttachThingPrincipal", func() error {
		r.attached["thing "+*in.ThingName] = true
		return nil
	})
}

func (r *registry) UpdateCertificate(_ context.Context, in *iot.UpdateCertificateInput, _ ...func(*iot.Options)) (*iot.UpdateCertificateOutput, error) {
	return &iot.UpdateCertificateOutput{}, r.do("UpdateCertificate", func() error {
		if r.status == revoked {
			return &types.CertificateStateException{Message: aws.String("revoked")}
		}
		if in.NewStatus == active && (len(r.things) == 0 || len(r.attached) != 2) {
			panic("active before it is attached")
		}
		r.status = in.NewStatus
		return nil
	})
}

// manifest is a Store in memory.
type manifest struct {
	entry    *Entry
	head     *Head
	entryErr error
	headErr  error
	held     func() (bool, error) // nil for no
	// signers are the authorities of registrations by their ids.
	signers   map[string]string
	signerErr error
}

func (m *manifest) Held(_ context.Context, thing, device string) (bool, error) {
	if thing != "pump-1" || device != "pump 1" {
		return false, fmt.Errorf("asked about thing %q of device %q", thing, device)
	}
	if m.held == nil {
		return false, nil
	}
	return m.held()
}

func (m *manifest) Signer(_ context.Context, caID string) (string, error) {
	return m.signers[caID], m.signerErr
}

func (m *manifest) Entry(context.Context, string) (Entry, error) {
	switch {
	case m.entryErr != nil:
		return Entry{}, m.entryErr
	case m.entry == nil:
		return Entry{}, ErrUnknown
	}
	return *m.entry, nil
}

func (m *manifest) Head(context.Context) (Head, error) {
	switch {
	case m.headErr != nil:
		return Head{}, m.headErr
	case m.head == nil:
		return Head{}, ErrUnknown
	}
	return *m.head, nil
}

type fixture struct {
	event    Event
	registry *registry
	manifest *manifest
	log      *bytes.Buffer
	*Activator
}

func newFixture(t testing.TB) *fixture {
	c := newCertificate(t, now.Add(365*24*time.Hour))
	certificateID := fmt.Sprintf("%x", sha256.Sum256(c.Raw))
	f := &fixture{
		event: Event{CertificateID: certificateID, CACertificateID: caID, CertificateStatus: PendingActivation},
		registry: &registry{
			pem:    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})),
			status: pending, ca: caID, things: map[string]bool{}, attached: map[string]bool{},
		},
		manifest: &manifest{
			entry: &Entry{CertificateID: certificateID, Device: "pump 1", Thing: "pump-1", Serial: "abcdef01", Issuer: "factory", CA: caID, NotAfter: c.NotAfter, State: Valid},
			head:  &Head{PushedAt: now.Add(-time.Minute), Server: "a", MaxAge: 24 * time.Hour},
		},
		log: &bytes.Buffer{},
	}
	f.Activator = &Activator{
		IoT: f.registry, Store: f.manifest, Policy: "device",
		Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(f.log, nil)),
	}
	return f
}

func TestDecisions(t *testing.T) {
	other := newCertificate(t, now.Add(time.Hour))
	otherPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Raw}))
	tests := []struct {
		name   string
		change func(*fixture)
		status types.CertificateStatus // afterwards
		reason Reason                  // of the refusal, empty for none
		fails  bool                    // with something that is no refusal
	}{
		{"expected", func(*fixture) {}, active, "", false},
		{"thing is there already", func(f *fixture) { f.registry.things["pump-1"] = true }, active, "", false},
		{"head sets no maximum age", func(f *fixture) { f.manifest.head.MaxAge = 0 }, active, "", false},

		{"already active", func(f *fixture) { f.registry.status = active }, active, "", false},
		// Out of service by somebody's decision at AWS: stays so.
		{"inactive", func(f *fixture) { f.registry.status = types.CertificateStatusInactive }, types.CertificateStatusInactive, "", false},
		{"revoked at AWS only", func(f *fixture) { f.registry.status = revoked }, revoked, "", false},

		{"revoked", func(f *fixture) { f.manifest.entry.State = Revoked }, revoked, "", false},
		{"revoked, manifest stale", func(f *fixture) { f.manifest.entry.State = Revoked; f.manifest.head = nil }, revoked, "", false},
		{"revoked, active at AWS", func(f *fixture) { f.manifest.entry.State = Revoked; f.registry.status = active }, revoked, "", false},
		{"revoked on both sides", func(f *fixture) { f.manifest.entry.State = Revoked; f.registry.status = revoked }, revoked, "", false},

		{"not in the manifest", func(f *fixture) { f.manifest.entry = nil }, pending, NotInManifest, false},
		{"manifest without head", func(f *fixture) { f.manifest.head = nil }, pending, StaleManifest, false},
		{"manifest too old", func(f *fixture) { f.manifest.head.PushedAt = now.Add(-25 * time.Hour) }, pending, StaleManifest, false},
		{"older than the head allows", func(f *fixture) {
			f.manifest.head.MaxAge = time.Hour
			f.manifest.head.PushedAt = now.Add(-2 * time.Hour)
		}, pending, StaleManifest, false},
		{"older than the function allows", func(f *fixture) {
			f.MaxAge = time.Hour
			f.manifest.head.PushedAt = now.Add(-2 * time.Hour)
		}, pending, StaleManifest, false},
		{"head in the future", func(f *fixture) { f.manifest.head.PushedAt = now.Add(time.Hour) }, pending, StaleManifest, false},
		{"head a little in the future", func(f *fixture) { f.manifest.head.PushedAt = now.Add(time.Minute) }, active, "", false},

		{"held", func(f *fixture) { f.manifest.held = func() (bool, error) { return true, nil } }, pending, Held, false},
		{"hold unreadable", func(f *fixture) { f.manifest.held = func() (bool, error) { return false, errCut } }, pending, "", true},
		{"revoked and held", func(f *fixture) {
			f.manifest.entry.State = Revoked
			f.manifest.held = func() (bool, error) { return true, nil }
		}, revoked, "", false},
		{"expired", func(f *fixture) { f.manifest.entry.NotAfter = now.Add(-time.Second) }, pending, Expired, false},
		{"another certificate under the id", func(f *fixture) { f.registry.pem = otherPEM }, pending, WrongCertificate, false},
		{"no certificate", func(f *fixture) { f.registry.pem = "" }, pending, WrongCertificate, false},
		{"another serial number", func(f *fixture) { f.manifest.entry.Serial = "01" }, pending, WrongCertificate, false},
		{"the authority's other registration", func(f *fixture) {
			f.manifest.signers = map[string]string{f.event.CACertificateID: f.manifest.entry.Issuer}
			f.manifest.entry.CA = strings.Repeat("00", 32)
		}, active, "", false},
		{"a registration of another authority", func(f *fixture) {
			f.manifest.signers = map[string]string{f.event.CACertificateID: "another"}
			f.manifest.entry.CA = strings.Repeat("00", 32)
		}, pending, WrongCA, false},
		{"the other registration, and another CA at AWS", func(f *fixture) {
			f.registry.ca = strings.Repeat("00", 32)
			f.manifest.signers = map[string]string{f.registry.ca: f.manifest.entry.Issuer}
		}, pending, WrongCA, false},
		{"registrations unreadable", func(f *fixture) {
			f.manifest.signerErr, f.manifest.entry.CA = errCut, strings.Repeat("00", 32)
		}, pending, "", true},
		{"another CA in the manifest", func(f *fixture) { f.manifest.entry.CA = strings.Repeat("00", 32) }, pending, WrongCA, false},
		{"another CA in the event", func(f *fixture) { f.event.CACertificateID = strings.Repeat("00", 32) }, pending, WrongCA, false},
		{"another CA at AWS", func(f *fixture) { f.registry.ca = strings.Repeat("00", 32) }, pending, WrongCA, false},

		{"manifest unreadable", func(f *fixture) { f.manifest.entryErr = errCut }, pending, "", true},
		{"head unreadable", func(f *fixture) { f.manifest.headErr = errCut }, pending, "", true},
		{"event without certificate", func(f *fixture) { f.event.CertificateID = "" }, pending, "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			test.change(f)
			err := f.Handle(t.Context(), f.event)
			var refusal *Refusal
			switch isRefusal := errors.As(err, &refusal); {
			case test.reason != "":
				if !isRefusal || refusal.Reason != test.reason {
					t.Errorf("want a refusal for %s, got %v", test.reason, err)
				}
				if !strings.Contains(f.log.String(), f.event.CertificateID) || !strings.Contains(f.log.String(), "reason="+string(test.reason)) {
					t.Errorf("certificate and reason are not in the log: %s", f.log)
				}
			case test.fails:
				if err == nil || isRefusal {
					t.Errorf("want a failure, got %v", err)
				}
			case err != nil:
				t.Errorf("unexpected: %v", err)
			}
			if test.reason == NotInManifest && !strings.Contains(f.log.String(), "abcdef01") {
				t.Errorf("the serial number is not in the log: %s", f.log)
			}
			if f.registry.status != test.status {
				t.Errorf("status is %s, want %s", f.registry.status, test.status)
			}
			if test.status == pending && len(f.registry.things)+len(f.registry.attached) != 0 {
				t.Errorf("something was made for a certificate that was refused: %v", f.registry.calls)
			}
		})
	}
}

// TestCutOff cuts each call off, without and with its effect, and repeats the
// event as Lambda does.
func TestCutOff(t *testing.T) {
	for call := 1; call <= 5; call++ {
		for _, persist := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d, effect %t", call, persist), func(t *testing.T) {
				f := newFixture(t)
				f.registry.failAt, f.registry.persist = call, persist
				if err := f.Handle(t.Context(), f.event); !errors.Is(err, errCut) {
					t.Fatalf("want the failure, got %v", err)
				}
				if f.registry.status == active && !(call == 5 && persist) {
					t.Fatalf("active after %v", f.registry.calls)
				}
				if err := f.Handle(t.Context(), f.event); err != nil {
					t.Fatal(err)
				}
				if f.registry.status != active || len(f.registry.attached) != 2 {
					t.Errorf("not active: %s, %v", f.registry.status, f.registry.attached)
				}
			})
		}
	}
}

func TestConcurrent(t *testing.T) {
	f := newFixture(t)
	f.Logger = nil
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := f.Handle(context.Background(), f.event); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if f.registry.status != active {
		t.Errorf("status is %s", f.registry.status)
	}
	if last := f.registry.calls[len(f.registry.calls)-1]; !slices.Contains([]string{"UpdateCertificate", "DescribeCertificate"}, last) {
		t.Errorf("last call is %s", last)
	}
}

// TestHeldMeanwhile holds the device while its certificate is being activated:
// too late for the first look, and too early for whoever holds to find it ACTIVE.
func TestHeldMeanwhile(t *testing.T) {
	f := newFixture(t)
	asked := 0
	f.manifest.held = func() (bool, error) { asked++; return asked > 1, nil }
	var refusal *Refusal
	if err := f.Handle(t.Context(), f.event); !errors.As(err, &refusal) || refusal.Reason != Held {
		t.Errorf("got %v", err)
	}
	if f.registry.status != types.CertificateStatusInactive {
		t.Errorf("status is %s", f.registry.status)
	}
}

// TestRevokedMeanwhile revokes between any two calls of an activation, after the
// manifest was read: mark, then REVOKED.
func TestRevokedMeanwhile(t *testing.T) {
	for _, before := range []string{"CreateThing", "AttachPolicy", "AttachThingPrincipal", "UpdateCertificate"} {
		t.Run(before, func(t *testing.T) {
			f := newFixture(t)
			f.registry.race = func(operation string) {
				if operation == before {
					f.registry.status = revoked
				}
			}
			if err := f.Handle(t.Context(), f.event); err == nil {
				t.Error("activating a revoked certificate succeeded")
			}
			if f.registry.status != revoked {
				t.Errorf("status is %s", f.registry.status)
			}
		})
	}
}
