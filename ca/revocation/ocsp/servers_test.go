package ocsp_test

import (
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"mintmark/internal/ledger"
	"mintmark/internal/pgtest"
)

// TestTwoServers has two servers answer from one PostgreSQL, each by a responder of its own:
// what one of them revokes, the other does not call good for longer than five seconds.
func TestTwoServers(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	first := &world{ledger: openLedger(t, "first", url), keys: &heldKeys{kind: "P-256", made: map[string]signer{}}}
	first.ra = first.newRA(t, "first")
	first.createBoth(t)
	first.responder = first.newResponder(nil)
	second := &world{ledger: openLedger(t, "second", url), keys: first.keys}
	second.ra = second.newRA(t, "second")
	second.responder = second.newResponder(nil)
	run(t, first.responder)
	run(t, second.responder)

	issuing := first.authority(t, "issuing")
	device := first.enroll(t, "dev-1")
	var signers []string
	for _, w := range []*world{first, second} {
		for range 2 {
			answer := mustAsk(t, w.responder, device, issuing, xocsp.Good)
			signers = append(signers, string(answer.Certificate.Raw))
		}
		if n := kept(t, w.responder); n != 1 {
			t.Errorf("%d answers are kept", n)
		}
	}
	if signers[0] != signers[1] || signers[2] != signers[3] || signers[0] == signers[2] {
		t.Error("each server has a responder of its own, and one only")
	}
	first.revoke(t, device, ledger.KeyCompromise)
	first.responder.Wake()
	began := time.Now()
	for _, w := range []*world{first, second} {
		eventually(t, "it is revoked", func() bool { return mustAskAny(t, w, device, issuing) == xocsp.Revoked })
	}
	t.Logf("both after %v", time.Since(began).Round(time.Millisecond))
	if answer := mustAsk(t, second.responder, device, issuing, xocsp.Revoked); answer.RevocationReason != xocsp.KeyCompromise {
		t.Errorf("reason %d", answer.RevocationReason)
	}
}
