package server

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/ca/rotation"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// door stands before a service: while it is shut, what comes waits.
type door struct {
	mu   sync.Mutex
	shut chan struct{} // closed when it opens; nil while it is open
	to   http.Handler
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	shut := d.shut
	d.mu.Unlock()
	if shut != nil {
		select {
		case <-shut:
		case <-r.Context().Done():
			return
		}
	}
	d.to.ServeHTTP(w, r)
}

func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = make(chan struct{})
}

func (d *door) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut != nil {
		close(d.shut)
		d.shut = nil
	}
}

// yard is a server whose issuing CA lets devices in at AWS, behind a door, and at DPS.
type yard struct {
	*turner
	hall  *hall
	plant *plant
	door  *door
	dir   string
}

func newYard(t *testing.T) *yard {
	t.Helper()
	sim := startAWS(t)
	behind, err := url.Parse(sim.ControlURL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	y := &yard{door: &door{to: proxy}, plant: &plant{sim: startAzure(t)}, dir: newState(t)}
	front := httptest.NewServer(y.door)
	t.Cleanup(front.Close)
	t.Cleanup(y.door.open)
	y.plant.configure(t, y.dir, y.plant.sim.Addr(), "")
	editConfig(t, y.dir, "anchors: [root]", "anchors: [issuing]")
	editConfig(t, y.dir, "azure:\n", `aws:
  targets:
    - name: line
      account_id: "123456789012"
      region: eu-central-1
      endpoint: `+front.URL+`
      quota_scale: 1000
      cas:
        - {issuer: issuing, mode: DEFAULT, use: jitr}
      jitr: {function: "arn:aws:lambda:eu-central-1:123456789012:function:f", policy: mintmark-device}
azure:
`)
	s := openLocal(t, y.dir, nil)
	y.turner = newTurner(t, s)
	y.hall = &hall{turner: y.turner, sim: sim, things: iot.New(iot.Options{Region: "eu-central-1", BaseEndpoint: aws.String(sim.ControlURL()),
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")})}
	y.plant.local = &local{Server: s, dir: y.dir}
	t.Cleanup(func() { y.Close() })
	if _, err := y.aws.Apply(t.Context(), "line", reconcile.Agreed{}, nil); err != nil {
		t.Fatal(err)
	}
	y.plant.apply(t)
	return y
}

// again is the same server, started once more.
func (y *yard) again(t *testing.T) {
	t.Helper()
	if err := y.Close(); err != nil {
		t.Fatal(err)
	}
	s := openLocal(t, y.dir, nil)
	y.Server, y.plant.Server, y.moves = s, s, s.machine()
}

// atAWS and atDPS are what the clouds have of the issuing CA.
func (y *yard) atAWS(t *testing.T) string {
	t.Helper()
	a, err := y.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	return y.hall.caState(t, a.Certificate())
}

func (y *yard) atDPS(t *testing.T) string {
	t.Helper()
	g, err := y.plant.operator(t).Group(t.Context(), "line-a")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToLower(g.Status)
}

// said reports whether the journal has that line.
func (y *yard) said(t *testing.T, id, step, event string) bool {
	t.Helper()
	entries, err := y.ledger.RotationJournal(t.Context(), id, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Step == step && e.Event == event {
			return true
		}
	}
	return false
}

// compromised is the spec of an emergency of the issuing CA.
var compromised = rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-2", Emergency: true}

// TestCutOffBesideHangingAWS: an AWS that does not answer does not keep DPS from shutting a stolen CA
// out. While AWS is away the emergency stays PLANNED; what DPS was told stands there, also for a
// server that is started again, until AWS has followed.
func TestCutOffBesideHangingAWS(t *testing.T) {
	y := newYard(t)
	r := y.plan(t, compromised)
	y.sign(t, r.ID, rotation.Approved)
	y.plant.tidy(t, "signed")
	y.hall.settled(t, "signed")

	y.door.close()
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	ended := make(chan error, 1)
	go func() {
		_, err := y.moves.Run(ctx, r.ID, rotation.Approved, "alice", nil)
		ended <- err
	}()
	eventually(t, "DPS shuts the CA out while AWS hangs", func() bool { return y.said(t, r.ID, "azure/plant cut-off", "done") })
	if got := y.atDPS(t); got != "disabled" {
		t.Errorf("while AWS hangs, the group is %s", got)
	}
	y.plant.tidy(t, "while AWS hangs")
	hangUp()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "aws/line cut-off: ") || strings.Contains(err.Error(), "azure/plant") {
		t.Errorf("what has failed: %v", err)
	}
	y.door.open()
	if state := y.record(t, r.ID).State; state != string(rotation.Planned) || !y.said(t, r.ID, "aws/line cut-off", "failed") {
		t.Errorf("in %s", state)
	}

	for _, when := range []string{"AWS has failed", "after a restart"} {
		y.plant.tidy(t, rotation.State(when))
		if got := y.atAWS(t); got != "ACTIVE ENABLE" {
			t.Errorf("%s: AWS has it as %q", when, got)
		}
		// Whoever applies what is planned there does what the emergency has begun.
		plan, err := y.aws.Plan(t.Context(), "line")
		if list := differing(plan); err != nil || len(list) != 1 || !strings.Contains(list[0].After, "auto-registration DISABLE") {
			t.Errorf("%s: aws plan: %+v, %v", when, list, err)
		}
		y.again(t)
	}
	// A person may do it there by hand.
	a, err := y.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := y.hall.things.UpdateCACertificate(t.Context(), &iot.UpdateCACertificateInput{
		CertificateId: aws.String(awsreg.CertificateID(a.Certificate().Raw)), NewAutoRegistrationStatus: iottypes.AutoRegistrationStatusDisable}); err != nil {
		t.Fatal(err)
	}
	y.hall.turner = y.turner
	y.hall.settled(t, "shut by hand")
	y.enter(t, r.ID, rotation.Approved)
	if aws, dps := y.atAWS(t), y.atDPS(t); aws != "ACTIVE DISABLE" || dps != "disabled" {
		t.Errorf("shut out, it is %q at AWS, and the group %s", aws, dps)
	}
	y.plant.tidy(t, rotation.Approved)
	y.hall.settled(t, rotation.Approved)
}

// TestCutOffBesideFailingDPS: the other way round, and officers take it back.
func TestCutOffBesideFailingDPS(t *testing.T) {
	y := newYard(t)
	r := y.plan(t, compromised)
	y.sign(t, r.ID, rotation.Approved)
	y.plant.sim.Inject(dpssim.Fault{Status: http.StatusForbidden, Code: 403000, Message: "not now"})
	if _, err := y.moves.Run(t.Context(), r.ID, rotation.Approved, "alice", nil); err == nil || !strings.Contains(err.Error(), "azure/plant cut-off: ") || strings.Contains(err.Error(), "aws/line") {
		t.Errorf("what has failed: %v", err)
	}
	y.plant.sim.ClearFaults()
	y.hall.turner = y.turner
	for _, when := range []string{"DPS has failed", "after a restart"} {
		if got := y.atAWS(t); got != "ACTIVE DISABLE" {
			t.Errorf("%s: AWS has it as %q", when, got)
		}
		y.hall.settled(t, rotation.State(when))
		y.again(t)
	}
	y.sign(t, r.ID, rotation.RolledBack)
	y.back(t, r.ID)
	if aws, dps := y.atAWS(t), y.atDPS(t); aws != "ACTIVE ENABLE" || dps != "enabled" {
		t.Errorf("taken back, it is %q at AWS, and the group %s", aws, dps)
	}
	y.plant.tidy(t, rotation.RolledBack)
	y.hall.settled(t, rotation.RolledBack)
}
