package hook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"mintmark/awsreg/awssim"
)

func (p *pki) callback() *Callback {
	return &Callback{
		Dynamo: p.w.dynamo, Table: tableName, Anchors: []*x509.Certificate{p.certificate("root"), p.certificate("issuing")},
		Client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Now:    p.w.clock, Logger: p.w.log.logger(), Limit: 30 * time.Second,
	}
}

// connects wants a connection allowed, or refused for a reason.
func (p *pki) connects(c *Callback, want Reason, chain ...string) {
	p.t.Helper()
	e := CallbackEvent{PrincipalID: p.id(chain[0]), ServerName: "x.iot.amazonaws.com"}
	for _, name := range chain {
		e.ClientCertificateChain = append(e.ClientCertificateChain, p.pem(name))
	}
	before := len(p.w.log.String())
	answer := c.Handle(context.Background(), e)
	if log := p.w.log.String()[before:]; answer.IsAuthenticated != (want == "") || want != "" && !strings.Contains(log, "reason="+string(want)) {
		p.t.Errorf("%v: %+v, want %q: %s", chain, answer, want, log)
	}
}

func TestCallbackMarks(t *testing.T) {
	p := newPKI(t)
	c := p.callback()
	p.connects(c, "", "good")
	p.connects(c, "", "good", "issuing") // in one chain
	// Warm: a refusal after a leave, and back.
	p.w.put(HeldItem("good", "good"))
	p.connects(c, Held, "good")
	p.w.remove(tableName, HeldKey("good"))
	p.connects(c, "", "good")
	p.w.put(Admitted{CertificateID: p.id("good"), Thing: "press_7", Device: "7", Template: "fleet", At: now}.Item(), HeldItem("press_7", "7"))
	p.connects(c, Held, "good")
	p.w.remove(tableName, HeldKey("press_7"))
	p.w.put(Entry{CertificateID: p.id("good"), Device: "7", Serial: "01", State: Revoked}.Items()...)
	p.connects(c, IsRevoked, "good")
	p.w.remove(tableName, revokedMark+p.id("good"))
	p.connects(c, "", "good")
	p.w.sim.Inject(awssim.Fault{Operation: "dynamodb:GetItem", Cut: true})
	p.connects(c, Unverified, "good")
	c.Limit = 50 * time.Millisecond
	p.w.sim.Inject(awssim.Fault{Operation: "dynamodb:GetItem", Latency: 20 * time.Second})
	p.connects(c, Unverified, "good")
}

// A manifest that is too old, or was never complete, refuses what nobody else
// answers for. What it does know counts at any age.
func TestCallbackStale(t *testing.T) {
	p := newPKI(t)
	s := newSite(t)
	s.files["/crl"] = p.crl("issuing", "index.txt")
	marks, lists := p.callback(), p.callback()
	lists.CRLs = []string{s.URL + "/crl"}
	head := func(age time.Duration) {
		p.w.put(Head{PushedAt: p.w.now.Add(-age), Server: "a", MaxAge: 48 * time.Hour}.Item())
	}
	head(DefaultMaxAge - time.Second)
	p.connects(marks, "", "good")
	marks.MaxAge = time.Hour
	p.connects(marks, StaleManifest, "good")
	head(time.Hour - time.Second)
	p.connects(marks, "", "good")
	head(-time.Hour) // the server's clock is wrong
	p.connects(marks, StaleManifest, "good")
	p.w.remove(tableName, headKey)
	p.connects(marks, StaleManifest, "good")

	p.connects(lists, "", "good")
	if log := p.w.log.String(); !strings.Contains(log, "level=WARN msg=\"the manifest is too old") || !strings.Contains(log, "level=ERROR msg=\"connection refused") {
		t.Errorf("log is %s", log)
	}
	p.connects(lists, IsRevoked, "bad")
	p.w.put(HeldItem("good", "good"))
	p.connects(lists, Held, "good")
	p.connects(marks, Held, "good")
	if log := p.w.log.String(); !strings.Contains(log, "level=WARN msg=\"connection refused") {
		t.Errorf("log is %s", log)
	}
}

