package server

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/ledger"
	"mintmark/issuer"

	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// api calls a server's administrative API as the one who runs the test.
func api(s *Server) *admin.Client { return admin.New(admin.InProcess(s.Admin())) }

// where is what a server says of a revoked certificate.
func where(t *testing.T, s *Server, serial ledger.Serial) admin.RevokedWhere {
	t.Helper()
	c, err := api(s).Certificate(t.Context(), string(serial))
	if err != nil || c.Revocation == nil {
		t.Fatalf("%+v, %v", c, err)
	}
	return *c.Revocation
}

func told(list []admin.Told, name string) admin.Told {
	if i := slices.IndexFunc(list, func(one admin.Told) bool { return one.Name == name }); i >= 0 {
		return list[i]
	}
	return admin.Told{}
}

// TestRevokedEverywhere revokes by one call while Azure is away: the CRL, the place of CRLs
// and OCSP have it in time, the state says that Azure has not and why, and once Azure is back
// the device is shut out there, too.
func TestRevokedEverywhere(t *testing.T) {
	p := &plant{sim: startAzure(t)}
	dir := newState(t)
	p.configure(t, dir, p.sim.Addr(), "")
	editConfig(t, dir, "server: mintmark\n", "server: mintmark\nocsp: {enabled: true}\n")
	editConfig(t, dir, "profiles:\n", "crl: {publish: [{dir: published}]}\nprofiles:\n")
	if err := os.Mkdir(filepath.Join(dir, "published"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.local = serveLocal(t, dir, nil)
	p.apply(t)
	d := newDevice(t, "press-1")
	c := p.enroll(t, "line", d)
	if r := p.register(t, d, c); r.Status != "assigned" {
		t.Fatalf("%+v", r)
	}
	serial := issuer.SerialOf(c.Leaf.SerialNumber)
	p.sim.Inject(dpssim.Fault{Status: http.StatusServiceUnavailable})
	start := time.Now()
	if done, err := api(p.Server).Revoke(t.Context(), admin.Revocation{Serial: string(serial), Reason: "keyCompromise"}); err != nil || done.Count != 1 || done.Warning != "" {
		t.Fatalf("%+v, %v", done, err)
	}
	if crl := where(t, p.Server, serial).CRL; crl.State != admin.CRLListed || time.Since(start) > time.Minute {
		t.Errorf("after %v the CRL: %+v", time.Since(start), crl)
	}
	if d := eventually(t, "OCSP has it", func() bool { return where(t, p.Server, serial).OCSP.State == admin.ToldDone }); d > 5*time.Second {
		t.Errorf("OCSP has it after %v", d)
	}
	if d := eventually(t, "Azure was asked", func() bool {
		one := told(where(t, p.Server, serial).Targets, "azure/plant")
		return one.State == admin.ToldPending && one.Attempts > 0 && one.Error != "" && one.Since != nil && one.Next != nil
	}); d > 30*time.Second {
		t.Errorf("Azure was asked and had failed after %v", d)
	}
	eventually(t, "the directory has it", func() bool {
		one := told(where(t, p.Server, serial).Places, "dir published")
		return one.State == admin.ToldDone
	})
	if where(t, p.Server, serial).Complete {
		t.Error("it is said to be revoked everywhere")
	}
	status, err := api(p.Server).Status(t.Context())
	if err != nil || len(status.Outstanding) != 1 || status.Outstanding[0].Where != "azure/plant" || status.Outstanding[0].Count != 1 || status.Outstanding[0].Since.IsZero() {
		t.Errorf("the status has %+v, %v", status.Outstanding, err)
	}
	p.sim.ClearFaults()
	eventually(t, "it is revoked everywhere", func() bool { return where(t, p.Server, serial).Complete })
	if r := p.register(t, d, c); r.HTTP != http.StatusUnauthorized {
		t.Errorf("the revoked device: %+v", r)
	}
	if left, err := p.outstanding(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("outstanding: %+v, %v", left, err)
	}
}

// TestRevokedAtAWS: what AWS does not take waits, is counted with its age, and is an alarm
// after minutes; a hold is shown like a revocation.
func TestRevokedAtAWS(t *testing.T) {
	s, things := rehearsal(t)
	one, two := enrollTold(t, s, things, "one"), enrollTold(t, s, things, "two")
	inject(t, s, `{"operation":"UpdateCertificate","every":1,"code":"UnauthorizedException","status":401}`)
	long := s.ra.Now().Add(-10 * time.Minute)
	if _, err := s.ledger.Revoke(t.Context(), ledger.Selector{Serial: one.Serial}, ledger.KeyCompromise, "test", long, s.ra.Tasks); err != nil {
		t.Fatal(err)
	}
	if _, err := api(s).HoldDevice(t.Context(), "two", "test"); err != nil {
		t.Fatal(err)
	}
	s.aws.Wake()
	held := func() admin.Told {
		t.Helper()
		d, err := api(s).Device(t.Context(), "two")
		if err != nil {
			t.Fatal(err)
		}
		return told(d.Targets, "aws/line")
	}
	eventually(t, "both were tried", func() bool {
		revoked := told(where(t, s, one.Serial).Targets, "aws/line")
		return revoked.Attempts > 0 && strings.Contains(revoked.Error, "Unauthorized") && held().Attempts > 0
	})
	list, err := s.outstanding(t.Context())
	i := slices.IndexFunc(list, func(o admin.Outstanding) bool { return o.Where == "aws/line" })
	if err != nil || i < 0 || list[i].Count != 2 || !list[i].Since.Before(long.Add(time.Second)) {
		t.Errorf("outstanding: %+v, %v", list, err)
	}
	if err := s.tellLate(t.Context()); err != nil || !s.shutting.late["aws/line"] {
		t.Errorf("nobody is told that it is late: %v", err)
	}
	metrics := scrapeOf(t, newShuttingCollector(s))
	if !strings.Contains(metrics, `revocations_outstanding where="aws/line" many`) || !strings.Contains(metrics, `revocations_outstanding where="crl/root" 0`) {
		t.Errorf("metrics:\n%s", metrics)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.config.AWS.Targets[0].Endpoint+"/_sim/faults", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("%v, %v", answer, err)
	}
	answer.Body.Close()
	awaitStatus(t, things, one, iottypes.CertificateStatusRevoked)
	awaitStatus(t, things, two, iottypes.CertificateStatusInactive)
	eventually(t, "nothing is left to tell AWS", func() bool {
		return told(where(t, s, one.Serial).Targets, "aws/line").State == admin.ToldDone && held().State == admin.ToldDone
	})
	if err := s.tellLate(t.Context()); err != nil || s.shutting.late["aws/line"] {
		t.Errorf("it is still late: %v", err)
	}
}

// TestRevokeBulk revokes many while others are issued: all are on the CRL, OCSP has
// seen them, and issuance goes on in between. MINTMARK_LONG makes it 10,000.
func TestRevokeBulk(t *testing.T) {
	n := 500
	if os.Getenv("MINTMARK_LONG") != "" {
		n = 10_000
	}
	dir := newState(t)
	editConfig(t, dir, "server: mintmark\n", "server: mintmark\nocsp: {enabled: true}\n")
	s := serveLocal(t, dir, nil)
	enroll := func(name, requester string) (issuer.Answer, error) {
		return s.ra.Enroll(t.Context(), issuer.Request{
			Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", CSR: newDevice(t, name).csr, Requester: ledger.Requester{Kind: "admin", Name: requester},
		})
	}
	last := make([]ledger.Serial, 8)
	var wait sync.WaitGroup
	for worker := range last {
		wait.Go(func() {
			for i := worker; i < n; i += len(last) {
				answer, err := enroll(fmt.Sprintf("press-%d", i), "line")
				if err != nil {
					t.Error(err)
					return
				}
				last[worker] = answer.Serial
			}
		})
	}
	wait.Wait()
	type outcome struct {
		done issuer.RevokedAll
		err  error
		took time.Duration
	}
	ended := make(chan outcome, 1)
	go func() {
		start := time.Now()
		done, err := s.ra.RevokeAll(t.Context(), ledger.Selector{Requester: "line", Most: n}, ledger.KeyCompromise, "test")
		ended <- outcome{done, err, time.Since(start)}
	}()
	var latencies []time.Duration
	var got outcome
	for i := 0; got.took == 0; i++ {
		start := time.Now()
		if _, err := enroll(fmt.Sprintf("other-%d", i), "other"); err != nil {
			t.Fatal(err)
		}
		latencies = append(latencies, time.Since(start))
		select {
		case got = <-ended:
		default:
		}
	}
	if got.err != nil || len(got.done.Serials) != n || !slices.IsSorted(got.done.Serials) || !slices.Equal(got.done.Issuers, []string{"issuing"}) {
		t.Fatalf("revoked %d, CRLs of %v: %v", len(got.done.Serials), got.done.Issuers, got.err)
	}
	slices.Sort(latencies)
	t.Logf("%d revoked in %v; meanwhile %d issued, p50 %v, p99 %v, longest %v", n, got.took, len(latencies),
		latencies[len(latencies)/2], latencies[len(latencies)*99/100], latencies[len(latencies)-1])
	for _, serial := range last {
		eventually(t, "it is revoked everywhere", func() bool { return where(t, s.Server, serial).Complete })
	}
	eventually(t, "all are on the CRL", func() bool {
		waits, err := s.ledger.RevocationsSince(t.Context())
		return err == nil && waits[ledger.CRLName{Issuer: "issuing"}] == 0
	})
	page, err := s.ledger.Certificates(t.Context(), ledger.Query{Requester: "other", State: ledger.Revoked})
	if err != nil || len(page.Certificates) > 0 {
		t.Errorf("of the others %d are revoked, %v", len(page.Certificates), err)
	}
}
