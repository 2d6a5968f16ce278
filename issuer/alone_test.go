package issuer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// TestAuthorityMadeTwice has two servers, each with keys of its own, make an
// authority of the same name at once: one succeeds, and its certificate is the
// one on record.
func TestAuthorityMadeTwice(t *testing.T) {
	l := newLedger(t)
	servers := make([]*issuer.RA, 2)
	for i := range servers {
		servers[i] = newRA(t, l, func(c *issuer.Config) { c.Keys, c.Server = newKeys(t), fmt.Sprintf("server-%d", i) })
	}
	for round := range 8 {
		name := fmt.Sprintf("root-%d", round)
		spec := issuer.AuthoritySpec{Spec: ca.Spec{Name: name, Subject: pkix.Name{CommonName: name}, Validity: 365 * 24 * time.Hour}, Key: ca.P256}
		made := make([]*ca.Authority, len(servers))
		var wait sync.WaitGroup
		for i, ra := range servers {
			wait.Go(func() {
				for {
					var err error
					made[i], err = ra.CreateAuthority(t.Context(), spec, admin)
					var refusal *issuer.Refusal
					if errors.As(err, &refusal) && refusal.Rule == "hierarchy-busy" {
						continue
					}
					if err != nil && !strings.Contains(err.Error(), "exists already") {
						t.Error(err)
					}
					return
				}
			})
		}
		wait.Wait()
		if (made[0] == nil) == (made[1] == nil) {
			t.Fatalf("%s: made by the first server: %v, by the second: %v", name, made[0] != nil, made[1] != nil)
		}
		winner := made[0]
		if winner == nil {
			winner = made[1]
		}
		records, err := l.Authorities(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records {
			if record.Name == name && !bytes.Equal(record.Certificate, winner.Certificate().Raw) {
				t.Errorf("%s: the certificate on record is not the one that was made", name)
			}
		}
	}
}

// TestTurnTakenOver has a server take so long over a key that another one
// begins: what comes late is not recorded.
func TestTurnTakenOver(t *testing.T) {
	l, now := newLedger(t), time.Now()
	slow := newKeys(t)
	ra := newRA(t, l, func(c *issuer.Config) {
		c.Keys = creating{slow, func() {
			// While the key is made, the lease ends and changes hands.
			if _, err := l.Acquire(t.Context(), "hierarchy", "other", now.Add(time.Hour), time.Minute); err != nil {
				t.Error(err)
			}
		}}
	})
	spec := issuer.AuthoritySpec{Spec: ca.Spec{Name: "late", Subject: pkix.Name{CommonName: "late"}, Validity: 365 * 24 * time.Hour}, Key: ca.P256}
	if _, err := ra.CreateAuthority(t.Context(), spec, admin); !errors.Is(err, ledger.ErrBusy) {
		t.Errorf("creating: %v", err)
	}
	if records, err := l.Authorities(t.Context()); err != nil || len(records) > 0 {
		t.Errorf("recorded: %v, %v", records, err)
	}
}

// creating is a key store that calls made after each key that it has made.
type creating struct {
	issuer.KeyStore
	made func()
}

func (c creating) Create(ctx context.Context, uri, algorithm string) (string, crypto.Signer, error) {
	uri, signer, err := c.KeyStore.Create(ctx, uri, algorithm)
	c.made()
	return uri, signer, err
}