func TestCallbackCRL(t *testing.T) {
	p := newPKI(t)
	s := newSite(t)
	s.files["/crl"] = p.crl("issuing", "index.txt")
	s.files["/pem"] = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: s.files["/crl"]})
	s.files["/root"] = p.crl("root", "empty.txt")
	p.write("revoked.txt", "R\t"+time.Now().AddDate(1, 0, 0).UTC().Format("060102150405Z")+"\t"+time.Now().Add(-time.Hour).UTC().Format("060102150405Z")+"\t10\tunknown\t/CN=Issuing\n")
	s.files["/rootrevoked"] = p.crl("root", "revoked.txt")
	s.files["/stranger"] = p.crl("stranger", "empty.txt")
	s.files["/old"] = p.crl("issuing", "empty.txt", "-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200102000000Z")
	s.files["/future"] = p.crl("issuing", "empty.txt", "-crl_lastupdate", "20400101000000Z", "-crl_nextupdate", "20400102000000Z")
	s.files["/part"] = p.crl("issuing", "empty.txt", "-crlhours", "1", "-crlexts", "part")
	s.files["/delta"] = p.crl("issuing", "empty.txt", "-crlhours", "1", "-crlexts", "delta")
	s.files["/garbage"] = []byte("not a list")
	forged := bytes.Clone(s.files["/crl"])
	forged[len(forged)-1] ^= 1
	s.files["/forged"] = forged

	for _, test := range []struct {
		name  string
		lists string // paths at the site
		chain string
		want  Reason
	}{
		{"good", "/crl", "good", ""},
		{"good, PEM", "/pem", "good", ""},
		{"revoked", "/crl", "bad", IsRevoked},
		{"revoked, PEM", "/pem", "bad", IsRevoked},
		{"revoked, beside others", "/root /stranger /crl", "bad", IsRevoked},
		{"good, beside an unrelated one", "/crl /stranger", "good", ""},
		{"list of another CA", "/stranger", "good", Unverified},
		{"list of the CA above", "/root", "good", Unverified},
		{"forged", "/forged", "good", Unverified},
		{"old", "/old", "good", Unverified},
		{"future", "/future", "good", Unverified},
		{"a part only", "/part", "good", Unverified},
		{"changes only", "/delta", "good", Unverified},
		{"garbage", "/garbage", "good", Unverified},
		{"not there", "/none", "good", Unverified},
		{"moved", "/moved", "good", Unverified},
		{"endless", "/endless", "good", Unverified},
		{"certificate of a stranger", "/stranger", "stranger", Unverified},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := p.callback()
			for path := range strings.FieldsSeq(test.lists) {
				c.CRLs = append(c.CRLs, s.URL+path)
			}
			if test.chain == "stranger" {
				c.Anchors = append(c.Anchors, p.certificate("stranger")) // an anchor itself
			}
			p.connects(c, test.want, test.chain)
		})
	}

	// With the root as the only anchor the CA in between is checked, too.
	c := p.callback()
	c.Anchors = c.Anchors[:1]
	p.connects(c, "", "good") // neither list nor responder: only the marks
	c.CRLs = []string{s.URL + "/crl"}
	p.connects(c, WrongCA, "good") // without the CA that the client should send
	p.connects(c, "", "good", "issuing")
	c.CRLs = []string{s.URL + "/crl", s.URL + "/root"}
	p.connects(c, "", "good", "issuing")
	c.CRLs = []string{s.URL + "/crl", s.URL + "/rootrevoked"}
	p.connects(c, IsRevoked, "good", "issuing")
	c.CRLs = []string{s.URL + "/crl", s.URL + "/none"}
	p.connects(c, Unverified, "good", "issuing") // the missing one may be the root's

	// A server that does not answer costs the decision's time and no more.
	c = p.callback()
	c.CRLs, c.Limit = []string{s.URL + "/silent"}, 100*time.Millisecond
	p.connects(c, Unverified, "good")
}

// A list is fetched once in five minutes, and not used a second longer than it is
// good for; what a stranger signed is never kept.
func TestCallbackCRLCache(t *testing.T) {
	p := newPKI(t)
	s := newSite(t)
	s.files["/crl"] = p.crl("issuing", "empty.txt", "-crlsec", "7200")
	c := p.callback()
	c.CRLs = []string{s.URL + "/crl"}
	for range 3 {
		p.connects(c, "", "bad")
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// The next list has it, and counts as soon as the old one's five minutes are up.
	s.files["/crl"] = p.crl("issuing", "index.txt", "-crlsec", "7200")
	p.w.now = p.w.now.Add(crlAge - time.Second)
	p.connects(c, "", "bad")
	p.w.now = p.w.now.Add(time.Second)
	p.connects(c, IsRevoked, "bad")
	p.connects(c, "", "good")
	if n := s.asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
	// A decision is never kept: the mark counts at once.
	p.w.put(Entry{CertificateID: p.id("good"), Device: "7", Serial: "01", State: Revoked}.Items()...)
	p.connects(c, IsRevoked, "good")

	short := p.callback()
	short.CRLs = c.CRLs
	p.w.now = time.Now()
	p.w.remove(tableName, revokedMark+p.id("good"))
	s.files["/crl"] = p.crl("issuing", "empty.txt", "-crlsec", "60")
	p.connects(short, "", "good")
	p.w.now = p.w.now.Add(61 * time.Second)
	p.connects(short, Unverified, "good") // the site has nothing newer

	asked := s.asked.Load()
	s.files["/crl"] = p.crl("stranger", "empty.txt")
	other := p.callback()
	other.CRLs = c.CRLs
	p.connects(other, Unverified, "good")
	p.connects(other, Unverified, "good")
	if n := s.asked.Load() - asked; n != 2 {
		t.Errorf("a stranger's list was fetched %d times", n)
	}
}
