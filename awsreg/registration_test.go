package awsreg_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

const (
	manifestTable = "mintmark-devices"
	rotationTable = "mintmark-rotation"
)

func idOf(c ledger.Certificate) string { return awsreg.CertificateID(c.DER) }

func arnOf(id string) *string {
	return aws.String("arn:aws:iot:" + region + ":" + first.ID + ":cert/" + id)
}

// policiesOf lists the policies of a certificate.
func (w *world) policiesOf(id string) []string {
	w.t.Helper()
	out := must(w.iot(first).ListAttachedPolicies(w.t.Context(), &iot.ListAttachedPoliciesInput{Target: arnOf(id)}))(w.t)
	var names []string
	for _, p := range out.Policies {
		names = append(names, *p.PolicyName)
	}
	return names
}

func (w *world) setStatus(id string, status types.CertificateStatus) {
	w.t.Helper()
	_, err := w.iot(first).UpdateCertificate(w.t.Context(), &iot.UpdateCertificateInput{CertificateId: aws.String(id), NewStatus: status})
	w.ok(err)
}

// statusOf is empty for a certificate that AWS does not know.
func (w *world) statusOf(id string) types.CertificateStatus {
	w.t.Helper()
	out, err := w.iot(first).DescribeCertificate(w.t.Context(), &iot.DescribeCertificateInput{CertificateId: aws.String(id)})
	if err != nil && strings.Contains(err.Error(), "ResourceNotFound") {
		return ""
	}
	w.ok(err)
	return out.CertificateDescription.Status
}

// want compares the status of certificates at AWS.
func (w *world) want(what string, status types.CertificateStatus, certificates ...ledger.Certificate) {
	w.t.Helper()
	for _, c := range certificates {
		if got := w.statusOf(idOf(c)); got != status {
			w.t.Errorf("%s: %s of %q is %q, want %q", what, c.Serial, c.Device, got, status)
		}
	}
}

const (
	active   = types.CertificateStatusActive
	inactive = types.CertificateStatusInactive
	revoked  = types.CertificateStatusRevoked
)

func TestRegisterDevice(t *testing.T) {
	w, target := fleetWorld(t)
	c := w.issue("press", "press-1")
	w.tell(target, c)
	w.want("registered", active, c)
	if names := w.policiesOf(idOf(c)); !slices.Equal(names, []string{"mintmark-device"}) {
		t.Errorf("policies %v", names)
	}
	thing := must(w.iot(first).DescribeThing(t.Context(), &iot.DescribeThingInput{ThingName: aws.String("press-1")}))(t)
	if aws.ToString(thing.ThingTypeName) != "press" {
		t.Errorf("thing type %q", aws.ToString(thing.ThingTypeName))
	}
	groups := must(w.iot(first).ListThingGroupsForThing(t.Context(), &iot.ListThingGroupsForThingInput{ThingName: aws.String("press-1")}))(t)
	if len(groups.ThingGroups) != 1 || aws.ToString(groups.ThingGroups[0].GroupName) != "hall-2" {
		t.Errorf("groups %v", groups.ThingGroups)
	}
	if entry, err := w.manifest().Entry(t.Context(), idOf(c)); err != nil || entry.CA != w.id("press") {
		t.Errorf("entry %+v, %v", entry, err)
	}
	item := w.item(rotationTable, "press-1")
	if textOf(item, "current") != idOf(c) || item["next"] != nil {
		t.Errorf("rotation %v", item)
	}
	before := w.state()
	w.tell(target, c)
	if w.state() != before {
		t.Error("told again, it changed something")
	}

	// Without a CA, and with a certificate under the same thing from before.
	lone := w.issue("lone", "lone-1")
	w.tell(target, lone)
	w.want("without a CA", active, lone)
	out := must(w.iot(first).DescribeCertificate(t.Context(), &iot.DescribeCertificateInput{CertificateId: aws.String(idOf(lone))}))(t)
	if d := out.CertificateDescription; d.CertificateMode != types.CertificateModeSniOnly || d.CaCertificateId != nil {
		t.Errorf("registered as %s under %v", d.CertificateMode, d.CaCertificateId)
	}

	// A thing of another type is somebody else's.
	must(w.iot(first).CreateThing(t.Context(), &iot.CreateThingInput{ThingName: aws.String("press-2"), ThingTypeName: aws.String("pump")}))(t)
	other := w.issue("press", "press-2")
	errs := w.registrar(first).Deliver(t.Context(), target, w.tasks(target, other))
	if errs[0] == nil || !strings.Contains(errs[0].Error(), `type "pump"`) {
		t.Errorf("another type: %v", errs[0])
	}
	w.want("another type", "", other)
}

