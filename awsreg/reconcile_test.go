package awsreg_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"mintmark/awsreg"
	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// drop deletes an item.
func (w *world) drop(table, key string) {
	w.t.Helper()
	_, err := w.dynamo().DeleteItem(w.t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(table), Key: hook.Key(key)})
	w.ok(err)
}

func (w *world) reconcile(target awsreg.Target, adopt bool) awsreg.Drift {
	w.t.Helper()
	drift, err := w.registrar(first).Reconcile(w.t.Context(), target, adopt)
	w.ok(err)
	return drift
}

// summary is one line a difference, sorted: what it is about, and how its text
// begins.
func summary(differences []awsreg.Difference, names map[string]string) []string {
	lines := []string{}
	for _, d := range differences {
		text, _, _ := strings.Cut(d.Text, ",")
		text, _, _ = strings.Cut(text, ":")
		name := names[d.CertificateID]
		if name == "" {
			name = "?"
		}
		lines = append(lines, fmt.Sprintf("%s %s/%s: %s", name, d.Here, d.There, text))
	}
	slices.Sort(lines)
	return lines
}

func TestReconcile(t *testing.T) {
	w, target := fleetWorld(t)
	names := make(map[string]string)
	press := func(name string) ledger.Certificate {
		c := w.issue("press", name)
		names[idOf(c)] = name
		return c
	}
	fine := press("fine")
	gone, back, missing, byHand, theirs, free, old, next := press("gone"), press("held"), press("missing"), press("by-hand"), press("theirs"), press("released"), press("old"), press("next")
	w.tell(target, fine, gone, back, byHand, theirs, free, old)
	w.order("wo-1")
	w.order("wo-2")
	claim, shut := w.issueClaim("wo-1"), w.issueClaim("wo-2")
	names[idOf(claim)], names[idOf(shut)] = "claim", "shut"
	w.tell(target, claim, shut)
	w.tellOrder(target, "wo-1")
	w.tellOrder(target, "wo-2")
	if drift := w.reconcile(target, false); len(drift.Repaired) != 2 {
		// missing and next were not told: that is drift, and repaired.
		t.Fatalf("at first: %+v", drift)
	}
	w.want("missing", active, missing, next)
	quiet := w.reconcile(target, false)
	if len(quiet.Repaired)+len(quiet.Adopted)+len(quiet.Left) != 0 || quiet.Checked != 11 || quiet.Target != "line-a" {
		t.Fatalf("nothing is wrong: %+v", quiet)
	}

	// Everything goes wrong at once.
	w.ok(w.revoke(t.Context(), []ledger.Serial{gone.Serial}))
	w.holdDevice("held", ledger.Held)
	w.holdDevice("released", ledger.Held)
	w.tellDevice(target, "released")
	w.holdDevice("released", ledger.Expected)
	mark := hook.HeldItem("released", "released") // a release that was cut off
	mark["releasing"] = &dynamotypes.AttributeValueMemberBOOL{Value: true}
	w.put(manifestTable, mark)
	w.setStatus(idOf(byHand), inactive)
	w.setStatus(idOf(theirs), revoked)
	w.setStatus(idOf(old), inactive)
	w.put(rotationTable, hook.Rotating{Thing: "old", Device: "old", Current: strings.Repeat("ab", 32), IssuedAt: time.Now()}.Item())
	w.setStatus(idOf(claim), inactive)
	w.changeOrder("wo-2", ledger.OrderClosed)
	_, _, alien := w.issuers["press"].device(t, "alien")
	names[idOf(alien)] = "alien"
	must(w.iot(first).RegisterCertificate(t.Context(), &iot.RegisterCertificateInput{
		CertificatePem: aws.String(pemText(alien.DER)), CaCertificatePem: aws.String(pemText(w.issuers["press"].Certificate.Raw)), Status: active,
	}))(t)
	// What AWS issued to a device that is held, and what a lost answer left.
	api := w.iot(first)
	keys := must(api.CreateKeysAndCertificate(t.Context(), &iot.CreateKeysAndCertificateInput{SetAsActive: true}))(t)
	must(api.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: aws.String("pump-held")}))(t)
	must(api.AttachThingPrincipal(t.Context(), &iot.AttachThingPrincipalInput{ThingName: aws.String("pump-held"), Principal: keys.CertificateArn}))(t)
	must(api.AttachPolicy(t.Context(), &iot.AttachPolicyInput{PolicyName: aws.String("pumps-device"), Target: keys.CertificateArn}))(t)
	stray := must(api.CreateKeysAndCertificate(t.Context(), &iot.CreateKeysAndCertificateInput{}))(t)
	bare := must(api.CreateKeysAndCertificate(t.Context(), &iot.CreateKeysAndCertificateInput{SetAsActive: true}))(t)
	must(api.AttachPolicy(t.Context(), &iot.AttachPolicyInput{PolicyName: aws.String("pumps-claim"), Target: bare.CertificateArn}))(t)
	names[*keys.CertificateId], names[*stray.CertificateId], names[*bare.CertificateId] = "aws-held", "stray", "bare"

	same := func(what string, got []awsreg.Difference, want ...string) {
		t.Helper()
		if lines := summary(got, names); !slices.Equal(lines, want) {
			t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	}
	drift := w.reconcile(target, false)
	left := []string{
		"alien not in ledger/ACTIVE: it was not issued by this server",
		"bare not in ledger/ACTIVE: it has a claim policy",
		"by-hand valid/INACTIVE: somebody took it out of service at AWS",
		"claim valid/INACTIVE: somebody took the claim of work order \"wo-1\" out of service at AWS",
		"stray not in ledger/INACTIVE: issued by AWS",
		"theirs valid/REVOKED: somebody revoked it at AWS",
	}
	same("left", drift.Left, left...)
	same("repaired", drift.Repaired,
		"gone revoked/ACTIVE: set REVOKED",
		"held valid/ACTIVE: set INACTIVE",
		"released valid/INACTIVE: set ACTIVE",
		"shut valid/ACTIVE: claim of work order \"wo-2\"",
	)
	if len(drift.Adopted) != 0 {
		t.Errorf("adopted %v", drift.Adopted)
	}
	w.want("revoked here", revoked, gone)
	w.want("held here, taken out there, or replaced", inactive, back, byHand, old, shut, claim)
	w.want("in force", active, fine, missing, free, next)
	if got := w.statusOf(*keys.CertificateId); got != inactive {
		t.Errorf("AWS's certificate of a held device is %s", got)
	}
	alienFound := drift.Left[slices.IndexFunc(drift.Left, func(d awsreg.Difference) bool { return d.CertificateID == idOf(alien) })]
	if alienFound.Serial != alien.Serial || alienFound.Device != "alien" {
		t.Errorf("alien %+v", alienFound)
	}

	// Adopting: what AWS has REVOKED is revoked here too, as far as that goes.
	drift = w.reconcile(target, true)
	same("adopted", drift.Adopted, "theirs valid/REVOKED: revoked here")
	same("left then", drift.Left, left[:len(left)-1]...)
	if c, err := w.ledger().Certificate(t.Context(), theirs.Serial); err != nil || c.State != ledger.Revoked {
		t.Errorf("theirs is %s here, %v", c.State, err)
	}
	if drift = w.reconcile(target, true); len(drift.Repaired)+len(drift.Adopted) != 0 {
		t.Errorf("still wrong: %+v", drift)
	}
}

