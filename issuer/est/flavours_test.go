package est

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// replaced is the fixture's hierarchy while its root, or its issuing CA, is replaced: the
// answers of a registration authority, by the record.
type replaced struct {
	mu     sync.Mutex
	r      ledger.Rotation
	old    []*x509.Certificate // root first
	new    []*x509.Certificate
	canary func(label, device string) bool
}

func (p *replaced) RotationOf(string) (ledger.Rotation, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.r, p.r.ID != "" && !rotation.State(p.r.State).Over()
}

func (p *replaced) serves(label, device string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.r.Issue == ledger.IssueNew || p.r.Issue == ledger.IssueCanary && p.canary != nil && p.canary(label, device)
}

func (p *replaced) Serving(_, label, device string) string {
	if p.r.Kind == ledger.RotateIssuing && p.serves(label, device) {
		return "second"
	}
	return "issuing"
}

func (p *replaced) PathFor(_, label, device string) []*x509.Certificate {
	if p.serves(label, device) {
		return p.new
	}
	return p.old
}

func (p *replaced) PathUnder(_, root string) []*x509.Certificate {
	if root == "next" {
		return p.new
	}
	return p.old
}

func (p *replaced) enter(r ledger.Rotation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.r = r
}

// TestFlavoursOfRoot asks for every flavour in every state of the replacement of a root.
func TestFlavoursOfRoot(t *testing.T) {
	paths := new(replaced)
	var labels []Label
	for _, f := range flavours {
		labels = append(labels, Label{Name: "f-" + string(f), CACerts: f})
	}
	f := newFixture(t, withLabels(labels...), func(_ *fixture, c *Config) { c.Paths = paths })
	root, issuing := f.authority.root, f.authority.issuing
	next := newCA(t, "Next Root", nil)
	twin := sign(t, next, issuing.certificate, issuing.certificate.PublicKey)
	oldWithNew := sign(t, next, root.certificate, root.certificate.PublicKey)
	newWithOld := sign(t, root, next.certificate, next.certificate.PublicKey)
	paths.old = []*x509.Certificate{root.certificate, issuing.certificate}
	paths.new = []*x509.Certificate{next.certificate, twin}
	names := map[string]*x509.Certificate{"A": root.certificate, "IA": issuing.certificate, "B": next.certificate, "IB": twin, "A@B": oldWithNew, "B@A": newWithOld}
	check := func(state, flavour, want string) {
		t.Helper()
		var got []string
		for _, c := range f.raw(t, rawRequest{method: "GET", path: "/.well-known/est/f-" + flavour + "/cacerts"}).certificates(t) {
			for name, is := range names {
				if is.Equal(c) {
					got = append(got, name)
				}
			}
		}
		list := strings.Fields(want)
		if flavour != "path" {
			slices.Sort(got)
			slices.Sort(list)
		}
		if !slices.Equal(got, list) {
			t.Errorf("%s: %s holds %v, want %v", state, flavour, got, list)
		}
	}
	record := func(state rotation.State, issue ledger.Issue) ledger.Rotation {
		return ledger.Rotation{ID: "r", Kind: ledger.RotateRoot, Old: "root", New: "next", State: string(state), Issue: issue}
	}
	const bridged = "A B A@B B@A"
	for _, state := range []struct {
		name    string
		r       ledger.Rotation
		bridges bool
		want    map[CACerts]string
	}{
		{"none", ledger.Rotation{}, false, map[CACerts]string{"full": "A IA", "both": "A IA", "active": "A IA", "new": "A IA", "old": "A IA", "path": "IA A"}},
		{"certified", record(rotation.Certified, ledger.IssueOld), false, map[CACerts]string{"full": "A IA", "both": "A IA", "active": "A IA", "new": "A IA", "old": "A IA", "path": "IA A"}},
		{"distributing", record(rotation.Distributing, ledger.IssueOld), true, map[CACerts]string{"full": bridged + " IA", "both": "A B IA", "active": "A IA", "new": "B IB", "old": "A IA", "path": "IA A"}},
		{"switched", record(rotation.Switched, ledger.IssueNew), true, map[CACerts]string{"full": bridged + " IB", "both": "A B IB", "active": "B IB", "new": "B IB", "old": "A IA", "path": "IB B"}},
		{"draining", record(rotation.Draining, ledger.IssueNew), true, map[CACerts]string{"full": bridged + " IB", "both": "A B IB", "active": "B IB", "new": "B IB", "old": "A IA", "path": "IB B"}},
		{"trust removed", record(rotation.TrustRemoved, ledger.IssueNew), false, map[CACerts]string{"full": "B IB", "both": "B IB", "active": "B IB", "new": "B IB", "old": "B IB", "path": "IB B"}},
		{"rolled back, kept", record(rotation.RolledBack, ledger.IssueOld), true, map[CACerts]string{"full": bridged + " IA", "both": "A B IA", "active": "A IA", "new": "A IA", "old": "A IA", "path": "IA A"}},
	} {
		paths.enter(state.r)
		f.authority.bridges = nil
		if state.bridges {
			f.authority.bridges = []*x509.Certificate{root.certificate, next.certificate, oldWithNew, newWithOld}
		}
		for flavour, want := range state.want {
			check(state.name, string(flavour), want)
			check(state.name+" again", string(flavour), want)
		}
	}
	// The old key is in wrong hands: nothing leads from one root to the other, and after the
	// switch its root is given to nobody.
	emergency := func(state rotation.State, issue ledger.Issue) ledger.Rotation {
		r := record(state, issue)
		r.Emergency = true
		return r
	}
	f.authority.bridges = []*x509.Certificate{root.certificate, next.certificate, oldWithNew, newWithOld} // of whatever else
	before := map[CACerts]string{"full": "A B IA", "both": "A B IA", "active": "A IA", "new": "B IB", "old": "A IA", "path": "IA A"}
	after := map[CACerts]string{"full": "B IB", "both": "B IB", "active": "B IB", "new": "B IB", "old": "B IB", "path": "IB B"}
	for _, state := range []struct {
		name string
		r    ledger.Rotation
		want map[CACerts]string
	}{
		{"emergency", emergency(rotation.Distributing, ledger.IssueOld), before},
		{"emergency, canary", emergency(rotation.Canaried, ledger.IssueCanary), before},
		{"emergency, switched", emergency(rotation.Switched, ledger.IssueNew), after},
		{"emergency, draining", emergency(rotation.Draining, ledger.IssueNew), after},
		{"emergency, going back", emergency(rotation.Draining, ledger.IssueOld), before},
	} {
		paths.enter(state.r)
		for flavour, want := range state.want {
			check(state.name, string(flavour), want)
		}
	}
	// Who is served by the new CA before the others still meets a server with the old path.
	paths.canary = func(label, _ string) bool { return label == "f-full" }
	paths.enter(emergency(rotation.Canaried, ledger.IssueCanary))
	check("emergency, of the canary", "full", "A B IB")
	paths.canary = nil

	// Both roots have one name: what they sign for each other is still no root.
	same := newCA(t, root.certificate.Subject.CommonName, nil)
	cross := sign(t, root, same.certificate, same.certificate.PublicKey)
	names["S"], names["S@A"] = same.certificate, cross
	paths.enter(record(rotation.Distributing, ledger.IssueOld))
	f.authority.bridges = []*x509.Certificate{root.certificate, same.certificate, cross}
	check("same name", "both", "A S IA")
}