func TestRegisterStanding(t *testing.T) {
	w, target := fleetWorld(t)
	held, gone, shut := w.issue("press", "press-1"), w.issue("press", "press-2"), w.issue("press", "press-3")
	early := w.tasks(target, gone)
	w.holdDevice("press-1", ledger.Held)
	w.ok(w.revoke(t.Context(), []ledger.Serial{gone.Serial}))
	w.tell(target, held, shut)
	w.want("held before it was registered", inactive, held)
	w.deliver(target, early)
	w.want("revoked before it was registered", "", gone)

	// Revoked after, and the older task comes once more.
	early = w.tasks(target, shut)
	w.ok(w.revoke(t.Context(), []ledger.Serial{shut.Serial}))
	w.tell(target, shut)
	w.deliver(target, early)
	w.want("revoked", revoked, shut)
	if entry, err := w.manifest().Entry(t.Context(), idOf(shut)); err != nil || entry.State != hook.Revoked {
		t.Errorf("entry %+v, %v", entry, err)
	}

	// What somebody took out of service at AWS is not put back by a repetition.
	by := w.issue("press", "press-4")
	w.tell(target, by)
	w.setStatus(idOf(by), inactive)
	w.tell(target, by)
	w.want("taken out at AWS", inactive, by)

	// A task is about the certificate that is recorded, and none other.
	forged := w.tasks(target, by)
	_, _, other := w.issuers["press"].device(t, "press-4")
	other.Serial = by.Serial
	forged[0].Payload = awsreg.TasksFor([]awsreg.Target{target}, other)[0].Payload
	if errs := w.registrar(first).Deliver(t.Context(), target, forged); errs[0] == nil {
		t.Error("registered a certificate that is not recorded")
	}
	w.want("not recorded", "", other)
}

func TestRotationItems(t *testing.T) {
	w, target := fleetWorld(t)
	now := time.Now().Truncate(time.Second)
	c1 := w.issueLater("line", "pump-1", now.Add(-3*time.Hour))
	c2 := w.issueLater("line", "pump-1", now.Add(-2*time.Hour))
	c3 := w.issueLater("line", "pump-1", now.Add(-time.Hour))
	has := func(what string, current, next ledger.Certificate) {
		t.Helper()
		item := w.item(rotationTable, "pump-1")
		got, want := textOf(item, "current")+" "+textOf(item, "next"), idOf(current)+" "
		if len(next.DER) > 0 {
			want += idOf(next)
		}
		if got != want {
			t.Errorf("%s: rotation item %s, want %s", what, got, want)
		}
	}
	w.tell(target, c1)
	has("first", c1, ledger.Certificate{})
	w.tell(target, c2)
	has("second", c1, c2)
	w.tell(target, c3, c2, c1, c3)
	has("third, and older ones late", c1, c3)

	// The function has promoted it; what is older stays out.
	w.put(rotationTable, hook.Rotating{Thing: "pump-1", Device: "pump-1", Current: idOf(c3), IssuedAt: c3.NotBefore}.Item())
	w.tell(target, c1, c2, c3)
	has("promoted", c3, ledger.Certificate{})

	// Another device must not get the thing of this one.
	w.put(rotationTable, hook.Rotating{Thing: "pump-2", Device: "else", Current: idOf(c3), IssuedAt: c3.NotBefore}.Item())
	other := w.issue("line", "pump-2")
	if errs := w.registrar(first).Deliver(t.Context(), target, w.tasks(target, other)); errs[0] == nil {
		t.Error("two devices are one thing")
	}
}