// What came by the certificate provider is under an issuer that is no CA of the
// target; its revocations are told all the same.
func TestProvided(t *testing.T) {
	w, target := fleetWorld(t)
	target.Provider = everything("").Provider
	told, missed := w.issue("older", "d-1"), w.issue("older", "d-2")
	for _, c := range []ledger.Certificate{told, missed} {
		must(w.iot(first).RegisterCertificateWithoutCA(t.Context(), &iot.RegisterCertificateWithoutCAInput{CertificatePem: aws.String(pemText(c.DER)), Status: active}))(t)
	}
	w.ok(w.revoke(t.Context(), []ledger.Serial{told.Serial}))
	w.tellAll(target)
	w.want("revoked", revoked, told)
	w.want("not revoked", active, missed)
	w.ok(w.revoke(t.Context(), []ledger.Serial{missed.Serial}))
	if drift := w.reconcile(target, false); len(drift.Repaired) != 1 || drift.Repaired[0].CertificateID != idOf(missed) {
		t.Errorf("drift %+v", drift)
	}
	w.want("found", revoked, missed)
}

// Many certificates on many pages, with a bound on what is reported.
func TestReconcileMany(t *testing.T) {
	w, target := fleetWorld(t)
	target.CAs = target.CAs[2:3]
	ca, key := w.issuers["press"], newKey(t)
	const n = 1300
	var records []ledger.Certificate
	for i := range n {
		records = append(records, ca.deviceWith(t, fmt.Sprintf("d-%04d", i), key))
	}
	w.record(records[:100]...)
	for _, c := range records {
		must(w.iot(first).RegisterCertificate(t.Context(), &iot.RegisterCertificateInput{
			CertificatePem: aws.String(pemText(c.DER)), CaCertificatePem: aws.String(pemText(ca.Certificate.Raw)), Status: active,
		}))(t)
	}
	drift := w.reconcile(target, false)
	if drift.Checked != n || len(drift.Left) != 1001 || drift.Left[1000].Text != "and 200 more" {
		t.Errorf("checked %d, left %d", drift.Checked, len(drift.Left))
	}
	w.record(records[100:]...)
	if drift = w.reconcile(target, false); drift.Checked != n || len(drift.Left) != 0 {
		t.Errorf("checked %d, left %+v", drift.Checked, drift.Left)
	}

	// A limit on adoptions is the server's, and its refusal is reported.
	w.setStatus(idOf(records[7]), revoked)
	w.revoking = func(context.Context, []ledger.Serial) error { return errors.New("too many at once") }
	drift = w.reconcile(target, true)
	if len(drift.Adopted) != 0 || len(drift.Left) != 1 || !strings.Contains(drift.Left[0].Text, "too many at once") {
		t.Errorf("%+v", drift)
	}

	// Cut off: an error, with what was found by then.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.registrar(first).Reconcile(ctx, target, false); err == nil {
		t.Error("reconciled without time")
	}
}

// TestReconcileRegisteredWithoutCA: a certificate that was registered before its
// CA was is not listed under the CA, and has the state that it has.
func TestReconcileRegisteredWithoutCA(t *testing.T) {
	w, target := fleetWorld(t)
	target.CAs = target.CAs[2:3]
	c := w.issuers["press"].deviceWith(t, "d-1", newKey(t))
	w.record(c)
	must(w.iot(first).RegisterCertificateWithoutCA(t.Context(), &iot.RegisterCertificateWithoutCAInput{
		CertificatePem: aws.String(pemText(c.DER)), Status: inactive,
	}))(t)
	for range 2 {
		drift := w.reconcile(target, false)
		if len(drift.Repaired) != 0 || len(drift.Left) != 1 || drift.Left[0].There != "INACTIVE" {
			t.Errorf("repaired %+v, left %+v", drift.Repaired, drift.Left)
		}
	}
	w.setStatus(idOf(c), active)
	if drift := w.reconcile(target, false); len(drift.Repaired)+len(drift.Left) != 0 {
		t.Errorf("repaired %+v, left %+v", drift.Repaired, drift.Left)
	}
}