// TestFlavoursOfIssuing replaces the issuing CA: whoever holds a certificate of either
// finds its path, and what is presented as it stands is the path of the one that serves.
func TestFlavoursOfIssuing(t *testing.T) {
	paths := new(replaced)
	f := newFixture(t, withLabels(Label{Name: "full", CACerts: CACertsFull}, Label{Name: "active", CACerts: CACertsActive}, Label{Name: "path", CACerts: CACertsPath}),
		func(_ *fixture, c *Config) { c.Paths = paths })
	root, issuing := f.authority.root, f.authority.issuing
	second := newCA(t, "Second CA", root)
	paths.old = []*x509.Certificate{root.certificate, issuing.certificate}
	paths.new = []*x509.Certificate{root.certificate, second.certificate}
	f.authority.mu.Lock()
	f.authority.second = second.certificate
	f.authority.mu.Unlock()
	own := f.authority.own(t, "device-1", nil)
	get := func(label string, c *tls.Certificate) []*x509.Certificate {
		return f.raw(t, rawRequest{method: "GET", path: "/.well-known/est/" + label + "/cacerts", certificate: c}).certificates(t)
	}
	check := func(what string, got []*x509.Certificate, want ...*x509.Certificate) {
		t.Helper()
		if len(got) != len(want) || slices.ContainsFunc(want, func(c *x509.Certificate) bool { return !slices.ContainsFunc(got, c.Equal) }) {
			t.Errorf("%s: %d certificates, want %d", what, len(got), len(want))
		}
	}
	record := ledger.Rotation{ID: "r", Kind: ledger.RotateIssuing, Old: "issuing", New: "second", State: string(rotation.CloudActiveBoth)}
	paths.enter(record)
	check("before", get("full", nil), root.certificate, issuing.certificate)
	record.State, record.Issue, record.Canary.Percent = string(rotation.Canaried), ledger.IssueCanary, 10
	paths.canary = func(_, device string) bool { return device == "device-1" }
	paths.enter(record)
	check("canary, unknown client", get("path", nil), root.certificate, issuing.certificate)
	check("canary, the device", get("path", own), root.certificate, second.certificate)
	check("canary, a stranger", get("path", f.maker.device(t, named("device-1"), nil)), root.certificate, issuing.certificate)
	for _, label := range []string{"full", "active"} {
		check("canary, "+label, get(label, own), root.certificate, issuing.certificate, second.certificate)
	}
	f.authority.revoke(own)
	check("canary, a revoked certificate", get("path", own), root.certificate, issuing.certificate)
	record.State, record.Issue = string(rotation.Draining), ledger.IssueNew
	paths.enter(record)
	check("draining", get("active", nil), root.certificate, issuing.certificate, second.certificate)
	check("draining, path", get("path", nil), root.certificate, second.certificate)
	record.State = string(rotation.TrustRemoved)
	paths.enter(record)
	check("trust removed", get("full", nil), root.certificate, second.certificate)
}