func TestHold(t *testing.T) {
	w, target := fleetWorld(t)
	ours, lone := w.issue("press", "d-1"), w.issue("lone", "d-1")
	w.tell(target, ours, lone)
	w.put(rotationTable, hook.Rotating{Thing: "d-1", Device: "d-1", Current: idOf(ours), IssuedAt: ours.NotBefore, Next: idOf(lone), NextAt: lone.NotBefore}.Item())
	other := w.issue("press", "d-2")
	w.tell(target, other)
	// One that AWS issued, under the name that the fleet gives the thing.
	api := w.iot(first)
	keys := must(api.CreateKeysAndCertificate(t.Context(), &iot.CreateKeysAndCertificateInput{SetAsActive: true}))(t)
	must(api.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: aws.String("pump-d-1")}))(t)
	must(api.AttachThingPrincipal(t.Context(), &iot.AttachThingPrincipalInput{ThingName: aws.String("pump-d-1"), Principal: keys.CertificateArn}))(t)
	// And one without which it was, before: INACTIVE, and to stay so.
	former := must(api.CreateKeysAndCertificate(t.Context(), &iot.CreateKeysAndCertificateInput{}))(t)
	must(api.AttachThingPrincipal(t.Context(), &iot.AttachThingPrincipalInput{ThingName: aws.String("pump-d-1"), Principal: former.CertificateArn}))(t)
	w.put(rotationTable, hook.Rotating{Thing: "pump-d-1", Device: "d-1", Current: *keys.CertificateId, IssuedAt: time.Now()}.Item())

	for _, state := range []ledger.DeviceState{ledger.Held, ledger.Retired} {
		w.holdDevice("d-1", state)
		for range 2 {
			w.tellDevice(target, "d-1")
		}
		w.want(string(state), inactive, ours, lone)
		w.want(string(state), active, other)
		for _, thing := range []string{"d-1", "pump-d-1"} {
			if textOf(w.item(manifestTable, "held#"+thing), "device") != "d-1" {
				t.Errorf("%s: thing %s is not marked", state, thing)
			}
		}
		if got := w.statusOf(*keys.CertificateId); got != inactive {
			t.Errorf("%s: AWS's is %s", state, got)
		}
		w.holdDevice("d-1", ledger.Expected)
		for range 2 {
			w.tellDevice(target, "d-1")
		}
		w.want("released", active, ours, lone)
		if got := w.statusOf(*keys.CertificateId); got != active {
			t.Errorf("released: AWS's is %s", got)
		}
		if got := w.statusOf(*former.CertificateId); got != inactive {
			t.Errorf("released: the former one is %s", got)
		}
		if w.item(manifestTable, "held#d-1") != nil || w.item(manifestTable, "held#pump-d-1") != nil {
			t.Error("released, and still marked")
		}
	}

	// Revoked while it was held: it does not come back. Nor does what a newer one
	// has replaced.
	w.holdDevice("d-1", ledger.Held)
	w.tellDevice(target, "d-1")
	w.ok(w.revoke(t.Context(), []ledger.Serial{ours.Serial}))
	w.put(rotationTable, hook.Rotating{Thing: "d-1", Device: "d-1", Current: strings.Repeat("ab", 32), IssuedAt: time.Now()}.Item())
	w.holdDevice("d-1", ledger.Expected)
	w.tellDevice(target, "d-1")
	w.want("revoked or replaced meanwhile", inactive, ours, lone)
}