// TestSeen reports what a client with a certificate was given, and nothing else.
func TestSeen(t *testing.T) {
	var mu sync.Mutex
	var seen []Seen
	f := newHandler(t, withLabels(Label{Name: "path", CACerts: CACertsPath}), func(_ *fixture, c *Config) {
		c.Seen = func(s Seen) { mu.Lock(); defer mu.Unlock(); seen = append(seen, s) }
	})
	f.context = ConnContext
	f.serve(t)
	take := func() []Seen {
		mu.Lock()
		defer mu.Unlock()
		list := seen
		seen = nil
		return list
	}
	own := f.authority.own(t, "device-1", nil)
	own.Certificate = append(own.Certificate, f.authority.issuing.certificate.Raw)
	ask := func(method, label string, c *tls.Certificate, edit func(*tls.Config)) message {
		return f.raw(t, rawRequest{method: method, path: "/.well-known/est" + label + "/cacerts", certificate: c, edit: edit})
	}
	ask("GET", "", nil, nil)
	ask("HEAD", "", own, nil)
	ask("POST", "", own, nil)
	ask("GET", "/new", own, nil) // an issuing CA without a certificate: 503
	if got := take(); len(got) != 0 {
		t.Errorf("%d were reported that got nothing, or are nobody", len(got))
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(1)
		edit := func(c *tls.Config) { c.ClientSessionCache, c.MinVersion, c.MaxVersion = cache, version, version }
		ask("GET", "", own, edit)
		resumed := ask("GET", "", own, edit)
		got := take()
		if len(got) != 2 || !resumed.resumed {
			t.Fatalf("%d reported, resumed %v", len(got), resumed.resumed)
		}
		first, second := got[0], got[1]
		if !first.Client.Equal(own.Leaf) || len(first.Above) != 1 || !first.Above[0].Equal(f.authority.issuing.certificate) || len(first.Given) != 2 || !first.Anchors || first.Issuer != "issuing" {
			t.Errorf("%+v", first)
		}
		if first.Shown == nil || first.Shown.Leaf == nil || !slices.Contains(first.Shown.Leaf.DNSNames, "est.test") {
			t.Errorf("TLS %x: the certificate of the handshake is not reported", version)
		}
		if second.Shown != nil {
			t.Errorf("TLS %x: a resumed session is said to have been shown a certificate", version)
		}
	}
	ask("GET", "/path", own, nil)
	if got := take(); len(got) != 1 || got[0].Anchors || len(got[0].Given) != 2 || got[0].Label != "path" {
		t.Errorf("path: %+v", got)
	}
	if m := f.raw(t, reenroll(t, own)); m.status != 200 {
		t.Fatalf("%d %s", m.status, m.body)
	}
	if got := take(); len(got) != 1 || got[0].Given != nil || got[0].Anchors {
		t.Errorf("a renewal: %+v", got)
	}
	f.clock.advance(2 * time.Hour)
	if m := f.raw(t, reenroll(t, own)); m.status == 200 {
		t.Fatalf("an expired certificate renews: %d", m.status)
	}
	if got := take(); len(got) != 0 {
		t.Errorf("a refused renewal: %+v", got)
	}
}
